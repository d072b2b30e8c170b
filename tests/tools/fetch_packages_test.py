#!/usr/bin/env python3
"""tools/fetch_packages.py on wheels of its own, by pip, offline."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "tools" / "fetch_packages.py"


def make_wheel(folder, name, files):
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        wheels = root / "wheels"
        wheels.mkdir()
        plugin = make_wheel(wheels, "plugin", {"plugins/a.so": "plugin"})
        library = make_wheel(wheels, "library", {"nvidia/lib/b.so": "library", "nvidia/include/b.h": "not wanted"})
        shutil.copy(SCRIPT, root / "fetch_packages.py")
        environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
        packages = root / "cache" / "gavel" / "packages"

        def fetch(lock, *names):
            (root / "packages.lock").write_text(lock)
            return subprocess.run([sys.executable, root / "fetch_packages.py", *names], env=environment, capture_output=True,
                                  text=True, check=False)

        def expect(what, is_so, done):
            if not is_so:
                sys.exit(f"{what}\n{done.stdout}{done.stderr}")

        right = f"?plugin 1.0 3.11 any {plugin} | plugins/*\n?library 1.0 3.11 any {library} > plugin | nvidia/lib/*\n"
        # The one that it belongs to is fetched with it.
        done = fetch(right, "library")
        expect("was not fetched", done.returncode == 0, done)
        there = sorted(str(path.relative_to(packages)) for path in packages.rglob("*") if path.is_file())
        expect(f"found {there}", there == ["plugin/.sha256", "plugin/.sha256-library", "plugin/nvidia/lib/b.so", "plugin/plugins/a.so"],
               done)
        done = fetch(right, "plugin", "library")
        expect("was fetched twice", done.returncode == 0 and done.stdout == "", done)
        # A new plugin takes what lies beside the old one with it, which is then fetched again.
        plugin = make_wheel(wheels, "plugin", {"plugins/a.so": "newer"})
        newer = right.replace(right.split()[4], plugin)
        done = fetch(newer, "plugin", "library")
        expect("is not both there", (packages / "plugin/plugins/a.so").read_text() == "newer" and
               (packages / "plugin/nvidia/lib/b.so").exists(), done)
        shutil.rmtree(packages)
        done = fetch(right.replace(library, "0" * 64).replace(right.split()[4], plugin), "library")
        expect("a wrong digest was taken", done.returncode != 0 and "expected SHA-256 000" in done.stderr and
               not (packages / "plugin/nvidia").exists(), done)
        done = fetch(newer.replace("nvidia/lib/*", "elsewhere/*"), "library")
        expect("a package without the members was taken", done.returncode != 0 and "none of elsewhere/* is in it" in done.stderr, done)
        done = fetch(newer.replace("> plugin", "> "), "library")
        expect("a line without a place was taken", done.returncode != 0 and "packages.lock:2: expected" in done.stderr, done)


if __name__ == "__main__":
    main()

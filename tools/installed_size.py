#!/usr/bin/env python3
"""What has to be on a machine to train and judge, in MB (10^6 bytes): Gavel's program, its libraries and its CPU plugin; and the
packages that `pip install torch transformers peft` brought to the Python that runs this.

  tools/installed_size.py [--gavel build/release/gavel]

Needs the PyPI package `packaging`. Models are not counted.
"""
import argparse
import importlib.metadata
import re
import subprocess
from pathlib import Path

from packaging.requirements import Requirement


def gavel_parts(program):
    libraries = re.findall(r"=> (/\S+)", subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout)
    version = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    plugin = re.search(r"^CPU plugin .*\((.*)\)$", version, re.MULTILINE)
    if not plugin:
        raise SystemExit(f"error: gavel --version names no CPU plugin:\n{version}")
    return {"program": [program], "libraries": libraries, "CPU plugin": [plugin[1]]}


def bytes_of(paths):
    return sum(Path(path).stat().st_size for path in paths if Path(path).is_file())


def requirements(names):
    """{package: bytes} of the packages and all that they need."""
    sizes, wanted = {}, list(names)
    while wanted:
        name = re.sub("[-_.]+", "-", wanted.pop()).lower()
        if name in sizes:
            continue
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name in names:
                raise SystemExit(f"error: {name} is not installed here")
            continue
        sizes[name] = bytes_of(file.locate() for file in package.files or [])
        for requirement in map(Requirement, package.requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    return sizes


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parent.parent
    arguments.add_argument("--gavel", default=root / "build/release/gavel")
    parts = {name: bytes_of(paths) for name, paths in gavel_parts(str(arguments.parse_args().gavel)).items()}
    print(f"Gavel: {sum(parts.values()) / 1e6:,.0f} (" + ", ".join(f"{k} {v / 1e6:,.0f}" for k, v in parts.items()) + ")")
    sizes = requirements(["torch", "transformers", "peft"])
    gpu = sum(size for name, size in sizes.items() if re.match("nvidia|cuda|triton", name))
    total = sum(sizes.values())
    print(f"torch, transformers, peft: {total / 1e6:,.0f} in {len(sizes)} packages, {(total - gpu) / 1e6:,.0f} without those for GPUs")


if __name__ == "__main__":
    main()

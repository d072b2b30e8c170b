#!/usr/bin/env python3
"""Tries what `make dist` wrote in clean roots, as root: the tarball in Debian 12 and 13 without Python, the wheel in both with
python3-pip alone. Nothing but the roots' own packages, pip and the model for the wheel comes over the network; then the
network is cut off and `gavel demo` has to end well. Prints the seconds that each step took.

usage: try_dist.py --roots FOLDER [--dist dist] [12 13]   roots are made with debootstrap where FOLDER has none, and kept
"""
import argparse
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

SUITES = {"12": "bookworm", "13": "trixie"}


def say(text):
    print(text, flush=True)


class Root:
    """A copy of a debootstrap root, so that each trial starts from the same."""

    def __init__(self, base, folder):
        self.folder = folder
        if folder.exists():
            shutil.rmtree(folder)
        subprocess.run(["cp", "-a", base, folder], check=True)
        (folder / "srv").mkdir(exist_ok=True)

    def run(self, what, command, network=True):
        """Runs in the root, with only /proc and /dev of its own; exits with what it said when it fails."""
        keep = [f"{name}={value}" for name, value in os.environ.items()
                if network and (name.startswith("PIP_") or name.lower().endswith("_proxy")) and name != "PIP_CERT"]
        if os.environ.get("PIP_CERT"):
            shutil.copy(os.environ["PIP_CERT"], self.folder / "srv" / "certificates")
            keep.append("PIP_CERT=/srv/certificates")
        # /proc and /dev belong to namespaces of this call and are gone with it.
        # Without a network there is still 127.0.0.1, for the service that the client starts.
        inside = (("" if network else "ip link set lo up && ") +
                  f"mount -t proc proc {self.folder}/proc && mount --rbind /dev {self.folder}/dev && "
                  f"exec env -i HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 "
                  f"{shlex.join(keep)} chroot {self.folder} sh -c {shlex.quote(command)}")
        words = ["unshare", "--mount", "--pid", "--fork"] + ([] if network else ["--net"]) + ["sh", "-c", inside]
        begin = time.monotonic()
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seconds = time.monotonic() - begin
        if done.returncode != 0:
            sys.exit(f"try_dist: {what}: status {done.returncode}\n{done.stdout}")
        say(f"  {what}: {seconds:.1f} s")
        return done.stdout, seconds


def base_root(roots, suite):
    base = roots / suite
    if not (base / "etc" / "debian_version").exists():
        subprocess.run(["debootstrap", "--variant=minbase", suite, base], check=True, stdout=subprocess.DEVNULL)
    return base


def verdict_of(text):
    return next(line for line in text.splitlines() if line.startswith("verdict"))


def try_tarball(base, folder, tarball):
    root = Root(base, folder)
    shutil.copy(tarball, root.folder / "srv")
    top = tarball.name.removesuffix(".tar.gz")
    root.run("no Python in the root", "! command -v python3")
    root.run("unpacked", f"cd /srv && tar xzf {tarball.name}", network=False)
    # demo: the sample, 60 steps of training, one pair.
    out, _ = root.run("gavel demo, offline", f"mkdir /srv/work && cd /srv/work && /srv/{top}/bin/gavel demo", network=False)
    say("  " + verdict_of(out))
    shutil.rmtree(root.folder)


def try_wheel(base, folder, wheel):
    root = Root(base, folder)
    shutil.copy(wheel, root.folder / "srv")
    root.run("apt-get install python3-pip",
             "apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-pip")
    _, install = root.run("pip install", f"pip install --break-system-packages --no-index /srv/{wheel.name}", network=False)
    root.run("gavel doctor --fetch smollm2", "gavel doctor --fetch smollm2")
    out, demo = root.run("gavel demo, offline", "mkdir /srv/work && cd /srv/work && gavel demo", network=False)
    say("  " + verdict_of(out))
    say(f"  from the wheel to the first judged pair: {install + demo:.0f} s without the model's download")
    client = 'from gavel import Judge\nwith Judge("runs/demo") as judge: print(judge.judge("2 + 2?", "4", "5").verdict)'
    out, _ = root.run("Python's client, offline", f"cd /srv/work && python3 -c {shlex.quote(client)}", network=False)
    say("  it says " + out.strip().splitlines()[-1])
    root.run("pip uninstall", "pip uninstall -y --break-system-packages gavel-judge && ! command -v gavel", network=False)
    shutil.rmtree(root.folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--roots", type=pathlib.Path, required=True)
    parser.add_argument("--dist", type=pathlib.Path, default=pathlib.Path("dist"))
    parser.add_argument("releases", nargs="*", default=list(SUITES))
    given = parser.parse_args()
    roots = given.roots.resolve()
    roots.mkdir(parents=True, exist_ok=True)
    tarball, wheel = (next(given.dist.glob(form), None) for form in ("*.tar.gz", "*.whl"))
    if tarball is None or wheel is None:
        sys.exit(f"try_dist: {given.dist} has no tarball and wheel: make dist")
    for release in given.releases:
        base = base_root(roots, SUITES[release])
        say(f"Debian {release}, tarball")
        try_tarball(base, roots / f"tarball-{release}", tarball)
        say(f"Debian {release}, wheel")
        try_wheel(base, roots / f"wheel-{release}", wheel)


if __name__ == "__main__":
    main()

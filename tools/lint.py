#!/usr/bin/env python3
"""Checks how the C++ files are formatted, and runs clang-tidy on those that differ from the parent commit.

    tools/lint.py            (make lint)     exit status 1 when something is to be mended
    tools/lint.py --format   (make format)   formats all files in place, and no more

Both programs are pinned in packages.lock and fetched on first use; .clang-format and .clang-tidy say what is wanted.
clang-tidy learns how a file is compiled from build/lint, which is configured and never built.
"""
import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import time

import fetch_packages

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ["src", "tests", "fuzz", "bench"]
BUILD = ROOT / "build" / "lint"
# A file takes clang-tidy 3 seconds, the longest ones 15. What is not done in time is left out, and told.
JOBS, MOST_FILES, MOST_SECONDS = 2, 60, 540


def program(name):
    """The path of a program of packages.lock."""
    subprocess.run([sys.executable, fetch_packages.__file__, name], check=True)
    return fetch_packages.cache_folder() / name / name.replace("-", "_") / "data" / "bin" / name


def format_files(*options):
    """Runs clang-format over all files; returns what it wrote to stderr."""
    files = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*")
                   if path.suffix in (".cpp", ".h"))
    done = subprocess.run([program("clang-format"), *options, *files], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stderr


def check_format():
    """Names each file that is not formatted, with the first line that would change. Returns whether there is none."""
    found = format_files("--dry-run")
    first = {}
    for file, line in re.findall(r"^(\S+?):(\d+):\d+: warning: code should be clang-formatted", found, re.MULTILINE):
        first.setdefault(file, line)
    for file, line in first.items():
        print(f"{file}:{line}: not formatted")
    print(f"format: {len(first)} files to mend: make format" if first else "format: all files are right")
    return not first


def git(*arguments):
    """The lines that git writes; none when it fails, as it does where there is no parent commit."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def files_to_tidy():
    """The .cpp files that differ from the parent commit, committed or not, and those of the headers that do."""
    changed = git("diff", "--name-only", "--diff-filter=d", "HEAD~1", "--", *FOLDERS)
    changed += git("ls-files", "--others", "--exclude-standard", "--", *FOLDERS)
    # Without precompiled headers: those of g++ are nothing to clang, and a file must name what it includes.
    subprocess.run(["cmake", "--preset", "release", "-B", BUILD, "-DGAVEL_UNITY=OFF"], cwd=ROOT,
                   check=True, stdout=subprocess.DEVNULL)
    built = {pathlib.Path(entry["file"]).resolve()
             for entry in json.loads((BUILD / "compile_commands.json").read_text())}
    wanted = {re.sub(r"\.h$", ".cpp", name) for name in changed}
    return sorted(name for name in wanted if ROOT / name in built)


def sample(files):
    """So many files as there is time for; which ones depends on the commit alone."""
    commit = "".join(git("rev-parse", "HEAD"))
    return sorted(files, key=lambda name: hashlib.sha256((commit + name).encode()).digest())[:MOST_FILES]


def check_tidy():
    """Prints what clang-tidy finds. Returns whether it finds nothing."""
    files = files_to_tidy()
    chosen = sample(files)
    if not chosen:
        print("clang-tidy: no file differs from the parent commit, or there is no such commit")
        return True
    tidy, deadline = program("clang-tidy"), time.monotonic() + MOST_SECONDS
    # <omp.h> is not in clang's own folder of headers but in that of g++.
    headers = subprocess.run(["c++", "-print-file-name=include"], stdout=subprocess.PIPE, text=True, check=True).stdout
    command = [tidy, "--quiet", "-p", BUILD, f"--extra-arg=-idirafter{headers.strip()}"]

    def check(name):
        """What is wrong, '' if nothing is, None if there was no time left."""
        try:
            done = subprocess.run([*command, name], cwd=ROOT, capture_output=True, text=True,
                                  timeout=max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None
        return "" if done.returncode == 0 else done.stdout + done.stderr

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        results = list(pool.map(check, chosen))
    for result in results:
        print(result or "", end="")
    late, bad = results.count(None), len([result for result in results if result])
    print(f"clang-tidy: {len(chosen) - late} of {len(files)} files checked, {bad} to mend"
          + (f"; a sample, as more than {MOST_FILES} differ" if len(files) > MOST_FILES else "")
          + (f"; no time was left for {late}" if late else ""))
    return bad == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", action="store_true", help="format all files in place")
    if parser.parse_args().format:
        format_files("-i")
        return
    right = check_format()
    sys.stdout.flush()
    sys.exit(0 if check_tidy() and right else 1)


main()

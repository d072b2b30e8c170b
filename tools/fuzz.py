#!/usr/bin/env python3
"""Builds the fuzz targets with clang's libFuzzer under AddressSanitizer and UndefinedBehaviorSanitizer and runs each.

    tools/fuzz.py [--seconds 60] [--build build/fuzz] [TARGET ...]      (make fuzz FUZZ_SECONDS=60)

A target runs for so many seconds of processor time, one after the other. What it finds of new coverage is kept in
BUILD/corpus/TARGET (filled with the target's own seeds at first) and used by the next run. An input that crashes or
hangs is kept in BUILD/findings; the exit status is then 1. Run one again: BUILD/fuzz/fuzz_TARGET FILE.
"""
import argparse
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def build(folder):
    if not shutil.which("clang++-19"):
        sys.exit("error: clang++-19 is missing; install it with libFuzzer:\n"
                 "  sudo apt-get install -y clang-19 libclang-rt-19-dev libomp-19-dev")
    subprocess.run(["cmake", "--preset", "fuzz", "-B", str(folder)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", str(folder), "--target", "fuzz"], cwd=ROOT, check=True)


def run(folder, name, seconds, input_timeout):
    """Runs until `seconds` of processor time are used; returns executions, seconds, coverage and findings."""
    corpus, findings = folder / "corpus" / name, folder / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    dictionary = ROOT / "fuzz" / f"{name}.dict"
    environment = {**os.environ, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
                   "ASAN_OPTIONS": "detect_stack_use_after_return=0"}
    executions, used, coverage = 0, 0.0, 0
    with open(folder / f"fuzz_{name}.log", "w") as log:
        while used < seconds:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [str(folder / "fuzz" / f"fuzz_{name}"), f"-max_total_time={max(5, int(seconds - used))}",
                       f"-timeout={input_timeout}", "-rss_limit_mb=4096", "-print_final_stats=1", "-max_len=1048576",
                       f"-artifact_prefix={findings}/{name}-", str(corpus)]
            if dictionary.exists():
                command.insert(1, f"-dict={dictionary}")
            done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                  text=True, errors="replace", cwd=folder)
            log.write(done.stderr)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            count = re.search(r"number_of_executed_units: (\d+)", done.stderr)
            executions += int(count[1]) if count else 0
            coverage = max([coverage, *map(int, re.findall(r"cov: (\d+)", done.stderr))])
            if done.returncode != 0:
                print("\n".join(done.stderr.splitlines()[-60:]), file=sys.stderr)
                return executions, used, coverage, 1
    return executions, used, coverage, 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="processor time for each target (default 60)")
    parser.add_argument("--input-timeout", type=int, default=25, help="seconds by the clock that one input may take")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "fuzz")
    parser.add_argument("--no-build", action="store_true", help="run what is built")
    parser.add_argument("targets", nargs="*")
    args = parser.parse_args()
    folder = args.build.resolve()
    known = sorted(path.name.removesuffix("_fuzz.cpp") for path in (ROOT / "fuzz").glob("*_fuzz.cpp"))
    for name in args.targets:
        if name not in known:
            sys.exit(f"error: there is no target '{name}'; there are {', '.join(known)}")
    if not args.no_build:
        build(folder)
    print(f"{'target':22} {'executions':>12} {'cpu seconds':>12} {'coverage':>9} {'findings':>9}", flush=True)
    failed = False
    for name in args.targets or known:
        executions, used, coverage, findings = run(folder, name, args.seconds, args.input_timeout)
        failed |= findings > 0
        print(f"{name:22} {executions:12,} {used:12.0f} {coverage:9,} {findings:9}", flush=True)
    sys.exit(1 if failed else 0)


main()

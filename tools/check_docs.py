#!/usr/bin/env python3
"""Checks the commands of README.md, CONTRIBUTING.md and docs/*.md against the program, and runs those that are marked.

  tools/check_docs.py [--gavel build/release/gavel] [--slow] [FILE.md …]

A fenced block is run when the line above it is a mark, which Markdown's readers do not show:

  <!-- run -->                  with bash, in a clean folder that has train.csv, test.csv and mine.csv (of `gavel data make-sample`) and
                                recipes/, `gavel` in PATH; the blocks of a document share the folder, in order
  <!-- run exit=1 -->           … which is to end with this status
  <!-- run needs=PATH -->       … where this file of the repository, or of $GAVEL_SHARED, is there; else it is skipped with a line
  <!-- run slow -->             … with --slow alone (trains, or takes more than a few seconds)
  <!-- skip: WHY -->            neither run nor checked

Of all other blocks, indented ones too, and of `gavel …` in running text, each line that calls gavel is checked: that the command exists, that it has the
options, and that settings are keys of recipes with values that the schema knows. What has … or CAPITALS in it stands for something.
Exits with 1 when anything is wrong.
"""
import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_SECONDS = 600  # of one block


class Program:
    """What the program says of its commands and settings."""

    def __init__(self, path):
        self.path = path
        self.help = {}
        self.commands = self.subcommands("")
        self.keys = {}
        self.collect(json.loads(self.call("schema")), "")

    def call(self, *arguments):
        return subprocess.run([self.path, *arguments], check=True, capture_output=True, text=True).stdout

    def help_of(self, command):
        if command not in self.help:
            self.help[command] = self.call(*command.split(), "--help")
        return self.help[command]

    def subcommands(self, command):
        _, _, listed = self.help_of(command).partition("\nSubcommands:\n")
        return re.findall(r"^  ([a-z][a-z-]*)", listed, re.MULTILINE)

    def options(self, command):
        text = self.help_of(command) + self.help_of("")
        return set(re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", text))

    def collect(self, schema, section):
        for name, value in schema.get("properties", {}).items():
            if "properties" in value:
                self.collect(value, f"{section}{name}.")
            else:
                self.keys[section + name] = value


def blocks_of(text):
    """(line, mark, content) of each fenced block; the mark is None or what stands in the comment above it."""
    lines = text.split("\n")
    at, before = 0, ""
    while at < len(lines):
        fence = re.match(r"^(\s*)```(\w*)\s*$", lines[at])
        if not fence:
            before = lines[at].strip() or before
            at += 1
            continue
        end = next((i for i in range(at + 1, len(lines)) if lines[i].strip() == "```"), len(lines))
        indent = len(fence[1])
        mark = re.fullmatch(r"<!-- (run\b.*|skip: .*) -->", before)
        yield at + 1, mark and mark[1], "\n".join(line[indent:] for line in lines[at + 1:end]), fence[2]
        at, before = end + 1, ""


def placeholder(word):
    return "…" in word or "..." in word or word.startswith("[") or re.search(r"\b[A-Z]{3,}\b", word) is not None


def check_words(program, words):
    """What is wrong with `gavel WORDS…`, as texts."""
    while words and words[0] in ("--quiet", "-q"):
        words = words[1:]
    if not words or placeholder(words[0]) or words[0] in ("COMMAND", "--help", "--version", "-V"):
        return
    command, rest = words[0], words[1:]
    if command not in program.commands:
        yield f"there is no command {command}"
        return
    if rest and rest[0] in program.subcommands(command):
        command += " " + rest.pop(0)
    options = program.options(command)
    for word in rest:
        word = word.strip("[]") if word.startswith("[--") else word
        if word in ("|", ">", "2>", "&&", ";", "&", "||"):
            return
        if word.startswith("--"):
            name = word.split("=")[0]
            if name not in options and not placeholder(name):
                yield f"gavel {command} has no option {name}"
            continue
        setting = re.match(r"^([a-z][a-z_0-9]*(?:\.[a-z_0-9]+)*)=(.*)$", word, re.DOTALL)
        if not setting or command == "parity" and setting[1] == "mesh":
            continue
        key, value = setting.groups()
        if key not in program.keys:
            if key not in ("key", "section.key"):
                yield f"there is no setting {key}"
        elif "enum" in program.keys[key] and not placeholder(value) and value:
            for one in value.split(",") if command == "sweep" else [value]:
                if one not in program.keys[key]["enum"] and not (one == "null" and None in program.keys[key]["enum"]):
                    yield f"{key} has no value {one}"


def calls_of(content):
    """(place in lines, words) of each call of gavel in a block's lines."""
    lines = content.split("\n")
    at = 0
    while at < len(lines):
        start, line = at, lines[at]
        while line.endswith("\\") and at + 1 < len(lines):
            at += 1
            line = line[:-1] + " " + lines[at]
        at += 1
        if re.match(r"^\s*(\$ )?((\w+=\S* )*)(\S*/)?gavel ", line):
            try:
                words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            except ValueError:
                continue  # a quote that is closed elsewhere: shown output
            while words and not words[0].endswith("gavel"):
                words.pop(0)
            yield start, words[1:]


class Checker:
    def __init__(self, gavel, slow):
        self.program = Program(gavel)
        self.slow = slow
        self.wrong, self.checked, self.ran, self.skipped = [], 0, 0, 0

    def complain(self, path, line, text):
        self.wrong.append(f"{path}:{line}: {text}")

    def check_file(self, path):
        text = path.read_text()
        name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        to_run = []
        outside = text
        for line, mark, content, language in blocks_of(text):
            outside = outside.replace(content, "\n" * content.count("\n"), 1)
            if mark and mark.startswith("skip"):
                continue
            if mark:
                to_run.append((line, mark.split()[1:], content))
            fails = mark and "exit=" in mark  # on purpose
            if fails or language not in ("", "sh", "bash", "console"):
                continue
            for offset, words in calls_of(content):
                self.checked += 1
                for problem in check_words(self.program, words):
                    self.complain(name, line + 1 + offset, problem)
        indented = "\n".join(line if line.startswith("    ") else "" for line in outside.split("\n"))
        for offset, words in calls_of(indented):
            self.checked += 1
            for problem in check_words(self.program, words):
                self.complain(name, 1 + offset, problem)
        for found in re.finditer(r"`gavel ([^`\n]+)`", outside):
            try:
                words = shlex.split(found[1])
            except ValueError:
                continue
            if words[0] not in self.program.commands:
                continue  # running text may speak of a command's name alone
            self.checked += 1
            for problem in check_words(self.program, words):
                self.complain(name, outside.count("\n", 0, found.start()) + 1, problem)
        if to_run:
            self.run(name, to_run)

    def run(self, name, blocks):
        with tempfile.TemporaryDirectory(prefix="gavel_docs_") as folder:
            shutil.copytree(ROOT / "recipes", Path(folder) / "recipes")
            sample = ["data", "make-sample", "--out", folder, "--rows", "64", "--test-rows", "16"]
            subprocess.run([self.program.path, *sample], check=True, capture_output=True)
            shutil.copy(Path(folder) / "train.csv", Path(folder) / "mine.csv")
            for line, options, content in blocks:
                given = dict(option.partition("=")[::2] for option in options)
                unknown = set(given) - {"exit", "needs", "slow"}
                if unknown:
                    self.complain(name, line, f"a mark has no {', '.join(sorted(unknown))}")
                elif "slow" in given and not self.slow:
                    self.skipped += 1
                elif "needs" in given and not self.is_there(given["needs"]):
                    print(f"{name}:{line}: skipped: there is no {given['needs']}")
                    self.skipped += 1
                else:
                    self.run_block(name, line, content, int(given.get("exit", "0")), folder)

    @staticmethod
    def is_there(path):
        shared = os.environ.get("GAVEL_SHARED")
        return (ROOT / path).exists() or bool(shared) and (Path(shared) / path).exists()

    def run_block(self, name, line, content, status, folder):
        environment = dict(os.environ, PATH=f"{Path(self.program.path).parent}:{os.environ['PATH']}")
        try:
            done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", content], cwd=folder, env=environment, text=True,
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.complain(name, line, f"the block ran for more than {LIMIT_SECONDS} s")
            return
        self.ran += 1
        if done.returncode != status:
            said = (done.stdout + done.stderr).strip().split("\n")
            self.complain(name, line, f"the block ended with {done.returncode}, not {status}:\n    " + "\n    ".join(said[-8:]))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--gavel", default=ROOT / "build/release/gavel", type=Path)
    arguments.add_argument("--slow", action="store_true", help="run the blocks that are marked slow too")
    arguments.add_argument("files", nargs="*", type=Path)
    given = arguments.parse_args()
    files = [path.resolve() for path in given.files]
    files = files or [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    checker = Checker(str(given.gavel.resolve()), given.slow)
    for path in files:
        checker.check_file(path)
    print("\n".join(checker.wrong + [f"{len(files)} documents: {checker.checked} calls of gavel checked, {checker.ran} blocks run, "
                                     f"{checker.skipped} left out, {len(checker.wrong)} wrong"]))
    sys.exit(bool(checker.wrong or not checker.checked))


if __name__ == "__main__":
    main()

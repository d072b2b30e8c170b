#!/usr/bin/env python3
"""Splits a CSV of votes by prompt into train.csv, dev.csv and test.csv, the same way for every file and on every machine.

    tools/split_votes.py arena.csv --out split

A prompt's SHA-256 decides where its rows go, so that files which share prompts can be split one by one and no prompt of one's test
rows is among another's train rows. docs/accuracy.md measures on such a split: settings are chosen on dev.csv, and test.csv is judged
by what was chosen, once."""
import argparse
import csv
import hashlib
import json
import sys
from pathlib import Path


def same_prompt(cell):
    """The same text for prompts that differ in the spelling of their JSON, in white space around a turn, or in case."""
    try:
        turns = json.loads(cell)
    except ValueError:
        turns = cell
    turns = turns if isinstance(turns, list) else [turns]
    return json.dumps([str(turn or "").strip().casefold() for turn in turns])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", help="votes with a column prompt")
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--test", type=float, default=0.25, help="share of the prompts")
    parser.add_argument("--dev", type=float, default=0.10, help="share of the prompts")
    options = parser.parse_args()
    csv.field_size_limit(sys.maxsize)
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    with open(options.csv, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        written = {name: open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") for name in ("train", "dev", "test")}
        writers = {name: csv.DictWriter(of, rows.fieldnames) for name, of in written.items()}
        counts = dict.fromkeys(writers, 0)
        for writer in writers.values():
            writer.writeheader()
        for row in rows:
            place = int.from_bytes(hashlib.sha256(same_prompt(row["prompt"]).encode()).digest()[:8], "big") / 2**64
            name = "test" if place < options.test else "dev" if place < options.test + options.dev else "train"
            writers[name].writerow(row)
            counts[name] += 1
    for of in written.values():
        of.close()
    print(", ".join(f"{name} {count} rows" for name, count in counts.items()))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Reads the event files of run folders with TensorBoard's own loader and compares every number with metrics.jsonl.

  tools/check_events.py RUN [RUN…]

Needs the PyPI package `tensorboard`. Prints one line a run; exits with 1 if a number differs, is missing or is too much.
"""
import json
import math
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def float32(value):
    """TensorBoard's scalars are f32."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def expected_scalars(run):
    """{(tag, step): value} that metrics.jsonl asks for."""
    scalars = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        prefix = {"train": "train/", "eval": "valid/"}.get(row["kind"])
        if prefix is None:
            continue
        for name, value in row.items():
            if name in ("kind", "step") or not isinstance(value, (int, float)) or not math.isfinite(value):
                continue
            assert (prefix + name, row["step"]) not in scalars, f"step {row['step']} stands twice in metrics.jsonl"
            scalars[prefix + name, row["step"]] = float32(value)
    return scalars


def main():
    wrong = 0
    for run in map(Path, sys.argv[1:]):
        events = EventAccumulator(str(run), size_guidance={"scalars": 0})
        events.Reload()
        found, twice = {}, 0
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                twice += (tag, event.step) in found
                found[tag, event.step] = event.value
        expected = expected_scalars(run)
        differ = [key for key in expected.keys() & found.keys() if expected[key] != found[key]]
        missing, too_much = expected.keys() - found.keys(), found.keys() - expected.keys()
        files = len(list(run.glob("events.out.tfevents.*")))
        print(f"{run}: {files} event files, {len(found)} values of {len(events.Tags()['scalars'])} tags: {len(differ)} differ, "
              f"{len(missing)} missing, {len(too_much)} too much, {twice} twice")
        wrong += bool(differ or missing or too_much or twice or not found)
    sys.exit(1 if wrong or len(sys.argv) < 2 else 0)


if __name__ == "__main__":
    main()

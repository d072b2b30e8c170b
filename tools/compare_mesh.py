#!/usr/bin/env python3
"""Trains a recipe on one device and on several meshes of virtual CPU devices, and compares losses and final adapters.

For each mesh: the largest difference of a step's loss, and the size of the difference of the final adapters as a share of
what training changed (both as the root of the sum of squares over all that is trained). Needs nothing but Python.
usage: compare_mesh.py GAVEL RECIPE FOLDER [key=value ...]   (FOLDER is made; its runs are kept)
"""
import array
import json
import math
import pathlib
import subprocess
import sys

MESHES = ["8x1x1", "1x8x1", "1x4x2", "2x2x2", "1x1x8"]


def adapter(folder):
    with open(folder / "adapter_model.safetensors", "rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
        data = stream.read()
    values = {}
    for name, info in header.items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            values[name] = array.array("f", data[begin:end])
    return values


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for name in a for x, y in zip(a[name], b[name])))


def losses(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line.get("kind") in ("train", "step")]


def train(gavel, recipe, folder, settings):
    subprocess.run([gavel, "--quiet", "train", recipe, f"output={folder}", *settings], check=True)


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    gavel, recipe, top, settings = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4:]
    top.mkdir(parents=True)
    # A run at learning rate 0 writes the weights that training starts from.
    train(gavel, recipe, top / "start", [*settings, "train.max_steps=1", "train.learning_rate=0", "train.warmup_steps=0"])
    settings = [*settings, f"lora.init_adapter={top / 'start'}"]
    train(gavel, recipe, top / "one", settings)
    start, one = adapter(top / "start"), adapter(top / "one")
    moved = distance(one, start)
    print(f"one device: {len(losses(top / 'one'))} steps, training changed the adapters by {moved:.4g}")
    worst = 0.0
    for mesh in MESHES:
        dp, fsdp, mp = mesh.split("x")
        train(gavel, recipe, top / mesh, [*settings, f"mesh.dp={dp}", f"mesh.fsdp={fsdp}", f"mesh.mp={mp}"])
        loss = max(abs(a - b) for a, b in zip(losses(top / "one"), losses(top / mesh)))
        share = distance(adapter(top / mesh), one) / moved
        worst = max(worst, loss / 1e-5, share / 1e-3)
        print(f"mesh {mesh}: losses differ by at most {loss:.2e}, final adapters by {share:.2e} of what training changed", flush=True)
    sys.exit(0 if worst <= 1 else "beyond 1e-5 in the losses or 1e-3 in the adapters")


main()

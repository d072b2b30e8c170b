#!/usr/bin/env python3
"""Opens a folder that `gavel merge` wrote in transformers and compares its probabilities with `gavel predict`'s.

Needs torch and transformers, in an environment of its own. The judge computes in float32 here, as transformers does.
usage: compare_merged.py GAVEL ADAPTER MERGED CSV [ROWS]
"""
import csv
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

gavel, adapter, merged, data = sys.argv[1:5]
rows = int(sys.argv[5]) if len(sys.argv) > 5 else 16
csv.field_size_limit(10**9)
recipe = (pathlib.Path(adapter) / "recipe.yaml").read_text()
max_length = int(next(line.split(":")[1] for line in recipe.splitlines() if line.strip().startswith("max_length:")))

with open(data, newline="") as stream:
    chosen = list(csv.DictReader(stream))[:rows]
with tempfile.TemporaryDirectory() as scratch:
    part, out = pathlib.Path(scratch) / "part.csv", pathlib.Path(scratch) / "out.csv"
    with open(part, "w", newline="") as stream:
        writer = csv.DictWriter(stream, chosen[0].keys())
        writer.writeheader()
        writer.writerows(chosen)
    subprocess.run([gavel, "--quiet", "predict", "--adapter", adapter, "--data", part, "--out", out, "--no-temperature",
                    "model.compute_dtype=float32"], check=True)
    with open(out, newline="") as stream:
        judged = list(csv.DictReader(stream))

model = AutoModelForSequenceClassification.from_pretrained(merged, dtype=torch.float32).eval()
print(f"{type(model).__name__} with {model.config.num_labels} labels, score.weight {list(model.score.weight.shape)}")
tokenizer = AutoTokenizer.from_pretrained(merged)
worst = 0.0
for row, mine in zip(chosen, judged, strict=True):
    assert row["id"] == mine["id"]
    join = lambda key: " ".join(turn or "" for turn in json.loads(row[key]))
    text = (f"User prompt: {join('prompt')}\n\nModel A :\n{join('response_a')}\n\n--------\n\n"
            f"Model B:\n{join('response_b')}")
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_length)
    with torch.no_grad():
        logits = model(**ids).logits[0].double()
    theirs = torch.log_softmax(logits, -1)
    ours = [math.log(float(mine[key])) for key in ("winner_model_a", "winner_model_b", "winner_tie")]
    worst = max(worst, max(abs(a - b) for a, b in zip(theirs.tolist(), ours)))
print(f"{len(chosen)} rows: log probabilities differ by at most {worst:.2e}")
sys.exit(worst > 1e-4)

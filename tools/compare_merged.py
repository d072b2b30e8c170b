#!/usr/bin/env python3
"""Opens a folder that `gavel merge` wrote in transformers and compares its probabilities with `gavel predict`'s.

Needs torch and transformers, in an environment of its own. The judge computes in float32 here, as transformers does.
usage: compare_merged.py GAVEL ADAPTER MERGED CSV [ROWS]
"""
import math
import pathlib
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from judged_rows import judge_first_rows, origin_text

gavel, adapter, merged, data = sys.argv[1:5]
rows = int(sys.argv[5]) if len(sys.argv) > 5 else 16
recipe = (pathlib.Path(adapter) / "recipe.yaml").read_text()
max_length = int(next(line.split(":")[1] for line in recipe.splitlines() if line.strip().startswith("max_length:")))

judged = judge_first_rows(gavel, data, rows, ["--adapter", adapter, "--no-temperature", "model.compute_dtype=float32"])

model = AutoModelForSequenceClassification.from_pretrained(merged, dtype=torch.float32).eval()
print(f"{type(model).__name__} with {model.config.num_labels} labels, score.weight {list(model.score.weight.shape)}")
tokenizer = AutoTokenizer.from_pretrained(merged)
worst = 0.0
for row, probabilities in judged:
    ids = tokenizer(origin_text(row), return_tensors="pt", truncation=True, max_length=max_length)
    with torch.no_grad():
        logits = model(**ids).logits[0].double()
    theirs = torch.log_softmax(logits, -1)
    ours = [math.log(probability) for probability in probabilities]
    worst = max(worst, max(abs(a - b) for a, b in zip(theirs.tolist(), ours)))
print(f"{len(judged)} rows: log probabilities differ by at most {worst:.2e}")
sys.exit(worst > 1e-4)

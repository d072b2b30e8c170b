#!/usr/bin/env python3
"""Opens an adapter in transformers + PEFT and compares its probabilities with `gavel predict`'s, float32.

Shows that adapters go both ways: give it one that Gavel trained, or one that PEFT saved. Needs torch, transformers and
peft, in an environment of its own. BASE is what `gavel export --model … --out BASE` wrote.
usage: compare_peft_adapter.py GAVEL BASE ADAPTER CSV MAX_LENGTH [ROWS]
With ADAPTER = "new": makes a PEFT adapter of its own with random weights first, in BASE/../peft-adapter.
"""
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import AutoTokenizer, LlamaForSequenceClassification

gavel, base, adapter, data, max_length = sys.argv[1:6]
rows = int(sys.argv[6]) if len(sys.argv) > 6 else 16
torch.manual_seed(0)
csv.field_size_limit(10**9)

model = LlamaForSequenceClassification.from_pretrained(base, num_labels=3, dtype=torch.float32)
if adapter == "new":
    adapter = str(pathlib.Path(base).parent / "peft-adapter")
    made = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, use_rslora=True, task_type=TaskType.SEQ_CLS,
                                            target_modules=["q_proj", "v_proj", "down_proj"]))
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.05)
    made.save_pretrained(adapter)
    model = LlamaForSequenceClassification.from_pretrained(base, num_labels=3, dtype=torch.float32)
model = PeftModel.from_pretrained(model, adapter).eval()
tokenizer = AutoTokenizer.from_pretrained(base)

with open(data, newline="") as stream:
    chosen = list(csv.DictReader(stream))[:rows]
with tempfile.TemporaryDirectory() as scratch:
    part, out = pathlib.Path(scratch) / "part.csv", pathlib.Path(scratch) / "out.csv"
    with open(part, "w", newline="") as stream:
        writer = csv.DictWriter(stream, chosen[0].keys())
        writer.writeheader()
        writer.writerows(chosen)
    subprocess.run([gavel, "--quiet", "predict", "--adapter", adapter, "--model", base, "--data", part, "--out", out,
                    f"data.max_length={max_length}", "model.dtype=float32", "model.compute_dtype=float32",
                    "train.batch_size=8"], check=True)
    with open(out, newline="") as stream:
        judged = list(csv.DictReader(stream))

worst = 0.0
for row, mine in zip(chosen, judged, strict=True):
    assert row["id"] == mine["id"]
    join = lambda key: " ".join(turn or "" for turn in json.loads(row[key])).encode("utf-16", "surrogatepass") \
        .decode("utf-16", "replace")
    text = (f"User prompt: {join('prompt')}\n\nModel A :\n{join('response_a')}\n\n--------\n\n"
            f"Model B:\n{join('response_b')}")
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=int(max_length))
    with torch.no_grad():
        logits = model(**ids).logits[0].double()
    found = torch.tensor([float(mine[k]) for k in ("winner_model_a", "winner_model_b", "winner_tie")]).double()
    # Probabilities give logits up to a constant.
    difference = (found.log() - found.log().mean()) - (logits - logits.mean())
    worst = max(worst, difference.abs().max().item())
print(f"{len(judged)} rows, largest difference of centred logits {worst:.2e}")
sys.exit(0 if worst < 1e-4 else 1)

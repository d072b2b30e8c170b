#!/usr/bin/env python3
"""Opens an adapter in transformers + PEFT and compares its probabilities with `gavel predict`'s, float32.

Shows that adapters go both ways: give it one that Gavel trained, or one that PEFT saved. Needs torch, transformers and
peft, in an environment of its own. BASE is what `gavel export --model … --out BASE` wrote. Texts are made and cut as the
adapter's recipe.yaml says (template, question, max_length, truncation); MAX_LENGTH, if it is not 0, comes before it.
usage: compare_peft_adapter.py GAVEL BASE ADAPTER CSV [MAX_LENGTH [ROWS]]
With ADAPTER = "new": makes a PEFT adapter of its own with random weights first, in BASE/../peft-adapter.
"""
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from judged_rows import judge_first_rows
from judged_texts import Texts, settings_of

gavel, base, adapter, data = sys.argv[1:5]
max_length = int(sys.argv[5]) if len(sys.argv) > 5 else 0
rows = int(sys.argv[6]) if len(sys.argv) > 6 else 16
torch.manual_seed(0)

settings = settings_of(adapter)
if max_length:
    settings["max_length"] = max_length
labels = settings["num_labels"]

model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels, dtype=torch.float32)
if adapter == "new":
    adapter = str(pathlib.Path(base).parent / "peft-adapter")
    made = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, use_rslora=True, task_type=TaskType.SEQ_CLS,
                                            target_modules=["q_proj", "v_proj", "down_proj"]))
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.05)
    made.save_pretrained(adapter)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, dtype=torch.float32)
model = PeftModel.from_pretrained(model, adapter).eval()
tokenizer = AutoTokenizer.from_pretrained(base)

judged = judge_first_rows(gavel, data, rows, ["--adapter", adapter, "--model", base, "--no-temperature",
                                              f"data.max_length={settings['max_length']}", "model.dtype=float32",
                                              "model.compute_dtype=float32", "train.batch_size=8"])
texts = Texts(settings, tokenizer)

worst = 0.0
for row, probabilities in judged:
    with torch.no_grad():
        logits = model(torch.tensor([texts.ids(row)])).logits[0].double()
    found = torch.tensor(probabilities[:labels]).double()
    # Probabilities give logits up to a constant.
    difference = (found.log() - found.log().mean()) - (logits - logits.mean())
    worst = max(worst, difference.abs().max().item())
print(f"{len(judged)} rows, largest difference of centred logits {worst:.2e}")
sys.exit(0 if worst < 1e-4 else 1)

#!/usr/bin/env python3
"""A judge with model.head=labels before it has learnt anything, beside the language model itself in transformers: the
probabilities of the three answers' tokens behind the text. TEMPLATE is origin or chat; rows of more than MAX_LENGTH tokens
are passed over.

Needs torch, transformers and gguf, in an environment of its own, and the set-up's SmolLM2.
usage: compare_label_head.py GAVEL CSV [ROWS] [TEMPLATE]
"""
import csv
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from compare_peft import DEFAULT_GGUF
from judged_rows import judge_first_rows, origin_text

QUESTION = "\n\n========\n\nWhich answer is better? Reply with A, B or tie."
MAX_LENGTH = 1024
gavel, data = sys.argv[1:3]
rows = int(sys.argv[3]) if len(sys.argv) > 3 else 16
template = sys.argv[4] if len(sys.argv) > 4 else "origin"
csv.field_size_limit(10**9)

with tempfile.TemporaryDirectory() as scratch:
    run = pathlib.Path(scratch) / "run"
    (pathlib.Path(scratch) / "recipe.yaml").write_text(
        f"model: {{path: smollm2-135m-instruct, dtype: float32, compute_dtype: float32, head: labels}}\n"
        f"data: {{train: {data}, valid: 0, template: {template}, question: default, truncation: proportional,\n"
        f"       max_length: {MAX_LENGTH}, batching: bucketed, cache: false}}\n"
        f"train: {{max_steps: 1, batch_size: 1, learning_rate: 0, warmup_steps: 0}}\noutput: {run}\n")
    subprocess.run([gavel, "--quiet", "train", pathlib.Path(scratch) / "recipe.yaml"], check=True)
    judged = judge_first_rows(gavel, data, rows, ["--adapter", run])
    tokens = json.loads((run / "run.json").read_text())["model"]["head_tokens"]
    tokenizer = AutoTokenizer.from_pretrained(run)

model = AutoModelForCausalLM.from_pretrained(DEFAULT_GGUF.parent, gguf_file=DEFAULT_GGUF.name, dtype=torch.float32,
                                             quantization_config=GgufConfig(dequantize=True)).eval()
worst, compared, mass, best = 0.0, 0, 0.0, 0
for row, probabilities in judged:
    text = origin_text(row) + QUESTION
    if template == "chat":
        if len(json.loads(row["prompt"])) > 1:
            continue  # judged round by round
        text = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        answers = ["A", "B", "tie"]
    else:
        text += "\n\nAnswer:"
        answers = [" A", " B", " tie"]
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    length = ids["input_ids"].shape[1]
    if length > MAX_LENGTH:
        continue
    # What the tokenizer makes of text and answer together, past the text's own tokens.
    chosen = [tokenizer(text + answer, add_special_tokens=False)["input_ids"][length] for answer in answers]
    assert chosen == [token["id"] for token in tokens.values()], (chosen, tokens)
    with torch.no_grad():
        logits = model(**ids).logits[0, -1].double()
    theirs = torch.log_softmax(logits[chosen], -1).tolist()
    worst = max([worst] + [abs(a - math.log(b)) for a, b in zip(theirs, probabilities)])
    mass += torch.softmax(logits, -1)[chosen].sum().item()
    best += int(logits.argmax()) in chosen
    compared += 1
print(f"tokens {tokens}")
print(f"{compared} rows: log probabilities of the three differ by at most {worst:.2e}; the language model gives the three "
      f"{mass / compared:.3f} of all probability, and one of them is its first choice in {best} rows")
sys.exit(worst > 1e-4 or compared == 0)

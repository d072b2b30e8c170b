#!/usr/bin/env python3
"""Speed of Gavel's tokenizer beside `tokenizers`, `tiktoken` and `quicktok-v1`, ids compared in the same run.

    pip install tokenizers tiktoken quicktok-v1 numpy
    tools/bench_tokenizer.py --bench build/release/bench/bench_text_tokenizer --tokenizer LLAMA3/tokenizer.json \
        --csv arena.csv [--files corpus/*] [--repeat 5] [--json | --markdown]

Texts: the three text columns of the CSV, cell by cell, and each of the files whole, split at line breaks into parts
of about 4 KB. Only encoding is timed, from and to each package's native types (Python strings and lists or arrays;
for Gavel string_view and vectors). `tiktoken` and `quicktok` take part for the Llama-3 vocabulary alone: tiktoken
is given the ranks of tokenizer.json, quicktok brings its own. "cpu" is processor time on one thread, which other
programs on the machine disturb little; "wall" what a clock shows. Best of the repeats. Cold: word caches emptied
before (Gavel; a new object for `tokenizers`), warm: the same texts a second time. All: every processor's thread, warm
(Gavel's cold figure besides, `all cold`).
"""
import argparse
import csv
import json
import os
import subprocess
import tempfile
import time

import numpy as np

csv.field_size_limit(1 << 30)
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")


def csv_texts(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [row[key] for row in csv.DictReader(file) for key in ("prompt", "response_a", "response_b")]


def file_texts(path):
    parts, part = [], ""
    for line in open(path, encoding="utf-8", errors="replace", newline=""):
        part += line
        if len(part) > 4000:
            parts.append(part)
            part = ""
    return parts + ([part] if part else [])


def timed(action):
    cpu, wall = time.process_time(), time.perf_counter()
    result = action()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def best_of(repeat, action, make=None):
    """Best processor and wall time; make() runs before each, untimed."""
    cpu = wall = 1e9
    result = None
    for _ in range(repeat):
        made = make() if make else None
        result, c, w = timed(lambda: action(made))
        cpu, wall = min(cpu, c), min(wall, w)
    return result, cpu, wall


def peers(args, texts, llama3):
    from tokenizers import Tokenizer
    out = []
    load = lambda: Tokenizer.from_file(args.tokenizer)
    one = lambda t: [t.encode(x, add_special_tokens=False).ids for x in texts]
    # encode() of one text runs on one thread; the cache of the model is per thread and fresh with each object.
    tokenizer, _, load_wall = timed(load)
    reference, cold_cpu, cold_wall = best_of(args.repeat, one, load)
    _, warm_cpu, warm_wall = best_of(args.repeat, lambda _: one(tokenizer), lambda: one(tokenizer))
    _, _, batch = best_of(args.repeat, lambda t: t.encode_batch_fast(texts, add_special_tokens=False), lambda: tokenizer)
    out.append(("tokenizers", reference, (cold_cpu, cold_wall, warm_cpu, warm_wall, batch), load_wall))
    if llama3:
        import quicktok
        import tiktoken
        ranks = byte_ranks(args.tokenizer)
        special = {t.content: i for i, t in tokenizer.get_added_tokens_decoder().items()}
        enc, _, load_wall = timed(lambda: tiktoken.Encoding("llama3", pat_str=LLAMA3, mergeable_ranks=ranks,
                                                            special_tokens=special))
        one = lambda e: [e.encode(x, allowed_special="all") for x in texts]
        ids, cold_cpu, cold_wall = best_of(1, one, lambda: enc)
        _, warm_cpu, warm_wall = best_of(args.repeat, one, lambda: enc)
        threads = os.cpu_count()
        _, _, batch = best_of(args.repeat, lambda e: e.encode_batch(texts, num_threads=threads, allowed_special="all"),
                              lambda: enc)
        out.append(("tiktoken", ids, (cold_cpu, cold_wall, warm_cpu, warm_wall, batch), load_wall))
        enc, _, load_wall = timed(lambda: quicktok.get_encoding("llama3"))
        one = lambda e: [e.encode(x, allowed_special="all") for x in texts]
        ids, cold_cpu, cold_wall = best_of(1, one, lambda: enc)
        _, warm_cpu, warm_wall = best_of(args.repeat, one, lambda: enc)
        _, _, batch = best_of(args.repeat, lambda e: e.encode_batch(texts, threads, True), lambda: enc)
        out.append(("quicktok-v1", ids, (cold_cpu, cold_wall, warm_cpu, warm_wall, batch), load_wall))
    return reference, out


def byte_ranks(path):
    model = json.load(open(path))["model"]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    chars = {chr(b): b for b in printable}
    extra = 256
    for b in range(256):
        if b not in printable:
            chars[chr(extra)] = b
            extra += 1
    return {bytes(chars[c] for c in token): rank for token, rank in model["vocab"].items()}


def gavel(args, texts):
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/texts", "wb") as file:
            for text in texts:
                data = text.encode()
                file.write(len(data).to_bytes(4, "little") + data)
        command = [args.bench, args.tokenizer, folder + "/texts", "--ids", folder + "/ids", "--repeat", str(args.repeat)]
        info = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        data = np.fromfile(folder + "/ids", dtype="<i4")
    ids, at = [], 0
    while at < len(data):
        ids.append(data[at + 1 : at + 1 + data[at]].tolist())
        at += 1 + data[at]
    return info, ids


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--csv", nargs="*", default=[])
    parser.add_argument("--files", nargs="*", default=[])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="rows: cold cpu, warm cpu, warm wall, all wall, different")
    args = parser.parse_args()
    vocab = json.load(open(args.tokenizer))["model"]["vocab"]
    llama3 = len(vocab) == 128000
    rows = []
    for path in args.csv + args.files:
        texts = csv_texts(path) if path in args.csv else file_texts(path)
        size = sum(len(t.encode()) for t in texts) / 1e6
        info, ids = gavel(args, texts)
        reference, others = peers(args, texts, llama3)
        best = lambda key: round(info[key]["best"], 1)
        result = {"corpus": os.path.basename(path), "MB": round(size, 2), "texts": len(texts)}
        table = [{"name": "gavel", "cold_cpu": best("cold_cpu_mb_s"), "cold_wall": best("cold_mb_s"),
                  "warm_cpu": best("warm_cpu_mb_s"), "warm_wall": best("warm_mb_s"), "all_cold_wall": best("cold_all_mb_s"), "all_wall": best("warm_all_mb_s"),
                  "different": sum(a != b for a, b in zip(ids, reference)), "load_ms": round(info["load_ms"], 1)}]
        for name, found, times, load in others:
            keys = ("cold_cpu", "cold_wall", "warm_cpu", "warm_wall", "all_wall")
            table.append({"name": name, **{k: round(size / t, 1) for k, t in zip(keys, times)},
                          "different": sum(list(a) != b for a, b in zip(found, reference)),
                          "load_ms": round(load * 1e3, 1)})
        rows.append({**result, "results": table})
        if args.markdown:
            print(f"| {result['corpus']} ({result['MB']} MB, {result['texts']} texts) | | | | | |")
            for r in table:
                reference = "(reference)" if r["name"] == "tokenizers" else r["different"]
                print(f"| {r['name']} | {r['cold_cpu']} | {r['warm_cpu']} | {r['warm_wall']} | {r['all_wall']} | {reference} |",
                      flush=True)
        elif not args.json:
            print(f"\n{result['corpus']}: {result['MB']} MB in {result['texts']} texts; MB/s")
            print(f"{'':12} {'cold cpu':>9} {'cold wall':>9} {'warm cpu':>9} {'warm wall':>9} {'all wall':>9} "
                  f"{'different':>9} {'load ms':>8}")
            for r in table:
                print(f"{r['name']:12} {r['cold_cpu']:9} {r['cold_wall']:9} {r['warm_cpu']:9} {r['warm_wall']:9} "
                      f"{r['all_wall']:9} {r['different']:9} {r['load_ms']:8}", flush=True)
    if args.json:
        print(json.dumps(rows, indent=1))


main()

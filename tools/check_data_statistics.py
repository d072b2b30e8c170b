#!/usr/bin/env python3
"""Compares what `gavel data` says of a file in the LMSYS columns with pandas and Hugging Face tokenizers.

  tools/check_data_statistics.py --gavel build/release/gavel --tokenizer tokenizer.json FILE.csv

Prints each number of both, with all digits, and whether they are the same double; exits with 1 when a printed digit
differs. Needs pandas and tokenizers.
"""
import argparse, json, re, subprocess, sys

import pandas, tokenizers

PERCENTILES = [.25, .5, .75, .9, .95, .99]
LABELS = ["winner_model_a", "winner_model_b", "winner_tie"]


def turns_of(cell):
    return [re.sub("[\ud800-\udfff]", "\ufffd", turn) if turn else "" for turn in json.loads(cell)]


def expected(path, tokenizer_path, max_length):
    frame = pandas.read_csv(path)
    null = frame.response_a.str.fullmatch(r"\[null(,null)*\]") & frame.response_b.str.fullmatch(r"\[null(,null)*\]")
    frame = frame[~null]
    cells = {name: [turns_of(cell) for cell in frame[name]] for name in ("prompt", "response_a", "response_b")}
    texts = ["User prompt: {}\n\nModel A :\n{}\n\n--------\n\nModel B:\n{}".format(*map(" ".join, row))
             for row in zip(*cells.values())]
    tokenizer = tokenizers.Tokenizer.from_file(tokenizer_path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    lengths = pandas.Series([len(e.ids) for e in tokenizer.encode_batch(texts)])
    return {"tokens": lengths.describe(percentiles=PERCENTILES).to_dict(),
            "tokens_after_truncation": lengths.clip(upper=max_length).describe(percentiles=PERCENTILES).to_dict(),
            "turns": pandas.Series([max(map(len, row)) for row in zip(*cells.values())]).describe(
                percentiles=PERCENTILES).to_dict(),
            "labels": dict(zip(("a", "b", "tie"), map(float, frame[LABELS].sum()))),
            "cut": {"rows": int((lengths > max_length).sum()), "share": float((lengths > max_length).mean())},
            "rows": len(frame)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--gavel", default="build/release/gavel")
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--max-length", type=int, default=1024)
    options = parser.parse_args()
    ours = json.loads(subprocess.run(
        [options.gavel, "--quiet", "data", options.file, f"model.tokenizer={options.tokenizer}", "--json",
         f"data.max_length={options.max_length}"], check=True, stdout=subprocess.PIPE).stdout)["train"]
    theirs = expected(options.file, options.tokenizer, options.max_length)
    different = 0
    for group, values in theirs.items():
        for name, value in values.items() if isinstance(values, dict) else [("", values)]:
            other = ours[group][name] if name else ours[group]
            same = float(other) == float(value)
            # pandas prints six decimals.
            digits = f"{other:.6f}" == f"{value:.6f}"
            different += not digits
            print(f"{group:<24}{name:<8}{other!r:>24}{value!r:>24}  "
                  f"{'same double' if same else 'same digits' if digits else 'DIFFERENT'}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()

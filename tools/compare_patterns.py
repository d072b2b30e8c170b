#!/usr/bin/env python3
"""Compares how Gavel and `tokenizers` cut texts by regular expressions: patterns of a small grammar, written at random.

    tools/compare_patterns.py 300     # needs `tokenizers` from PyPI, in an environment outside the repository

Each pattern becomes the Split stage of a tokenizer of single bytes; both programs tokenize the same texts with it. A pattern that
`tokenizers` does not take must be refused by Gavel, or the other way round it must be named as not known. Prints what differs."""
import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ATOMS = ["a", "b", "s", "ss", "k", "1", " ", ".", "\\s", "\\S", "\\w", "\\W", "\\d", "\\D", "\\h", "\\H", "\\n", "\\r", "\\t", "\\p{L}",
         "\\p{N}", "\\p{Lu}", "\\p{Ll}", "\\p{M}", "\\p{P}", "\\p{Han}", "\\p{Hiragana}", "\\p{^L}", "\\P{L}", "\\R", "\\X", "ß", "é", "中",
         "'", "\\.", "!", "_", "\\x41", "\\u0041", "\\x{e9}"]
IN_CLASS = ["a-z", "A-Z", "0-9", "\\s", "\\w", "\\d", "\\h", "\\p{L}", "\\p{N}", "\\p{P}", "[:punct:]", "[:alpha:]", "[:space:]", "[:upper:]",
            "[:^digit:]", "_", "é", "\\r\\n", "[bc]", "[^x]", "ss", "ß", ".", "'"]
ANCHORS = ["^", "$", "\\A", "\\z", "\\Z", "\\b", "\\B", "\\G", "(?!\\S)", "(?=\\s)", "(?<=a)", "(?<!\\s)", "(?<=\\n|b)"]
REPEATS = ["", "", "", "*", "+", "?", "+?", "*?", "??", "++", "*+", "?+", "{2}", "{1,3}", "{1,}", "{,2}", "{1,3}+", "{2}+", "{1,3}?", "{2}?",
           "+*", "{2}{3}"]
GROUPS = ["(?:%s)", "(?i:%s)", "(?i)%s", "(?m:%s)", "(?s:%s)", "(?x: %s )", "(%s)", "(?>%s)", "(?-i:%s)", "(?im:%s)"]
TEXTS = ["", "hello world", "Hello   World\n\n  two", "I'm you'RE we'LL DON'T", "12345 678,901.5", "a1b22c333", "ab\nab\r\nab\n", "\ttabs\t\tx ",
         "été Zürich naïve", "漢字とかな混じり文", "e\u0301 n\u0303", "[brackets] && {braces} || (x)", "STRASSE straße ſs ß SS ẞ", "٣٤٥ ²³ ½ Ⅷ",
         "👩\u200d👩\u200d👧 🇯🇵 ok", "_under_score__x", "a\u00a0b\u2003c\u3000d", "\n", " ", "aaaa bbbb ssss kkK", "0x1F ff", "A\u0085B\u2028C", "ﬀ ﬁ ﬆ"]


def pattern(rng, depth=0):
    """An alternation of sequences."""
    def piece():
        kind = rng.random()
        if kind < 0.12 and depth < 2:
            return rng.choice(GROUPS) % pattern(rng, depth + 1) + rng.choice(REPEATS)
        if kind < 0.34:
            inside = "".join(rng.sample(IN_CLASS, rng.randint(1, 3)))
            if rng.random() < 0.15:
                inside += "&&" + rng.choice(["[^a-f]", "\\w", "[a-z]", "^s"])
            return f"[{rng.choice(['', '', '^'])}{inside}]" + rng.choice(REPEATS)
        if kind < 0.44:
            return rng.choice(ANCHORS)
        return rng.choice(ATOMS) + rng.choice(REPEATS)
    return "|".join("".join(piece() for _ in range(rng.randint(1, 4))) for _ in range(rng.choice([1, 1, 2, 3])))


def tokenizer_json(text):
    def byte_level():
        kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
        other = iter(range(256, 512))
        return [chr(b) if b in kept else chr(next(other)) for b in range(256)]
    return json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": text}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": None, "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **merged(byte_level())}})


def merged(letters):
    """Vocabulary and merges in which every two bytes that stand side by side in a piece, at an even place, are one token: so ids
    tell where pieces begin."""
    vocabulary = {letter: i for i, letter in enumerate(letters)}
    merges = []
    for a in letters:
        for b in letters:
            merges.append([a, b])
            vocabulary[a + b] = len(vocabulary)
    return {"vocab": vocabulary, "merges": merges}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", nargs="?", type=int, default=300, help="how many patterns")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gavel", default="build/release/gavel")
    parser.add_argument("--pattern", action="append", help="this one instead of random ones; may be given several times")
    options = parser.parse_args()
    import tokenizers
    rng = random.Random(options.seed)
    refused = different = both = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        texts = Path(folder) / "texts.jsonl"
        texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
        for text in options.pattern or (pattern(rng) for _ in range(options.count)):
            path.write_text(tokenizer_json(text))
            try:
                theirs = [e.ids for e in tokenizers.Tokenizer.from_file(str(path)).encode_batch(TEXTS, add_special_tokens=False)]
            except BaseException as error:  # a panic of the Rust code is no Exception
                theirs = f"refused: {error}"
            found = subprocess.run([options.gavel, "--quiet", "tokenize", "--tokenizer", folder, "--jsonl", str(texts)],
                                   capture_output=True, text=True)
            ours = ([json.loads(line) for line in found.stdout.splitlines()] if found.returncode == 0
                    else f"refused: {found.stderr.strip()[-200:]}")
            if isinstance(theirs, str) and isinstance(ours, str):
                refused += 1
            elif ours == theirs:
                both += 1
            else:
                different += 1
                print(f"{text!r}:")
                if isinstance(ours, str) or isinstance(theirs, str):
                    print(f"  Gavel {ours if isinstance(ours, str) else 'takes it'}, tokenizers {theirs if isinstance(theirs, str) else 'takes it'}")
                else:
                    for one, a, b in zip(TEXTS, ours, theirs):
                        if a != b:
                            print(f"  {one!r}: {a} and {b}")
                            break
    print(f"{both} patterns cut the texts alike, {refused} are refused by both, {different} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

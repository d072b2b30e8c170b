#!/usr/bin/env python3
"""Makes the small tokenizers of this folder and the cases that `tokenizers` answers for them.

    pip install tokenizers numpy; tests/text/data/make_cases.py

The training text is made here from a few words of our own, so nothing of other people's lies in the repository.
"""
import json
import pathlib
import random
import subprocess
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
FUZZ = HERE.parents[2] / "tools" / "fuzz_tokenizer.py"
WORDS = ("the judge reads both answers and says which one a person will prefer A tie is allowed numbers like 1234 and "
         "2024 dates 31 12 it's they're we'll I'd you've naïve café größer Straße привет мир 你好 世界 答案 正确 "
         "日本語 テスト 한국어 שלום مرحبا emoji 😀 👍🏽 --- === ... (a) [b] {c} def f(x): return x + 1 \t\t\n\n    if").split(" ")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern, behavior, invert)


def level(**options):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, "use_regex": False, **options})


KINDS = {
    "llama3": [split(Regex(LLAMA3)), level()],
    "digits": [pre_tokenizers.Digits(individual_digits=True), level(use_regex=True)],
    "gpt2": [level(use_regex=True)],
    "prefix": [level(add_prefix_space=True, use_regex=True)],
    "general": [split("--", "merged_with_previous"), split(Regex(r"[aeiou]+|\s+\S"), "merged_with_next"),
                pre_tokenizers.Digits(individual_digits=False), split(Regex(r"\p{L}+|[^\s\p{N}]+"), "contiguous"),
                split(Regex(r"[^xq]+"), "removed", True), level(use_regex=True)],
}


def main():
    draw = random.Random(7)
    texts = [" ".join(draw.choice(WORDS) for _ in range(30)) for _ in range(400)]
    for name, stages in KINDS.items():
        tokenizer = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
        tokenizer.pre_tokenizer = stages[0] if len(stages) == 1 else pre_tokenizers.Sequence(stages)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet() if name != "digits" else []  # SmolLM2 lacks bytes too
        # Special tokens are taken into the vocabulary by the trainer, or added behind it.
        first = ["<|end|>", "<|start|>"] if name != "llama3" else []
        trainer = trainers.BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=alphabet, special_tokens=first)
        tokenizer.train_from_iterator(texts, trainer)
        if name == "llama3":
            tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
            begin = tokenizer.token_to_id("<|begin_of_text|>")
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)])
        if name in ("prefix", "general"):
            tokenizer.add_tokens([AddedToken("<l>", lstrip=True, normalized=False),
                                  AddedToken("<r>", rstrip=True, normalized=False),
                                  AddedToken("word", single_word=True, normalized=False),
                                  AddedToken("norm", normalized=True), AddedToken("normal", normalized=True),
                                  AddedToken("<lr>", lstrip=True, rstrip=True, normalized=True),
                                  AddedToken("é à", normalized=True), AddedToken("<r><l>", normalized=False)])
        path = HERE / f"{name}.json"
        path.write_text(tokenizer.to_str(pretty=False) + "\n")
        subprocess.run([sys.executable, str(FUZZ), "--bench", "-", "--tokenizer", str(path), "--strings", "120", "--seed",
                        str(len(name)), "--record", str(HERE / f"{name}.cases.jsonl")], check=True)
        rows = [json.loads(line) for line in (HERE / f"{name}.cases.jsonl").read_text().splitlines()]
        if name in ("prefix", "general"):
            pieces = ["<l>", "<r>", "word", "norm", "normal", "<lr>", "é à", "<r><l>", " ", "  ", "\u3000", "a", "é", "_",
                      "9", "\n", "-", "ord", "words", "al"]
            for _ in range(150):
                text = "".join(draw.choice(pieces) for _ in range(draw.randint(1, 9)))
                rows.append({"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids})
        rows = [{**row, "decoded": tokenizer.decode(row["ids"], skip_special_tokens=False)} for row in rows]
        (HERE / f"{name}.cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


main()

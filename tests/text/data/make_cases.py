#!/usr/bin/env python3
"""Makes the small tokenizers of this folder and the cases that `tokenizers` answers for them.

    pip install tokenizers numpy
    tests/text/data/make_cases.py [--all] [--llama3 tokenizer.json --smollm2 tokenizer.json]

With the two files, cases of the real tokenizers are made too (small ones are made anew each time, so that a new version
of `tokenizers` may change them). The training text is made here from a few words of our own, so nothing of other people's lies in the repository.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

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


def sequence(*parts):
    """The JSON of a Sequence decoder, or of one part."""
    return decoders.Sequence(list(parts)) if len(parts) > 1 else parts[0]


# Of the SentencePiece kind: normalizer, pre-tokenizer, decoder, options of the model, how many bytes have a token.
MARK = "\u2581"
MARK_SPACES = normalizers.Replace(" ", MARK)
PLAIN = (decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse())
SENTENCEPIECE = {
    "sp_prepend": (normalizers.Sequence([normalizers.Prepend(MARK), MARK_SPACES]), None,
                   sequence(*PLAIN, decoders.Strip(" ", 1, 0)), {"fuse_unk": True, "byte_fallback": True}, 256),
    "sp_first": (MARK_SPACES, pre_tokenizers.Sequence([
        pre_tokenizers.Metaspace(prepend_scheme="first", split=False), split(Regex(r"\[A\]|and|\[AB\]"))]),
        sequence(*PLAIN, decoders.Strip(" ", 1, 0)), {"fuse_unk": True, "byte_fallback": True, "ignore_merges": True}, 256),
    "sp_always": (normalizers.Replace("--", "-"), pre_tokenizers.Metaspace(prepend_scheme="always"), decoders.Metaspace(), {}, 0),
    "sp_gemma": (MARK_SPACES, split(" ", "merged_with_previous"), sequence(*PLAIN),
                 {"fuse_unk": True, "byte_fallback": True}, 256),
    "sp_nfkc": (normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("-", "_")]),
                pre_tokenizers.Sequence([split("=", "isolated"), pre_tokenizers.Metaspace(prepend_scheme="first"),
                                         pre_tokenizers.Digits(individual_digits=True)]), None,
                {"fuse_unk": True, "byte_fallback": True}, 200),
    "sp_plain": (None, None, decoders.Metaspace(prepend_scheme="never"), {"fuse_unk": True, "unk_token": None}, 0),
}


def sentencepiece(name, texts):
    """A small tokenizer of that kind: merges learnt word by word, but for some that join marks."""
    normalizer, pre_tokenizer, decoder, options, byte_tokens = SENTENCEPIECE[name]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=500, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    merges = [[MARK, MARK], [MARK * 2, MARK * 2], [">", MARK], [">" + MARK, "<"]] + learnt["merges"] + [["e", MARK]]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(byte_tokens)] + ["<", ">", MARK, "a b", "  "]
    tokens += [token for token in sorted(learnt["vocab"], key=learnt["vocab"].get) if token not in tokens]
    tokens += [left + right for left, right in merges if left + right not in tokens]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(dict.fromkeys(tokens))},
                                     merges=[tuple(merge) for merge in merges], **{"unk_token": "<unk>", **options}))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        tokenizer.decoder = decoder
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    if name in ("sp_gemma", "sp_plain"):
        tokenizer.add_tokens([AddedToken("\n", normalized=False), AddedToken("\n\n", normalized=False)])
    if name in ("sp_prepend", "sp_nfkc", "sp_always"):
        tokenizer.add_tokens([AddedToken("<l>", lstrip=True, normalized=False), AddedToken("<r>", rstrip=True, normalized=True),
                              AddedToken("word", single_word=True, normalized=True), AddedToken("norm al", normalized=True),
                              AddedToken("\ufb01", normalized=name != "sp_prepend")])
    begin = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    return tokenizer


def record(path, cases, strings, seed, more=()):
    """Made strings with ids and decoded text, and `more` texts."""
    subprocess.run([sys.executable, str(FUZZ), "--bench", "-", "--tokenizer", str(path), "--strings", str(strings), "--seed",
                    str(seed), "--record", str(cases)], check=True)
    tokenizer = Tokenizer.from_file(str(path))
    rows = [json.loads(line) for line in cases.read_text().splitlines()]
    rows += [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in more]
    rows = [{**row, "decoded": tokenizer.decode(row["ids"], skip_special_tokens=False)} for row in rows]
    cases.write_text("".join(json.dumps(row) + "\n" for row in rows))


def record_rows(draw):
    """Batches with templates, truncation and padding as tokenizer.json states them."""
    from itertools import cycle
    words = [w for w in WORDS if w.strip()]
    rows = []
    for number, name in zip(range(60), cycle(["llama3", "digits", "prefix"])):
        tokenizer = Tokenizer.from_file(str(HERE / f"{name}.json"))
        special = [(t.content, i) for i, t in tokenizer.get_added_tokens_decoder().items() if t.special]
        first, last = special[0], special[-1]
        template = processors.TemplateProcessing(
            single=draw.choice([[first[0], "$A"], ["$A", last[0]], [first[0], "$A", last[0]], ["$A"],
                                [first[0], last[0], "$A", last[0]]]), special_tokens=[first, last])
        kinds = [tokenizer.post_processor, template, processors.RobertaProcessing(last, first),
                 processors.BertProcessing(last, first), processors.ByteLevel(trim_offsets=True),
                 processors.Sequence([processors.ByteLevel(), template])]
        kind = kinds[number // 3 % len(kinds)]
        if kind is not None:
            tokenizer.post_processor = kind
        added = tokenizer.num_special_tokens_to_add(False)
        if draw.randrange(5):
            room = draw.choice([0, 1, 3, 8, 20])
            tokenizer.enable_truncation(room + added, stride=draw.randrange(room) if room else 0,
                                        direction=draw.choice(["left", "right"]),
                                        strategy=draw.choice(["longest_first", "only_first"]))
        if draw.randrange(5):
            tokenizer.enable_padding(direction=draw.choice(["left", "right"]), pad_id=first[1], pad_token=first[0],
                                     length=draw.choice([None, None, 1, 6, 30]),
                                     pad_to_multiple_of=draw.choice([None, None, 0, 4, 8]))
        texts = [" ".join(draw.choice(words) for _ in range(draw.randrange(8))) for _ in range(draw.randint(1, 5))]
        stated = json.loads(tokenizer.to_str())
        encoded = tokenizer.encode_batch(texts, add_special_tokens=True)
        rows.append({"tokenizer": name, **{key: stated[key] for key in ("post_processor", "truncation", "padding")},
                     "texts": texts, "ids": [e.ids for e in encoded], "masks": [e.attention_mask for e in encoded]})
    (HERE / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="the byte-level ones too")
    parser.add_argument("--llama3", type=pathlib.Path)
    parser.add_argument("--smollm2", type=pathlib.Path)
    args = parser.parse_args()
    draw = random.Random(7)
    texts = [" ".join(draw.choice(WORDS) for _ in range(30)) for _ in range(400)]
    for name, stages in KINDS.items() if args.all else ():
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
        more = []
        if name in ("prefix", "general"):
            pieces = ["<l>", "<r>", "word", "norm", "normal", "<lr>", "é à", "<r><l>", " ", "  ", "\u3000", "a", "é", "_",
                      "9", "\n", "-", "ord", "words", "al"]
            more = ["".join(draw.choice(pieces) for _ in range(draw.randint(1, 9))) for _ in range(150)]
        record(path, HERE / f"{name}.cases.jsonl", 120, len(name), more)
    if args.all:
        record_rows(draw)
    draw = random.Random(8)
    pieces = ["<s>", "</s>", "<l>", "<r>", "word", "norm al", "norm", "\ufb01", " ", " ", "  ", MARK, "    ", "a", "> <", "\u00e9", "e\u0301",
              "\n", "\n\n", "--", "=", "and", " the", "[AB]", "[A]", "7", "12", "\u3000", "\u6b63\u786e", "\uff21", "\U0001f600", "the judge"]
    for name in SENTENCEPIECE:
        path = HERE / f"{name}.json"
        path.write_text(sentencepiece(name, texts).to_str(pretty=False) + "\n")
        more = ["".join(draw.choice(pieces) for _ in range(draw.randint(1, 9))) for _ in range(200)]
        record(path, HERE / f"{name}.cases.jsonl", 60, len(name), more)
    tokenizer = Tokenizer.from_file(str(HERE / "gpt2.json"))
    tokenizer.normalizer = normalizers.NFC()
    (HERE / "nfc.json").write_text(tokenizer.to_str(pretty=False) + "\n")
    record(HERE / "nfc.json", HERE / "nfc.cases.jsonl", 200, 3)
    chat = ["<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|>", "a<|eot_id|> b", "<|eot_id|",
            "<|reserved_special_token_250|><|finetune_right_pad_id|><|eom_id|><|python_tag|>",
            "<|im_start|>user\nHi!<|im_end|>\n", "x<|im_end|>y <|endoftext|>", "<|im_start|> <|im_end", "<repo_name>a<file_sep>"]
    for real, path in (("real_llama3", args.llama3), ("real_smollm2", args.smollm2)):
        if path:
            record(path, HERE / f"{real}.cases.jsonl", 300, 9, chat)


main()

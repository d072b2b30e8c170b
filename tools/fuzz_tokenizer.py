#!/usr/bin/env python3
"""Compares Gavel's tokenizer id for id with Hugging Face `tokenizers` on made and given texts.

    pip install tokenizers numpy
    tools/fuzz_tokenizer.py --bench build/release/bench/bench_text_tokenizer --tokenizer tokenizer.json \
        --strings 1000000 [--cases FILE.jsonl.gz ...] [--files FILE ...] [--rows 20000] [--regex]
        [--also OTHER.gguf]

--cases: lines of {"text", "ids"} whose recorded ids count. --files: CSV, JSON and text files, whole and line by
line. --strings: made strings (see `STYLES`), a tenth of them as invalid UTF-8, which the reference sees after
Rust-like lossy decoding. --also: the program opens this file instead, the reference stays TOKENIZER. Decoding is
compared too. --rows: so many further strings are compared as rows: with random templates (TemplateProcessing, Roberta,
Bert, Sequence), truncation and padding written into a tokenizer.json, in batches. Prints a summary and exits with 1 when any string differs; the first ones are shown.
"""
import argparse
import csv
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata

import numpy as np
from tokenizers import Tokenizer, processors

csv.field_size_limit(1 << 30)
LETTERS = "etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLU"
SPACES = [chr(c) for c in [9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
                           0x205F, 0x3000]]
SCRIPTS = [(0x20, 0x7E), (0xA1, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x530, 0x6FF), (0x700, 0x97F),
           (0x980, 0xDFF), (0xE00, 0x109F), (0x10A0, 0x137F), (0x1780, 0x18AF), (0x1E00, 0x218F), (0x2190, 0x2BFF),
           (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xABFF), (0xAC00, 0xD7A3),
           (0xF900, 0xFFFD), (0x10000, 0x10FFF), (0x11000, 0x12FFF), (0x16000, 0x18FFF), (0x1B000, 0x1BFFF),
           (0x1D000, 0x1DFFF), (0x1E000, 0x1FAFF), (0x20000, 0x323AF), (0xE0000, 0xE01EF), (0xF0000, 0x10FFFF)]


def digits():
    return [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c))[0] == "N"]


class Maker:
    def __init__(self, seed, specials, vocab, corpus):
        self.random = random.Random(seed)
        self.specials = specials
        self.vocab = vocab
        self.corpus = corpus
        self.digits = digits()

    def any_char(self):
        while True:
            c = self.random.randrange(0x110000)
            if not 0xD800 <= c < 0xE000:
                return chr(c)

    def script_char(self):
        low, high = self.random.choice(SCRIPTS)
        return chr(self.random.randint(low, high))

    def word(self):
        return "".join(self.random.choice(LETTERS) for _ in range(self.random.randint(1, 12)))

    def special(self):
        token = self.random.choice(self.specials)
        kind = self.random.randrange(6)
        if kind == 0:  # a look-alike
            at = self.random.randrange(len(token))
            return token[:at] + self.random.choice([" ", "", "|", "<", "\u200b", token[at].upper()]) + token[at + 1:]
        if kind == 1:
            return token[: self.random.randint(1, len(token))]
        return token

    def unit(self):
        r = self.random
        kind = r.randrange(18)
        if kind == 0:
            return self.any_char()
        if kind == 1:
            low, high = r.choice(SCRIPTS)
            return "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, 8)))
        if kind == 2:
            return r.choice(SPACES) * r.randint(1, 4)
        if kind == 3:
            return "".join(r.choice(SPACES) for _ in range(r.randint(1, 5)))
        if kind == 4:
            return "".join(r.choice(self.digits) for _ in range(r.randint(1, 6)))
        if kind == 5:
            return str(r.randrange(10 ** r.randint(1, 12)))
        if kind == 6:
            return self.special()
        if kind == 7:
            return r.choice(["'s", "'S", "'T", "'re", "'Re", "'VE", "'ll", "'LL", "'lL", "'d", "'m", "'\u017f", "'\u212a",
                             "''s", "'", "\u2019s", "'r", "'v", "'l"])
        if kind == 8:
            return r.choice(["\r\n", "\n", "\r", "\n\n", " \n", "\n ", "\t\n", "\r\n\r\n"]) * r.randint(1, 3)
        if kind == 9:
            return "".join(chr(r.randint(0x300, 0x36F)) for _ in range(r.randint(1, 4)))
        if kind == 10:
            return r.choice("!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~") * r.randint(1, 6)
        if kind == 11:
            return r.choice(self.vocab)
        if kind == 12:
            return " " * r.randint(1, 9)
        if kind == 13:
            return " " + self.word()
        if kind == 15:  # what vocabularies made by SentencePiece spell spaces and bytes with
            return r.choice(["\u2581", "\u2581\u2581", " \u2581", "\u2581 ", "\u2581a", "<0x0A>", "<0xE2>", "<0x+A>", "<unk>"])
        if kind == 16:  # what normalization composes or puts in order
            letters = "".join(self.script_char() for _ in range(r.randint(1, 4)))
            marks = "".join(chr(r.choice([0x301, 0x323, 0x327, 0x345, 0x93C, 0x5B0, 0x1161, 0x11A8, 0x3099]))
                            for _ in range(r.randint(0, 4)))
            return unicodedata.normalize(r.choice(["NFD", "NFKD", "NFC"]), letters) + marks
        if kind == 14 and self.corpus:
            at = r.randrange(len(self.corpus))
            return self.corpus[at : at + r.randint(1, 60)]
        return self.word()

    def string(self):
        r = self.random
        style = r.randrange(20)
        if style == 0:  # a long word of few letters, so that merges tie and overlap
            letters = [r.choice([r.choice(LETTERS), self.script_char(), r.choice(" -=_.#")]) for _ in range(r.randint(1, 3))]
            return "".join(r.choice(letters) for _ in range(r.randint(1, 300)))
        if style == 1:
            return "".join(r.choice(LETTERS) for _ in range(r.randint(1, 200)))
        if style == 2:
            return "".join(self.any_char() for _ in range(r.randint(1, 30)))
        if style == 3:
            low, high = r.choice(SCRIPTS)
            return "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, 120)))
        if style == 4:  # vocabulary entries side by side
            return "".join(r.choice(self.vocab) for _ in range(r.randint(1, 12)))
        return "".join(self.unit() for _ in range(r.randint(1, 14)))

    def item(self):
        text = self.string()
        data = text.encode("utf-8", "surrogatepass")
        if self.random.randrange(10):
            return data
        out = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            kind = self.random.randrange(4)
            at = self.random.randrange(len(out) + 1)
            if kind == 0 and out:
                del out[min(at, len(out) - 1)]
            elif kind == 1:
                out.insert(at, self.random.randrange(0x80, 0x100))
            elif kind == 2 and out:
                out[min(at, len(out) - 1)] = self.random.randrange(256)
            else:
                out[at:at] = self.random.choice([b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe0\x80\xaf",
                                                 b"\xf0\x8f\xbf\xbf", b"\xff\xfe", b"\xe2\x82", b"\xf0\x9f\x98"])
        return bytes(out)


def write_blocks(path, blocks):
    with open(path, "wb") as file:
        for block in blocks:
            file.write(len(block).to_bytes(4, "little") + block)


def read_blocks(path, width):
    data = open(path, "rb").read()
    at = 0
    while at < len(data):
        count = int.from_bytes(data[at : at + 4], "little")
        yield data[at + 4 : at + 4 + count * width]
        at += 4 + count * width


class Checker:
    def __init__(self, args):
        self.args = args
        self.reference = Tokenizer.from_file(args.tokenizer)
        self.rows = self.bad_rows = self.checked = self.bad = self.bad_decodes = self.replaced = self.ids = self.invalid = 0

    def program(self, folder, extra, tokenizer=None):
        command = [self.args.bench, tokenizer or self.args.also or self.args.tokenizer, folder + "/texts", "--repeat", "0", "--ids",
                   folder + "/ids"] + extra + (["--regex"] if self.args.regex else [])
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    def check(self, items, expected=None):
        # Python replaces maximal parts as Rust does; surrogates' bytes are the exception that both treat alike.
        texts = [item.decode("utf-8", "replace") for item in items]
        if expected is None:
            expected = [e.ids for e in self.reference.encode_batch_fast(texts, add_special_tokens=False)]
        with tempfile.TemporaryDirectory() as folder:
            write_blocks(folder + "/texts", items)
            info = self.program(folder, [])
            got = [np.frombuffer(b, dtype="<i4").tolist() for b in read_blocks(folder + "/ids", 4)]
            self.program(folder, ["--decode"])
            decoded = [b.decode("utf-8") for b in read_blocks(folder + "/ids", 1)]
        self.replaced += info["replaced"]
        self.invalid += sum(1 for item, text in zip(items, texts) if text.encode() != item)
        assert len(got) == len(items) and len(decoded) == 2 * len(items)
        decodes = [self.reference.decode_batch(expected, skip_special_tokens=skip) for skip in (False, True)]
        for i, (text, want, have) in enumerate(zip(texts, expected, got)):
            self.checked += 1
            self.ids += len(want)
            if want != have:
                self.bad += 1
                if self.bad <= self.args.show:
                    print("DIFFERENT", json.dumps(text), "expected", want, "found", have)
            for kind in (0, 1):
                if decodes[kind][i] != decoded[2 * i + kind]:
                    self.bad_decodes += 1
                    if self.bad_decodes <= self.args.show:
                        print("DECODES DIFFERENTLY", want, json.dumps(decodes[kind][i]), json.dumps(decoded[2 * i + kind]))


    def check_rows(self, items, random):
        """The items in batches, each with a template, truncation and padding of its own."""
        special = [(t.content, i) for i, t in self.reference.get_added_tokens_decoder().items()]
        while items:
            size = random.choice([1, 2, 7, 64, 500])
            batch, items = items[:size], items[size:]
            tokenizer = Tokenizer.from_file(self.args.tokenizer)
            # The stored template, or one of a few kinds.
            kind = random.randrange(5)
            template, added = random_template(random, special)
            if kind == 1:
                tokenizer.post_processor, added = processors.RobertaProcessing(*random.choices(special, k=2)), 2
            elif kind == 2:
                tokenizer.post_processor, added = processors.BertProcessing(*random.choices(special, k=2)), 2
            elif kind == 3:
                tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
            elif kind > 3:
                tokenizer.post_processor = template
            else:
                added = tokenizer.num_special_tokens_to_add(False)
            if random.randrange(4):
                room = random.choice([0, 1, 2, 5, 16, 100])
                tokenizer.enable_truncation(room + added, stride=random.randrange(room) if room else 0,
                                            direction=random.choice(["left", "right"]),
                                            strategy=random.choice(["longest_first", "only_first"]))
            if random.randrange(4):
                tokenizer.enable_padding(direction=random.choice(["left", "right"]), pad_id=random.choice(special)[1],
                                         pad_token=special[0][0], length=random.choice([None, None, 1, 8, 40, 129]),
                                         pad_to_multiple_of=random.choice([None, 0, 1, 8, 64]))
            texts = [item.decode("utf-8", "replace") for item in batch]
            expected = [(e.ids, e.attention_mask) for e in tokenizer.encode_batch(texts, add_special_tokens=True)]
            with tempfile.TemporaryDirectory() as folder:
                tokenizer.save(folder + "/tokenizer.json", pretty=False)
                write_blocks(folder + "/texts", batch)
                self.program(folder, ["--rows"], folder + "/tokenizer.json")
                blocks = [np.frombuffer(b, dtype="<i4").tolist() for b in read_blocks(folder + "/ids", 4)]
            got = list(zip(blocks[::2], blocks[1::2]))
            assert len(got) == len(batch)
            self.rows += len(batch)
            for text, want, have in zip(texts, expected, got):
                if want != have:
                    self.bad_rows += 1
                    if self.bad_rows <= self.args.show:
                        print("ROW DIFFERS", json.dumps(text), "expected", want, "found", have, tokenizer.truncation,
                              tokenizer.padding, tokenizer.post_processor)


def random_template(random, special):
    """A TemplateProcessing with up to two tokens before and behind the text, and how many these are."""
    before = random.choices(special, k=random.randrange(3))
    behind = random.choices(special, k=random.randrange(3))
    used = list({**dict(before), **dict(behind)}.items())
    spelled = [name for name, _ in before] + ["$A"] + [name for name, _ in behind]
    return processors.TemplateProcessing(single=spelled, special_tokens=used), len(before) + len(behind)


def file_texts(path):
    data = gzip.open(path).read() if path.endswith(".gz") else open(path, "rb").read()
    texts = [data] + data.splitlines(keepends=True)
    name = path.removesuffix(".gz")
    if name.endswith(".csv"):
        for row in csv.reader(data.decode("utf-8", "replace").splitlines(keepends=True)):
            texts += [cell.encode() for cell in row]
    elif name.endswith(".json"):
        def strings(value):
            if isinstance(value, str):
                yield value.encode("utf-8", "replace")
            for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
                yield from strings(inner)
        try:
            texts += list(strings(json.loads(data)))
        except ValueError:
            pass
    return texts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="the program bench_text_tokenizer")
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json")
    parser.add_argument("--also", help="what the program opens instead, for example a .gguf")
    parser.add_argument("--strings", type=int, default=0)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chunk", type=int, default=50000)
    parser.add_argument("--cases", nargs="*", default=[])
    parser.add_argument("--files", nargs="*", default=[])
    parser.add_argument("--regex", action="store_true", help="PCRE2 in place of the hand-made scanners")
    parser.add_argument("--show", type=int, default=10)
    parser.add_argument("--record", help="write made strings with the reference's ids as JSON lines here")
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    checker = Checker(args)
    for path in args.cases:
        opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
        rows = [json.loads(line) for line in opened]
        checker.check([r["text"].encode("utf-8", "replace") for r in rows], [r["ids"] for r in rows])
    for path in args.files:
        texts = file_texts(path)
        for at in range(0, len(texts), args.chunk):
            checker.check(texts[at : at + args.chunk])
    specials = [t.content for t in checker.reference.get_added_tokens_decoder().values()] or ["<|x|>"]
    vocab = []
    for id in range(checker.reference.get_vocab_size()):
        text = checker.reference.decode([id], skip_special_tokens=False)
        if text and "\ufffd" not in text:
            vocab.append(text)
    corpus = ""
    for path in args.files:
        corpus += (gzip.open(path).read() if path.endswith(".gz") else open(path, "rb").read()).decode("utf-8", "replace")
    maker = Maker(args.seed, specials, vocab, corpus[: 20 << 20])
    if args.record:
        with open(args.record, "w") as out:
            for _ in range(args.strings):
                text = maker.item().decode("utf-8", "replace")
                ids = checker.reference.encode(text, add_special_tokens=False).ids
                out.write(json.dumps({"text": text, "ids": ids}) + "\n")
        return
    left = args.strings
    while left > 0:
        count = min(left, args.chunk)
        checker.check([maker.item() for _ in range(count)])
        left -= count
    print(f"{checker.checked} strings, {checker.ids} ids, {checker.invalid} strings not UTF-8 ({checker.replaced} parts "
          f"replaced): {checker.bad} differ, {checker.bad_decodes} decodes differ")
    if args.rows:
        checker.check_rows([maker.item() for _ in range(args.rows)], random.Random(args.seed))
        print(f"{checker.rows} rows with templates, truncation and padding: {checker.bad_rows} differ")
    sys.exit(1 if checker.bad or checker.bad_decodes or checker.bad_rows else 0)


main()

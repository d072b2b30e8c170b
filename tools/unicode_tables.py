#!/usr/bin/env python3
"""Writes src/pieces/unicode_ranges.cpp: the character classes as Hugging Face `tokenizers` itself sees them.

Every code point is shown to the installed `tokenizers`, so the classes are those of the regular-expression
engine and the standard library it was built with, whatever Unicode version these follow:
    letter, number, space   \\p{L}, \\p{N}, \\s of its Split pre-tokenizer
    numeric                 char::is_numeric of its Digits pre-tokenizer
    word                    \\w of its added tokens with single_word
Usage: pip install tokenizers; tools/unicode_tables.py > src/pieces/unicode_ranges.cpp
"""
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ALL = "".join(map(chr, CODE_POINTS))


def regex_class(pattern):
    left = set()
    for _, (begin, end) in pre_tokenizers.Split(Regex(pattern + "+"), "removed").pre_tokenize_str(ALL):
        left.update(CODE_POINTS[begin:end])
    return [c for c in CODE_POINTS if c not in left]


def numeric_class():
    # Contiguous pieces alternate, and U+0000 is not numeric.
    pieces = pre_tokenizers.Digits(individual_digits=False).pre_tokenize_str(ALL)
    return [c for _, (begin, end) in pieces[1::2] for c in CODE_POINTS[begin:end]]


def word_class():
    tokenizer = Tokenizer(models.BPE({"x": 0}, []))
    tokenizer.add_tokens([AddedToken("<t>", single_word=True, normalized=False)])
    out = []
    step = 1 << 14
    for at in range(0, len(CODE_POINTS), step):
        part = CODE_POINTS[at : at + step]
        # A token with a word character before it is not taken; a line break stands between the trials.
        encoding = tokenizer.encode("".join(chr(c) + "<t>\n" for c in part))
        taken = {begin // 5 for (begin, _), id in zip(encoding.offsets, encoding.ids) if id == 1}
        out += [c for i, c in enumerate(part) if i not in taken]
    return out


def ranges(points):
    out = []
    for c in points:
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def main():
    classes = {
        "letter": regex_class(r"\p{L}"),
        "number": regex_class(r"\p{N}"),
        "space": regex_class(r"\s"),
        "numeric": numeric_class(),
        "word": word_class(),
    }
    print(f"// Made by tools/unicode_tables.py from tokenizers {tokenizers.__version__}; do not edit.")
    print('#include "pieces/unicode.h"\n\nnamespace gavel {\nnamespace {\n// clang-format off')
    for name, points in classes.items():
        rows = ranges(points)
        print(f"constexpr CodeRange k{name.capitalize()}[] = {{")
        for at in range(0, len(rows), 6):
            print("  " + " ".join(f"{{0x{b:x},0x{e:x}}}," for b, e in rows[at : at + 6]))
        print("};")
        print(f"{name}: {len(points)} code points, {len(rows)} ranges", file=sys.stderr)
    print("// clang-format on\n}  // namespace\n")
    print("std::span<const CodeRange> unicode_ranges(CharClass kind) {\n  switch (kind) {")
    for name in classes:
        print(f"    case k{name.capitalize()}Class:\n      return k{name.capitalize()};")
    print("  }\n  return {};\n}\n\n}  // namespace gavel")


main()

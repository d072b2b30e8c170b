#!/usr/bin/env python3
"""Compares the chat templates that Gavel renders with what transformers renders.

    tools/compare_chat_templates.py PATH ...     templates in files: *.jinja, tokenizer_config.json, *.gguf, or folders of them
    tools/compare_chat_templates.py --random N   N small templates made at random (--seed)
    tools/compare_chat_templates.py --golden     writes tests/chat/golden.jsonl from tests/chat/cases.jinja

Needs a Python with transformers and jinja2, and (but for --golden) the program chat_probe of a build
(--probe, default build/release/tests/chat_probe). A template that Gavel refuses, and Jinja does not, is counted; one that
both render and differently is an error. strftime_now is left out on both sides, as Gavel does without it.
"""
import argparse
import collections
import copy
import json
import pathlib
import random
import struct
import subprocess
import sys
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def chat(*turns):
    return [{"role": role, "content": content} for role, content in turns]


CHATS = [
    chat(("user", "hi é")),
    chat(("user", " \n hi {{x}} <|im_end|> \n")),
    chat(("system", "Be brief."), ("user", "q"), ("assistant", "a"), ("user", "q2")),
    chat(("user", "q"), ("assistant", "<think>\nhm\n</think>\n\n a "), ("user", "q2"), ("assistant", "end")),
    chat(("system", "s"), ("user", "")),
    chat(("user", "a"), ("user", "b")),
    chat(("assistant", "a")),
    chat(("tool", "x")),
    [],
]
GOLDEN_CHATS = [chat(("user", "hi é"), ("assistant", " yo\n")),
                chat(("system", "S's"), ("user", "<r>q</r>"), ("assistant", "<think>\nw\n</think>\n\na"), ("user", " q2 "))]


def reference(case):
    import transformers.utils.chat_template_utils as utils
    try:
        template = utils._compile_jinja_template(case["template"])
        template.globals.pop("strftime_now", None)
        template.environment.globals.pop("strftime_now", None)
        return {"text": template.render(messages=copy.deepcopy(case["messages"]), tools=None, documents=None,
                                        add_generation_prompt=case["add_generation_prompt"], **case["tokens"])}
    except Exception as problem:  # whatever Python raises in a template
        return {"error": f"{type(problem).__name__}: {problem}"}


def ours(cases, probe):
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([probe], input=lines, capture_output=True, text=True)
    out = [json.loads(line) for line in done.stdout.rstrip("\n").split("\n")]
    if len(out) != len(cases):
        sys.exit(f"error: {probe} ended with {done.returncode} on {cases[len(out)]['template']!r}")
    return out


def templates_of(path):
    path = pathlib.Path(path)
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix in (".jinja", ".gguf") or file.name == "tokenizer_config.json":
                yield from templates_of(file)
    elif path.name == "tokenizer_config.json":
        found = json.loads(path.read_text()).get("chat_template")
        if isinstance(found, list):
            for one in found:
                yield f"{path} ({one['name']})", one["template"]
        elif found:
            yield str(path), found
    elif path.suffix == ".gguf":
        with open(path, "rb") as stream:
            head = stream.read(64 << 20)
        key = b"tokenizer.chat_template"
        at = head.find(key) + len(key)
        if at >= len(key):
            kind, size = struct.unpack("<IQ", head[at:at + 12])
            if kind == 8:
                yield str(path), head[at + 12:at + 12 + size].decode()
    else:
        with open(path, encoding="utf-8", newline="") as stream:
            yield str(path), stream.read()


class Maker:
    """Small templates, of all that the language has."""

    ATOMS = ["1", "0", "-3", "2.5", "'a'", "''", "'é b'", "\" x\\n\"", "none", "true", "false", "messages", "m", "x", "y", "ns.v",
             "messages[0]", "messages[-1].content", "m.role", "m['content']", "nothing", "[1, 'b', none]", "[]", "{}",
             "{'k': 1, 'é': [x]}", "(1, 'z')", "loop.index0", "loop.last", "range(3)", "f(x)", "f('q', y=2)", "bos_token",
             "add_generation_prompt", "tools", "ns", "f"]
    FILTERS = ["trim", "upper", "lower", "length", "string", "tojson", "tojson(indent=2)", "list", "first", "last", "join",
               "join(', ')", "join(x)", "default('d')", "default('d', true)", "int", "int(7)", "abs", "capitalize", "title",
               "reverse", "sort", "items", "map('upper')", "map(attribute='role')", "select", "select('string')", "reject('none')",
               "selectattr('role', 'equalto', 'user')", "rejectattr('content')", "replace('a', 'b')", "indent", "indent(2, true)",
               "map('length') | list", "list | length", "count", "map(attribute='x', default=1) | list"]
    TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "mapping", "sequence", "iterable", "boolean",
             "true", "false", "odd", "even", "callable", "eq 1", "in 'abc'", "in [1, 'a']", "divisibleby 2", "lower", "upper",
             "equalto('a')", "sameas none", "gt 1", "ne(2)"]
    METHODS = ["strip()", "lstrip('a ')", "rstrip()", "split()", "split('a')", "split(' ', 1)", "upper()", "lower()",
               "startswith('a')", "endswith(('b', '\\n'))", "replace('a', '')", "replace('', '-')", "items()", "keys()", "values()",
               "get('role')", "get('q', 3)", "find('b')", "count('a')", "title()", "capitalize()", "splitlines()", "join(['u', 'v'])",
               "append(1)", "role", "content", "k", "v", "length", "partition('b')", "isdigit()", "islower()", "rsplit('a', 1)",
               "removeprefix('a')", "index", "copy()", "index('a')"]
    BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "and", "or", "==", "!=", "<", "<=", ">", ">=", "in", "not in"]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def expression(self, depth=2):
        pick = self.random.choice
        if depth <= 0 or self.random.random() < 0.2:
            return pick(self.ATOMS)
        inner = self.expression
        kind = self.random.randrange(11)
        if kind < 2:
            return f"{inner(depth - 1)} {pick(self.BINARY)} {inner(depth - 1)}"
        if kind < 4:
            return f"{inner(depth - 1)} | {pick(self.FILTERS)}"
        if kind == 4:
            return f"{inner(depth - 1)} is {pick(['', 'not '])}{pick(self.TESTS)}"
        if kind == 5:
            return f"({inner(depth - 1)}).{pick(self.METHODS)}"
        if kind == 6:
            return f"({inner(depth - 1)})[{pick([inner(0), '0', '-1', '1:', ':-1', '::-1', '::2', '0:1', 'x:'])}]"
        if kind == 7:
            return f"{inner(depth - 1)} if {inner(depth - 1)}{pick(['', ' else ' + inner(depth - 1)])}"
        if kind == 8:
            return f"{pick(['not ', '-', '+'])}{inner(depth - 1)}"
        if kind == 9:
            return f"[{inner(depth - 1)}, {inner(depth - 1)}]"
        return f"({inner(depth - 1)})"

    def tag(self, text):
        return "{%" + self.random.choice(["", "", "-", "+"]) + f" {text} " + self.random.choice(["", "", "-", "+"]) + "%}"

    def text(self):
        return self.random.choice(["a", " ", "\n", "  \n", "\n  ", " b\n", "\t", "{ ", "é", "\r\n", "\n\n", ""])

    def block(self, depth=3):
        return "".join(self.text() + self.statement(depth) for _ in range(self.random.randrange(1, 4))) + self.text()

    def statement(self, depth):
        kind = self.random.randrange(13) if depth > 0 else 0
        e = self.expression
        if kind < 4:
            return "{{" + self.random.choice(["", "-"]) + f" {e()} " + self.random.choice(["", "-"]) + "}}"
        if kind == 4:
            return self.tag(f"if {e()}") + self.block(depth - 1) + self.random.choice(
                ["", self.tag("else") + self.block(depth - 1), self.tag(f"elif {e()}") + self.block(depth - 1)]) + self.tag("endif")
        if kind < 7:
            over = self.random.choice(["messages", "messages", "m in messages if m.role", e(1), "[1, 2, 3]", "messages[1:]"])
            head = f"for {over}" if " in " in over and " if " in over else f"for m in {over}"
            return self.tag(head) + self.block(depth - 1) + self.random.choice(
                ["", "{% if loop.first %}{% continue %}{% endif %}", "{% break %}", self.tag("else") + self.block(depth - 1)]) + self.tag(
                    "endfor")
        if kind == 7:
            return self.tag(f"set {self.random.choice(['x', 'y', 'm', 'ns.v', 'x, y'])} = {e()}")
        if kind == 8:
            return self.tag(f"set {self.random.choice(['x', 'y | trim'])}") + self.block(depth - 1) + self.tag("endset")
        if kind == 9:
            return self.tag(f"macro f(x, y={e(1)})") + self.block(depth - 1) + self.tag("endmacro")
        if kind == 10:
            return "{#" + self.random.choice(["", "-"]) + " note " + self.random.choice(["", "-", "+"]) + "#}"
        if kind == 11:
            return self.tag(f"with x = {e(1)}") + self.block(depth - 1) + self.tag("endwith")
        return self.tag("generation") + self.block(depth - 1) + self.tag("endgeneration")

    def template(self):
        head = ("{% set ns = namespace(v=1) %}{% set x = 'a' %}{% set y = 2 %}{% set m = messages[0] %}"
                "{% macro f(x, y=1) %}[{{ x }}{{ y }}]{% endmacro %}") if self.random.random() < 0.9 else ""
        return head + self.block()


def compare(named, chats, probe):
    cases = [(name, {"template": template, "messages": messages, "add_generation_prompt": prompt, "tokens": TOKENS})
             for name, template in named for messages in chats for prompt in (True, False)]
    counts, refused, wrong = collections.Counter(), collections.Counter(), set()
    for begin in range(0, len(cases), 5000):
        part = cases[begin:begin + 5000]
        for (name, case), found in zip(part, ours([case for _, case in part], probe)):
            wanted = reference(case)
            kind = ("same" if found == wanted else "both refuse" if "error" in found and "error" in wanted else
                    "Gavel refuses" if "error" in found else "DIFFERENT")
            counts[kind] += 1
            if kind == "Gavel refuses":
                refused[found["error"].split(": ", 2)[-1]] += 1
            if kind == "DIFFERENT":
                if name not in wrong and len(wrong) < 20:
                    print(f"{name}: {case['template'][:2000]!r}\n  of {case['messages']}\n  Gavel: {found}\n  Jinja: {wanted}")
                wrong.add(name)
    print(", ".join(f"{kind}: {number}" for kind, number in counts.items()))
    for text, number in refused.most_common(15):
        print(f"  refused {number} times: {text}")
    return not wrong


def write_golden():
    folder = ROOT / "tests" / "chat"
    with open(folder / "cases.jinja", encoding="utf-8", newline="") as stream:
        templates = stream.read().removesuffix("\n").split("\n====\n")
    with open(folder / "golden.jsonl", "w", encoding="utf-8", newline="\n") as out:
        for template in templates:
            for messages in GOLDEN_CHATS:
                case = {"template": template, "messages": messages, "add_generation_prompt": True, "tokens": TOKENS}
                wanted = reference(case)
                # The words of Python's exceptions are not ours.
                out.write(json.dumps({**case, **({"text": wanted["text"]} if "text" in wanted else {"error": True})}) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--golden", action="store_true")
    parser.add_argument("--probe", default=str(ROOT / "build" / "release" / "tests" / "chat_probe"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of Python's compiler, on random templates
    if arguments.golden:
        write_golden()
    good = True
    if arguments.random:
        maker = Maker(arguments.seed)
        made = [(f"random {i}", maker.template()) for i in range(arguments.random)]
        good = compare(made, CHATS[2:4], arguments.probe)
    if arguments.paths:
        named = [one for path in arguments.paths for one in templates_of(path)]
        print(f"{len(named)} templates")
        good = compare(named, CHATS, arguments.probe) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

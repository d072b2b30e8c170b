"""The tokens of a row as the run that made an adapter has them (its template, question, max_length and truncation), made with
the tokenizer of transformers: for comparisons, so that these are not of Gavel's own making."""
import json
import pathlib

ROUNDS = "\n\n========\n\n"
ORIGIN = [("words", "User prompt: "), ("prompt", ""), ("words", "\n\nModel A :\n"), ("a", ""),
          ("words", "\n\n--------\n\nModel B:\n"), ("b", "")]
FRAMES = {"llama3": ("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
          "chatml": ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")}
COLUMNS = {"prompt": "prompt", "a": "response_a", "b": "response_b"}


def settings_of(adapter):
    """What the run's recipe says of its texts; Gavel's defaults for an adapter without one."""
    import yaml

    found = {"template": "origin", "question": None, "max_length": 1024, "truncation": "right",
             "proportional_shares": [0.2, 0.4, 0.4], "num_labels": 3}
    path = pathlib.Path(adapter) / "recipe.yaml"
    if path.exists():
        recipe = yaml.safe_load(path.read_text())
        if recipe.get("task", "judge") != "judge":
            raise SystemExit(f"{path}: task: {recipe['task']} reads single answers: use tools/compare_trl.py")
        found.update({key: value for key, value in recipe["data"].items() if key in found})
        found["num_labels"] = recipe["model"].get("num_labels", 3)
    if found["question"] == "default":
        found["question"] = ("Which answer is better? Reply with A or B." if found["num_labels"] == 2 else
                             "Which answer is better? Reply with A, B or tie.")
    return found


def turns_of(row):
    """Lists of turns of a row in LMSYS's columns; lone surrogates become U+FFFD."""
    return {part: [(turn or "").encode("utf-16", "surrogatepass").decode("utf-16", "replace") for turn in json.loads(row[column])]
            for part, column in COLUMNS.items()}


def parts_of(template):
    """A text with placeholders as its pieces."""
    if "{" not in template:
        return ORIGIN
    names = {"{prompt}": "prompt", "{response_a}": "a", "{response_b}": "b"}
    pieces, words, i = [], "", 0
    while i < len(template):
        name = next((n for n in names if template.startswith(n, i)), None)
        if name:
            pieces += [("words", words)] * bool(words) + [(names[name], "")]
            words, i = "", i + len(name)
        else:
            doubled = template[i] in "{}" and template[i:i + 2] == template[i] * 2
            words, i = words + template[i], i + 1 + doubled
    return pieces + [("words", words)] * bool(words)


class Texts:
    def __init__(self, settings, tokenizer):
        self.settings, self.tokenizer = settings, tokenizer
        plain = tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = tokenizer("a")["input_ids"]
        start = next(i for i in range(len(whole)) if whole[i:i + len(plain)] == plain)
        self.prefix, self.suffix = whole[:start], whole[start + len(plain):]
        self.room = settings["max_length"] - len(self.prefix) - len(self.suffix)

    def frame(self):
        """What stands before and after the text."""
        template = self.settings["template"]
        if template != "chat":
            return FRAMES.get(template, ("", ""))
        mark = "What the judge reads"
        text = self.tokenizer.apply_chat_template([{"role": "user", "content": mark}], tokenize=False, add_generation_prompt=True)
        text = text.removeprefix(self.tokenizer.bos_token or "")
        return tuple(text.split(mark))

    def pieces(self, turns, first):
        """(part, text) from round `first` on; words beside words are one piece."""
        template = self.settings["template"]
        by_round = template in ("turns", "llama3", "chatml", "chat")
        rounds = max(1, *map(len, turns.values()))
        before, after = self.frame()
        pieces = [("words", before)] if before else []
        if by_round:
            for r in range(first, rounds):
                pieces += [("words", ROUNDS)] * (r > first)
                pieces += [(part, text if part == "words" else (turns[part][r] if r < len(turns[part]) else ""))
                           for part, text in ORIGIN]
        else:
            pieces += [(part, text if part == "words" else " ".join(turns[part][first:])) for part, text in parts_of(template)]
        if self.settings["question"]:
            pieces.append(("words", ROUNDS + self.settings["question"] + ("" if before or after else "\n\nAnswer:")))
        pieces += [("words", after)] if after else []
        merged = []
        for part, text in pieces:
            if part == "words" and merged and merged[-1][0] == "words":
                merged[-1] = ("words", merged[-1][1] + text)
            else:
                merged.append((part, text))
        return merged

    def encode(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def sections(self, pieces):
        """Each piece's tokens; a space before a part belongs to the part's first word."""
        pieces = list(pieces)
        for i in range(len(pieces) - 1):
            (part, text), (next_part, next_text) = pieces[i], pieces[i + 1]
            if part == "words" and next_part != "words" and text.endswith(" ") and next_text:
                pieces[i], pieces[i + 1] = (part, text[:-1]), (next_part, " " + next_text)
        return [(part, self.encode(text)) for part, text in pieces]

    def cut_proportionally(self, turns):
        for first in range(max(1, *map(len, turns.values()))):
            sections = self.sections(self.pieces(turns, first))
            words = sum(len(ids) for part, ids in sections if part == "words")
            contents = sum(len(ids) for part, ids in sections if part != "words")
            if words + contents <= self.room:
                break
        share = dict(zip(("prompt", "a", "b"), self.settings["proportional_shares"]))
        wanted = [len(ids) for part, ids in sections if part != "words"]
        kept = shared(self.room - words, wanted, [share[part] for part, _ in sections if part != "words"])
        counts = iter(kept)
        return [token for part, ids in sections for token in (ids if part == "words" else ids[:next(counts)])]

    def ids(self, row):
        turns = turns_of(row)
        content = self.encode("".join(text for _, text in self.pieces(turns, 0)))
        if len(content) > self.room:
            kind = self.settings["truncation"]
            content = (content[:self.room] if kind == "right" else content[-self.room:] if kind == "left" else
                       self.cut_proportionally(turns))
        return self.prefix + content + self.suffix


def shared(budget, wanted, shares):
    """Tokens that each part keeps: what it wants, or its share of what the others leave; the last parts get what rounding leaves."""
    kept, is_open, left, changed = [0] * len(wanted), [True] * len(wanted), budget, True
    while changed:
        changed, of, round_budget = False, sum(s for s, o in zip(shares, is_open) if o), left
        for i, want in enumerate(wanted):
            if is_open[i] and want <= round_budget * shares[i] / of:
                kept[i], is_open[i], changed = want, False, True
                left -= want
    of = sum(s for s, o in zip(shares, is_open) if o)
    for i, want in enumerate(wanted):
        if is_open[i]:
            kept[i] = min(want, int(left * shares[i] / of + 1e-9))
    given = sum(k for k, o in zip(kept, is_open) if o)
    for i in reversed(range(len(wanted))):
        if is_open[i] and given < left:
            more = min(wanted[i] - kept[i], left - given)
            kept[i], given = kept[i] + more, given + more
    return kept

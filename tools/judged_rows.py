"""The first rows of a file in LMSYS's columns as Gavel judges them, and as a peer's tokenizer needs them: for the comparisons."""
import csv
import json
import pathlib
import subprocess
import tempfile

LABELS = ("winner_model_a", "winner_model_b", "winner_tie")


def origin_text(row):
    """The reference notebook's text of a row; lone surrogates become U+FFFD."""
    def joined(key):
        text = " ".join(turn or "" for turn in json.loads(row[key]))
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return (f"User prompt: {joined('prompt')}\n\nModel A :\n{joined('response_a')}\n\n--------\n\n"
            f"Model B:\n{joined('response_b')}")


def judge_first_rows(gavel, path, count, arguments):
    """[(row, probabilities in the order of LABELS)] from `gavel predict` with these arguments."""
    csv.field_size_limit(10**9)
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))[:count]
    with tempfile.TemporaryDirectory() as scratch:
        part, out = pathlib.Path(scratch) / "part.csv", pathlib.Path(scratch) / "out.csv"
        with open(part, "w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        subprocess.run([gavel, "--quiet", "predict", "--data", part, "--out", out, *arguments], check=True)
        with open(out, newline="", encoding="utf-8") as stream:
            judged = list(csv.DictReader(stream))
    for row, found in zip(rows, judged, strict=True):
        assert row["id"] == found["id"]
    return [(row, [float(found[label]) for label in LABELS]) for row, found in zip(rows, judged)]

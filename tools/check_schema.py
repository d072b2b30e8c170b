#!/usr/bin/env python3
"""Checks the JSON Schema of recipes with the PyPI package `jsonschema`: all recipes of recipes/ and right forms of
settings are valid under it, wrong ones are not, and the program is of the same opinion.

  tools/check_schema.py [--gavel build/release/gavel]

Needs the PyPI packages `jsonschema` and `pyyaml`. Prints what differs; exits with 1 if anything does.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import yaml

ROOT = Path(__file__).resolve().parent.parent
START = "model: {path: no-such-model}\n"
DATA = "data: {train: no-such-file.csv%s}\n"

# Each is the rest of a recipe whose model is above.
RIGHT = [
    DATA % "",
    "data: {train: [a.csv, b.csv]}\n",
    "data: {train: [{path: a.csv, weight: 0.5, rows: 10, format: chosen, cells: text}, b.jsonl]}\n",
    "data: {train: {path: a.csv, weight: 2}}\n",
    DATA % ", valid: other.csv", DATA % ", valid: 0", DATA % ", exclude: null", DATA % ", exclude: [a.csv]",
    DATA % ", proportional_shares: [0.5, 0.25, 0.25]",
    DATA % ", format: generic, columns: {prompt: q, response_a: a, response_b: b, winner: w, id: null}",
    DATA % ", spellings: {a: [first, 1], b: second}",
    DATA % "" + "lora: {target_modules: all-linear}\n",
    DATA % "" + "lora: {target_modules: 'q_proj, v_proj'}\n",
    DATA % "" + "lora: {target_modules: [q_proj]}\n",
    DATA % "" + "lora: {layers_to_transform: [8-9, 12]}\n",
    DATA % "" + "lora: {layers_to_transform: 3}\n",
    DATA % "" + "lora:\n",
    DATA % "" + "train: {max_steps: null, learning_rate: 0.0}\n",
    DATA % "" + "mesh: {dp: -1, fsdp: 1}\n",
    DATA % "" + "mesh: auto\n",
]

# (the rest of the recipe, the key that is wrong)
WRONG = [
    ("data: {train: []}\n", "data.train"),
    ("data: {train: [{path: a.csv, wieght: 2}]}\n", "data.train"),
    ("data: {train: [{weight: 2}]}\n", "data.train"),
    ("data: {train: [{path: a.csv, weight: 0}]}\n", "data.train"),
    ("data: {train: [{path: a.csv, rows: 0}]}\n", "data.train"),
    ("data: {train: [{path: a.csv, format: csv}]}\n", "data.train"),
    ("data: {valid: 0}\n", "data.train"),
    (DATA % ", valid: 1", "data.valid"),
    (DATA % ", fraction: 0", "data.fraction"),
    (DATA % ", max_length: 7", "data.max_length"),
    (DATA % ", max_length: null", "data.max_length"),
    (DATA % ", batching: packd", "data.batching"),
    (DATA % ", strict: 1", "data.strict"),
    (DATA % ", template: 5", "data.template"),
    (DATA % ", columns: {promt: q}", "data.columns.promt"),
    (DATA % ", proportional_shares: [0.5, 0.5]", "data.proportional_shares"),
    (DATA % "" + "lora: {target_modules: [q_prj]}\n", "lora.target_modules"),
    (DATA % "" + "lora: {target_modules: [q_proj, q_proj]}\n", "lora.target_modules"),
    (DATA % "" + "lora: {lora_alpha: 0}\n", "lora.lora_alpha"),
    (DATA % "" + "lora: {lora_dropout: 1}\n", "lora.lora_dropout"),
    (DATA % "" + "lora: {r: 0.5}\n", "lora.r"),
    (DATA % "" + "lora: {layers_to_transform: []}\n", "lora.layers_to_transform"),
    (DATA % "" + "train: {lr: 1}\n", "train.lr"),
    (DATA % "" + "train: {learning_rate: -1}\n", "train.learning_rate"),
    (DATA % "" + "train: {epochs: many}\n", "train.epochs"),
    (DATA % "" + "train: [1]\n", "train"),
    (DATA % "" + "mesh: dp\n", "mesh"),
    (DATA % "" + "train.seed: 1\n", "train.seed"),
    (DATA % "" + "trian: {}\n", "trian"),
    (DATA % "" + "task: jugde\n", "task"),
]


def defaults_of(schema, name=""):
    """(key, its schema) of all that have a default."""
    for key, value in schema.get("properties", {}).items():
        if "default" in value:
            yield f"{name}{key}", value
        yield from defaults_of(value, f"{name}{key}.")


def refused(gavel, text, folder):
    """What the program says of the recipe's settings; "" when it has nothing against them."""
    recipe = Path(folder) / "case.yaml"
    recipe.write_text(text)
    done = subprocess.run([gavel, "--quiet", "train", "case.yaml"], cwd=folder, capture_output=True, text=True)
    if done.returncode == 0:
        sys.exit(f"error: the program trained, without a model:\n{text}")
    return done.stderr if "case.yaml:" in done.stderr else ""


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--gavel", default=ROOT / "build/release/gavel", type=Path)
    gavel = str(arguments.parse_args().gavel.resolve())
    schema = json.loads(subprocess.run([gavel, "schema"], check=True, capture_output=True, text=True).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    differ = []

    recipes = sorted((ROOT / "recipes").glob("*.yaml"))
    for path in recipes:
        differ += [f"{path.name}: {error.message}" for error in validator.iter_errors(yaml.safe_load(path.read_text()))]
    defaults = list(defaults_of(schema))
    for key, value in defaults:
        if not jsonschema.Draft202012Validator(value).is_valid(value["default"]):
            differ.append(f"{key}: its default {value['default']!r} is not valid")
    with tempfile.TemporaryDirectory() as folder:
        for text in RIGHT:
            if not validator.is_valid(yaml.safe_load(START + text)):
                differ.append(f"refused by the schema, though right: {text}")
            if said := refused(gavel, START + text, folder):
                differ.append(f"refused by the program, though right: {text}{said}")
        for text, key in WRONG:
            if validator.is_valid(yaml.safe_load(START + text)):
                differ.append(f"taken by the schema, though {key} is wrong: {text}")
            if f"{key}: " not in refused(gavel, START + text, folder):
                differ.append(f"the program does not refuse {key}: {text}")
    agree = (f"{len(recipes)} recipes, {len(defaults)} defaults, {len(RIGHT)} right and {len(WRONG)} wrong forms: schema and "
             "program agree")
    print("\n".join(differ) or agree)
    sys.exit(bool(differ or not recipes or not defaults))


if __name__ == "__main__":
    main()

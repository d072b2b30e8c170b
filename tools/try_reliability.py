#!/usr/bin/env python3
"""Kills and hinders training runs of a tiny model, and checks that nothing is lost.

  tools/try_reliability.py kills   SIGKILL at random moments (steps, saving, evaluations), resume, compare with a run
                                   that was never stopped: adapter byte for byte, metrics.jsonl line by line
  tools/try_reliability.py faults  full disk, read-only and removed folder, signals, damaged checkpoints, changed
                                   settings, a second run, a loss that is not finite (root: mounts a small tmpfs)

Prints one line a case and a summary; exits with 1 if a case failed. Without --model the model is made here: random
weights over the bytes of the sample that `gavel data make-sample` writes.
"""
import argparse
import json
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMES = ("elapsed_seconds", "tokens_per_second", "real_tokens_per_second", "seconds", "mfu")


def write_model(folder):
    """A Llama of random weights whose tokenizer maps each byte to a token."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 264,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "hidden_act": "silu",
        "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258, "tie_word_embeddings": True}))
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    names = {byte: chr(byte) for byte in printable}
    for n, byte in enumerate(b for b in range(256) if b not in names):
        names[byte] = chr(256 + n)
    special = [{"id": 256 + i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for i, name in enumerate(["<s>", "</s>", "<pad>"])]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {names[b]: b for b in range(256)}, "merges": []}}))


class Bench:
    """A folder with model, data and recipe, and runs in it."""

    def __init__(self, gavel, folder, model=None):
        self.gavel, self.folder = Path(gavel).resolve(), Path(folder)
        self.process = None  # the latest
        self.slow = model is not None  # steps take tenths of a second instead of thousandths
        if not model:
            write_model(self.folder / "model")
        subprocess.run([self.gavel, "--quiet", "data", "make-sample", "--out", self.folder / "data", "--rows", "320",
                        "--test-rows", "24" if model else "120"], check=True, stdout=subprocess.DEVNULL)
        self.recipe = self.folder / "recipe.yaml"
        self.recipe.write_text(f"""model: {{{"path: " + model if model else f"path: {self.folder}/model, random_init: true, dtype: float32"}}}
lora: {{r: 4, lora_alpha: 8, lora_dropout: 0.1, target_modules: all-linear}}
data: {{train: {self.folder}/data/train.csv, valid: {self.folder}/data/test.csv, max_length: 96, batching: bucketed, swap: random}}
train: {{max_steps: {48 if model else 200}, batch_size: {2 if model else 8}, warmup_steps: 5, learning_rate: {0.0003 if model else 0.003}, log_every: 20, save_every: 3, eval_every: {8 if model else 10}}}
""")

    def start(self, output, *more, json_lines=True, **settings):
        command = [self.gavel, "train", self.recipe, f"output={output}", *more,
                   *(f"{key}={value}" for key, value in settings.items())] + (["--json"] if json_lines else [])
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self.process

    def end(self):
        """Leaves nothing running after a case that failed."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def run(self, output, *more, **settings):
        """(exit status, what it wrote to standard error)"""
        process = self.start(output, *more, **settings)
        _, errors = process.communicate()
        return process.returncode, errors

    def run_whole(self, output, *more, **settings):
        status, errors = self.run(output, *more, **settings)
        assert status == 0, f"exit status {status}: {errors}"
        return errors


def follow(process):
    """The lines of --json as dicts, as they come."""
    for line in process.stdout:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # killed within a line


def phase_of(line):
    """What the run does after having printed this line."""
    if line["kind"] == "event" and line["event"] in ("saving", "evaluation"):
        return line["event"]
    return "step"


def lines_of(output):
    """metrics.jsonl without times."""
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def scalar_steps(output):
    """(tag of the first scalar, step) of all events of all event files, in order."""
    found = []
    for path in sorted(output.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            size, = struct.unpack_from("<Q", data, at)
            event, at = data[at + 12:at + 12 + size], at + 16 + size
            step, i = 0, 9  # after wall_time
            if event[i] == 0x10:
                shift, i = 0, i + 1
                while True:
                    step |= (event[i] & 0x7f) << shift
                    shift, i = shift + 7, i + 1
                    if event[i - 1] < 0x80:
                        break
            if i < len(event) and event[i] == 0x2a:
                found.append(("valid" if b"valid/" in event else "train", step))
    return found


def check_same(output, reference):
    """A run that was stopped and resumed left what the other left."""
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (output / name).read_bytes() == (reference / name).read_bytes(), f"{name} differs"
    ours, theirs = lines_of(output), lines_of(reference)
    assert ours == theirs, f"metrics.jsonl differs: {len(ours)} and {len(theirs)} lines"
    steps = [row["step"] for row in ours if row["kind"] == "train"]
    assert steps == list(range(1, len(steps) + 1)), "steps are not 1, 2, 3, …"
    assert scalar_steps(output) == [(("train" if r["kind"] == "train" else "valid"), r["step"]) for r in ours], \
        "event files differ from metrics.jsonl"
    leftovers = [*output.glob(".*"), *(output / "checkpoints").glob(".*")]
    assert not leftovers, f"leftovers: {leftovers}"


def kills(bench, count, seed):
    reference = bench.folder / "reference"
    bench.run_whole(reference)
    rng, during, starts, runs, done = random.Random(seed), {}, 0, 0, 0
    output = bench.folder / "killed-0"
    while done < count:
        want = ("step", "saving", "evaluation")[done % 3]
        ahead = rng.randint(1, 1 if want == "evaluation" else 2 if bench.slow else 4)
        process, killed = bench.start(output, "--resume"), False
        starts += 1
        for line in follow(process):
            ahead -= phase_of(line) == want
            if ahead <= 0:
                longest = 0.01 if want == "saving" else 0.05
                time.sleep(rng.random() * longest * (8 if bench.slow else 1))
                process.send_signal(signal.SIGKILL)
                killed, phase = True, want
                break
        for line in follow(process):  # what it still did before the signal came
            phase = phase_of(line)
        _, errors = process.communicate()
        if process.returncode == -signal.SIGKILL:
            done += 1
            during[phase] = during.get(phase, 0) + 1
            print(f"kill {done:2} during {phase}", flush=True)
        else:  # it was faster, and this run is over: check it and begin another
            assert process.returncode == 0, f"exit status {process.returncode}: {errors}"
            check_same(output, reference)
            runs += 1
            output = bench.folder / f"killed-{runs}"
    bench.run_whole(output, "--resume")
    check_same(output, reference)
    kinds = ", ".join(f"{n} during {phase}" for phase, n in sorted(during.items()))
    print(f"{done} kills survived ({kinds}) in {starts} starts of {runs + 1} runs of {len(lines_of(reference))} lines: adapter "
          "byte-identical, metrics.jsonl equal but for times, no step twice")


def until_step(process, step):
    """Reads on until this step is done."""
    for line in follow(process):
        if line["kind"] == "train" and line["step"] >= step:
            return
    raise AssertionError(f"ended before step {step}: {process.stderr.read()}")


def finish(process):
    _, errors = process.communicate()
    return process.returncode, errors


def interrupt(bench, output, at_step, *signals):
    process = bench.start(output)
    until_step(process, at_step)
    for one in signals:
        process.send_signal(one)
    return finish(process)


def flip_byte(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def newest_checkpoint(output):
    return max((output / "checkpoints").glob("step-*"), key=lambda p: int(p.name.split("-")[1]))


class Faults:
    """Each method is a case; it returns what was seen."""

    def __init__(self, bench):
        self.bench, self.reference = bench, bench.folder / "reference"
        bench.run_whole(self.reference)

    def output(self, name):
        return self.bench.folder / name

    def sigint(self):
        status, errors = interrupt(self.bench, self.output("sigint"), 20, signal.SIGINT)
        assert status == 130 and "--resume" in errors, (status, errors)
        self.bench.run_whole(self.output("sigint"), "--resume")
        check_same(self.output("sigint"), self.reference)
        return "exit status 130, says how to go on; resumed run identical"

    def sigterm(self):
        status, errors = interrupt(self.bench, self.output("sigterm"), 31, signal.SIGTERM)
        assert status == 143 and "--resume" in errors, (status, errors)
        self.bench.run_whole(self.output("sigterm"), "--resume")
        check_same(self.output("sigterm"), self.reference)
        return "exit status 143, says how to go on; resumed run identical"

    def two_signals(self):
        status, errors = interrupt(self.bench, self.output("two"), 20, signal.SIGINT, signal.SIGTERM)
        assert status in (130, 143), (status, errors)
        self.bench.run_whole(self.output("two"), "--resume")
        check_same(self.output("two"), self.reference)
        return f"exit status {status} at once; resumed run identical"

    def second_run(self):
        process = self.bench.start(self.output("second"))
        until_step(process, 3)
        status, errors = self.bench.run(self.output("second"), "--resume")
        assert status == 1 and "in use by another run" in errors, errors
        assert finish(process)[0] == 0
        check_same(self.output("second"), self.reference)
        return "refused: in use by another run; the first goes on"

    def damaged_checkpoints(self):
        output = self.output("damaged")
        interrupt(self.bench, output, 40, signal.SIGTERM)
        newest = newest_checkpoint(output)
        flip_byte(newest / "optimizer.safetensors", 5000)
        errors = self.bench.run_whole(output, "--resume")
        assert f"{newest.name} is damaged" in errors and "optimizer.safetensors" in errors, errors
        check_same(output, self.reference)
        for name in ("a", "b"):
            shutil.copytree(self.reference, output.with_name(f"damaged-{name}"))
        output = output.with_name("damaged-a")
        for path in (output / "checkpoints").glob("step-*"):
            (path / "state.json").write_bytes((path / "state.json").read_bytes()[:100])
        status, errors = self.bench.run(output, "--resume")
        assert status == 1 and "no checkpoint is whole" in errors, errors
        return f"{newest.name} named and passed over, resumed run identical; all damaged: refused"

    def changed_inputs(self):
        output = self.output("changed")
        interrupt(self.bench, output, 20, signal.SIGTERM)
        status, errors = self.bench.run(output, "--resume", **{"train.learning_rate": 0.001})
        assert status == 1 and "train.learning_rate: 0.003 → 0.001" in errors, errors
        data = self.bench.folder / "data" / "train.csv"
        before = data.read_bytes()
        data.write_bytes(before.replace(b"a", b"e", 1))
        status, errors = self.bench.run(output, "--resume")
        assert status == 1 and "other content" in errors and "train.csv" in errors, errors
        data.write_bytes(before)
        config = self.bench.folder / "model" / "config.json"
        before = config.read_text()
        config.write_text(before.replace("1e-05", "2e-05"))
        status, errors = self.bench.run(output, "--resume")
        assert status == 1 and "config.json" in errors, errors
        config.write_text(before)
        errors = self.bench.run_whole(output, "--resume", "--allow-changes", **{"train.weight_decay": 0.02})
        assert "train.weight_decay: 0.01 → 0.02" in errors, errors
        return "setting, data file and base model each refused by name; allowed with --allow-changes"

    def full_disk(self):
        disk = self.output("disk")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
        try:
            output, filler = disk / "run", disk / "filler"

            def fill():
                with open(filler, "wb", buffering=0) as file:
                    try:
                        while True:
                            file.write(b"x" * 4096)
                    except OSError:
                        pass

            process = self.bench.start(output)
            until_step(process, 31)
            fill()
            before = {p.name for p in (output / "checkpoints").glob("step-*")}
            until_step(process, 80)
            assert {p.name for p in (output / "checkpoints").glob("step-*")} & before, "earlier checkpoints are gone"
            filler.unlink()
            status, errors = finish(process)
            assert status == 0 and "No space left" in errors and "training goes on" in errors, errors
            check_same(output, self.reference)
            shutil.rmtree(output)

            process = self.bench.start(output)
            until_step(process, 31)
            fill()
            status, errors = finish(process)
            assert status == 1 and "is in" in errors and "instead" in errors, (status, errors)
            refuge = Path(errors.split("the trained adapter is in ")[1].split(" instead")[0])
            name = "adapter_model.safetensors"
            assert (refuge / name).read_bytes() == (self.reference / name).read_bytes(), "the adapter differs"
            shutil.rmtree(refuge)
            filler.unlink()
            self.bench.run_whole(output, "--resume")
            check_same(output, self.reference)
        finally:
            subprocess.run(["umount", "-l", disk], check=False)
        return ("said, training went on, earlier checkpoints kept; freed: nothing missing; full to the end: adapter saved "
                "in the temporary folder, resumed run identical")

    def read_only_folder(self):
        output = self.output("readonly")
        process = self.bench.start(output)
        until_step(process, 31)
        folders = [output / "checkpoints", output]
        for folder in folders:
            if subprocess.run(["chattr", "+i", folder], stderr=subprocess.DEVNULL).returncode != 0:
                process.kill()
                return "not tried: chattr +i does not work here"
        before = {p.name for p in (output / "checkpoints").glob("step-*")}
        until_step(process, 80)
        after = {p.name for p in (output / "checkpoints").glob("step-*")}
        for folder in folders:
            subprocess.run(["chattr", "-i", folder], check=True)
        status, errors = finish(process)
        assert before == after, (before, after)
        assert status == 0 and "could not be written" in errors, errors
        check_same(output, self.reference)
        return "said, training went on, checkpoints as they were; writable again: nothing missing"

    def read_only_mount(self):
        output = self.output("mounted")
        process = self.bench.start(output)
        until_step(process, 31)
        # Only now, and while nothing is opened: a mount through which files are open for writing can't be read-only.
        process.send_signal(signal.SIGSTOP)
        subprocess.run(["mount", "--bind", output, output], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", output], check=True)
            before = {p.name for p in (output / "checkpoints").glob("step-*")}
            process.send_signal(signal.SIGCONT)
            status, errors = finish(process)
            assert status == 1 and "Read-only file system" in errors and "training goes on" in errors, (status, errors)
            after = {p.name for p in (output / "checkpoints").glob("step-*")}
            assert before and before == after, (before, after)
            refuge = Path(errors.split("the trained adapter is in ")[1].split(" instead")[0])
            name = "adapter_model.safetensors"
            assert (refuge / name).read_bytes() == (self.reference / name).read_bytes(), "the adapter differs"
            shutil.rmtree(refuge)
            status, errors = self.bench.run(output, "--resume")
            assert status == 1 and "Read-only file system" in errors and str(output) in errors, (status, errors)
            subprocess.run(["mount", "-o", "remount,bind,rw", output], check=True)
            self.bench.run_whole(output, "--resume")
            check_same(output, self.reference)
        finally:
            subprocess.run(["umount", "-l", output], check=False)
        return ("said, training went on, checkpoints as they were, adapter saved in the temporary folder; a start there is "
                "refused; writable again: resumed run identical")

    def removed_folder(self):
        output = self.output("removed")
        process = self.bench.start(output)
        until_step(process, 50)
        gone = output.with_name("gone")
        output.rename(gone)  # in one step: the run goes on writing into a folder that is removed file by file
        shutil.rmtree(gone)
        status, errors = finish(process)
        assert status == 0 and "was removed" in errors, (status, errors)
        name = "adapter_model.safetensors"
        assert (output / name).read_bytes() == (self.reference / name).read_bytes(), "the adapter differs"
        return "said, made anew, training went on; final adapter identical"

    def not_finite(self):
        output = self.output("nan")
        status, errors = self.bench.run(output, **{"train.learning_rate": 1e30, "train.warmup_steps": 2})
        assert status == 1 and "rows " in errors and "kept in" in errors, errors
        step = int(newest_checkpoint(output).name.split("-")[1])
        assert f"step {step + 1}:" in errors, errors
        record = json.loads((output / "run.json").read_text())
        assert record["status"] == "failed", record
        status, errors = self.bench.run(self.output("skip"), **{"train.max_loss": 1.2, "train.skip_nonfinite": "true"})
        skipped = [row for row in lines_of(self.output("skip")) if row.get("skipped")]
        assert skipped and "left out" in errors, errors
        return (f"stopped at step {step + 1}, rows named, state of step {step} kept; skipping: {len(skipped)} steps above "
                f"train.max_loss left out, exit status {status}")


def faults(bench, only):
    cases = Faults(bench)
    names = [n for n, f in vars(Faults).items() if callable(f) and n not in ("__init__", "output")]
    failed = 0
    for name in names:
        if only and name not in only:
            continue
        try:
            print(f"{name}: {getattr(cases, name)()}", flush=True)
        except (AssertionError, subprocess.CalledProcessError, OSError) as error:
            failed += 1
            bench.end()
            print(f"{name}: FAILED: {error}", flush=True)
    if failed:
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kills", "faults"])
    parser.add_argument("--gavel", default="build/release/gavel")
    parser.add_argument("--model", help="kills: a real model instead, such as smollm2-135m-instruct (some ten minutes)")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of cases")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gavel_reliability_") as folder:
        bench = Bench(arguments.gavel, folder, arguments.model)
        if arguments.what == "kills":
            kills(bench, arguments.kills, arguments.seed)
        else:
            faults(bench, arguments.only)


if __name__ == "__main__":
    main()

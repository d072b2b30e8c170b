#!/usr/bin/env python3
"""The parts of tools/gpu_check.sh: packing, and what is run where the GPU is.

Each part is bounded in time and fails by itself; what there is no time for is named. Of Python only the standard library is used, but
for the comparison with transformers + PEFT, which a machine without torch does not get.
"""
import argparse
import concurrent.futures
import glob
import io
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
MOST_CARRIED = 60e6
# Of glibc and the compiler's runtime the machine's own are taken: its driver and plugin are linked with them.
SYSTEMS_OWN = ("ld-linux", "libc.so", "libm.so", "libstdc++.so", "libgcc_s.so", "libdl.so", "libpthread.so", "librt.so")
# Dense bfloat16 products a second by NVIDIA's data sheets, as in src/plan/gpus.cpp: name → target of gavel plan, peak.
PEAKS = {"H200": ("h200", 989e12), "H100": ("h100", 989e12), "A100": ("a100-80", 312e12), "L40S": ("l40s", 362e12),
         "L4": ("l4", 121e12), "RTX 4090": ("rtx4090", 165.2e12), "RTX 5090": ("rtx5090", 209.5e12)}
LLAMA = {"hidden": 4096, "intermediate": 14336, "layers": 32, "kv": 1024}
TINY = {"hidden": 64, "intermediate": 128, "layers": 2, "kv": 32}
ALL_LINEAR = "[q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]"


class Failed(Exception):
    pass


class Skipped(Exception):
    pass


def useful_flops_per_token(shape, length):
    """Products of a LoRA step without what is computed again: two for each weight forward and two for the input's gradient; of
    attention the causal half, two products forward and four backward. Adapters are not counted."""
    h, kv = shape["hidden"], shape["kv"]
    weights = shape["layers"] * (2 * h * h + 2 * h * kv + 3 * h * shape["intermediate"])
    return 4 * weights + 3 * 2 * 2 * (length / 2) * h * shape["layers"]


# ---- packing

def libraries_of(program):
    """Paths of the shared libraries that it is linked with, but for the system's own."""
    lines = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines()
    paths = [match.group(1) for line in lines if (match := re.search(r"=> (/\S+)", line))]
    return [path for path in paths if not pathlib.Path(path).name.startswith(SYSTEMS_OWN)]


def goldens_of(shared):
    folders = [pathlib.Path(path).parent for pattern in ("goldens", "goldens_families")
               for path in sorted(glob.glob(f"{shared}/{pattern}/*/expected.safetensors"))]
    folders += [pathlib.Path(path).parent for path in sorted(glob.glob(f"{HERE.parent}/tests/train/golden*/expected.safetensors"))]
    return folders


def pack(folder, gavel, shared, level):
    folder.mkdir(parents=True, exist_ok=True)
    goldens = goldens_of(shared) if shared else []
    with tarfile.open(folder / "carry.tar.gz", "w:gz", compresslevel=level) as archive:
        archive.add(gavel, "bin/gavel")
        for path in libraries_of(gavel):
            archive.add(os.path.realpath(path), f"lib/{pathlib.Path(path).name}")
        for golden in goldens:
            archive.add(golden, f"goldens/{golden.name}")
    for name in ("gpu_check.sh", "gpu_check.py"):
        shutil.copy(HERE / name, folder / name)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB, {len(goldens)} goldens" + ("" if goldens else " (GAVEL_SHARED names no folder with any)"))
    if size > MOST_CARRIED:
        sys.exit(f"error: {size / 1e6:.1f} MB, expected at most {MOST_CARRIED / 1e6:.0f} MB")


# ---- what is run there

def byte_tokenizer(folder):
    """A tokenizer of 256 bytes and two tokens more, whose texts are long: lengths are what counts here."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, extra = {}, 256
    for byte in range(256):
        if byte in printable:
            names[byte] = chr(byte)
        else:
            names[byte], extra = chr(extra), extra + 1
    vocabulary = {"<pad>": 0, "<end>": 1, **{names[byte]: byte + 2 for byte in range(256)}}
    special = [{"id": i, "content": c, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
               for i, c in ((0, "<pad>"), (1, "<end>"))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    text = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocabulary, "merges": []}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(text))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>", "eos_token": "<end>"}))


def tiny_config(folder):
    shape = TINY
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": shape["hidden"],
              "intermediate_size": shape["intermediate"], "num_hidden_layers": shape["layers"], "num_attention_heads": 4,
              "num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
              "rope_theta": 10000.0, "hidden_act": "silu", "initializer_range": 0.02, "tie_word_embeddings": False,
              "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "torch_dtype": "bfloat16"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))


class Check:
    def __init__(self, options, folder, out):
        self.device, self.small, self.out, self.folder = options.device, options.small, out, folder
        self.deadline = time.monotonic() + options.seconds
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="gpu_check_"))
        self.results, self.children = [], []
        self.log = open(out / "log.txt", "w", encoding="utf-8")
        self.shape = TINY if self.small else LLAMA
        self.length = 64 if self.small else 1024
        self.steps = 4 if self.small else 12
        with tarfile.open(folder / "carry.tar.gz") as archive:
            if hasattr(tarfile, "data_filter"):
                archive.extractall(self.work, filter="data")
            else:
                archive.extractall(self.work)
        self.gavel = str(self.work / "bin" / "gavel")
        self.environment = dict(os.environ)
        libraries = [str(self.work / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
        self.environment["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
        if self.device != "cpu":  # so that a first start is one; the CPU's plugin lies in the user's own
            self.environment["XDG_CACHE_HOME"] = str(self.work / "cache")
        if options.plugin:
            self.environment["GAVEL_PJRT_CUDA"] = options.plugin

    def left(self):
        return self.deadline - time.monotonic()

    def call(self, command, seconds, carried=True, **variables):
        """What a program writes to standard output, `carried` one with the libraries that came with it. Raises Failed when it fails or
        takes longer."""
        seconds = min(seconds, self.left())
        if seconds < 5:
            raise Skipped("no time left")
        self.log.write(f"\n$ {' '.join(map(str, command))}\n")
        self.log.flush()
        errors = tempfile.TemporaryFile()
        try:
            done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=errors, timeout=seconds,
                                  env={**(self.environment if carried else os.environ), **variables}, cwd=self.work, check=False)
            text, code = done.stdout.decode(errors="replace"), done.returncode
        except subprocess.TimeoutExpired as expired:
            text, code = (expired.stdout or b"").decode(errors="replace"), None
        errors.seek(0)
        said = errors.read().decode(errors="replace")
        self.log.write(text[-20000:] + said[-20000:])
        self.log.flush()
        if code is None:
            raise Failed(f"stopped after {seconds:.0f} s")
        if code != 0:
            last = [line for line in (text + "\n" + said).splitlines() if line.strip()] or ["no word"]
            raise Failed(f"exit status {code}: {last[-1][:300]}")
        return text

    def part(self, name, run):
        """Runs a part; what it returns are its figures."""
        began = time.monotonic()
        result = {"part": name, "status": "ok", "figures": {}, "note": ""}
        print(f"{name} …", flush=True)
        try:
            if self.left() < 10:
                raise Skipped("no time left")
            result["figures"] = run() or {}
            result["note"] = result["figures"].pop("note", "")
        except Skipped as why:
            result["status"], result["note"] = "skipped", str(why)
        except Failed as why:
            result["status"], result["note"] = "failed", str(why)
        except Exception as error:  # one part's mistake must not end the others
            result["status"], result["note"] = "failed", f"{type(error).__name__}: {error}"[:300]
        result["seconds"] = round(time.monotonic() - began, 1)
        self.results.append(result)
        print(f"{name}: {result['status']} after {result['seconds']} s {result['note']}", flush=True)
        self.write()  # whatever ends this, what was measured is there
        return result

    # -- parts

    def doctor(self):
        text = self.call([self.gavel, "doctor"], 120)
        (self.out / "doctor.txt").write_text(text)
        match = re.search(rf"^{self.device} +(.*)$", text, re.MULTILINE)
        if not match or not match.group(1).startswith("ok"):
            raise Failed(match.group(1)[:300] if match else f"no line for {self.device}")
        return {"note": match.group(1)[:200]}

    def schema(self):
        self.settings = json.loads(self.call([self.gavel, "schema"], 60))
        return {}

    def knows(self, key):
        """What the schema says of a setting; nothing when this build has no such setting."""
        here = self.settings
        for name in key.split("."):
            here = here.get("properties", {}).get(name)
            if here is None:
                return None
        return here

    def goldens(self, narrow):
        """All of them, some at a time, each with a small share of the device's memory."""
        folders = sorted((self.work / "goldens").glob("*/"))
        if self.small:  # the one that is compiled the fastest
            folders = sorted(folders, key=lambda path: (path / "model.safetensors").stat().st_size)[:1]
        if not folders:
            raise Skipped("no goldens were carried")
        until = time.monotonic() + min(100, self.left())

        def one(folder):
            command = [self.gavel, "--quiet", "parity", folder, "--device", self.device, "--json"]
            try:
                done = subprocess.run(list(map(str, command + (["--bf16"] if narrow else []))), capture_output=True, text=True,
                                      env={**self.environment, "GAVEL_CUDA_MEMORY_FRACTION": "0.04"}, check=False,
                                      timeout=max(1, until - time.monotonic()))
                return folder.name, json.loads(done.stdout.splitlines()[-1]), done.stderr
            except subprocess.TimeoutExpired:
                return folder.name, None, "no time left"
            except (ValueError, IndexError):
                return folder.name, None, (done.stderr.strip().splitlines() or ["no word"])[-1][:200]

        with concurrent.futures.ThreadPoolExecutor(1 if self.small else max(1, min(8, (os.cpu_count() or 2) // 2))) as pool:
            found = list(pool.map(one, folders))
        figures, wrong = {}, []
        for name, report, said in found:
            if report is None:
                wrong.append(f"{name}: {said}")
                continue
            # null stands for a number that is not finite.
            worst = {key: report[key]["max_abs" if key != "grad" else "max_rel"] for key in ("logits", "loss", "grad")}
            figures[name] = worst
            limits = {"logits": 0.1, "loss": 0.1, "grad": 0.25} if narrow else dict.fromkeys(worst, 1e-4)
            if any(value is None or value > limits[key] for key, value in worst.items()):
                wrong.append(f"{name}: {worst}")
        self.log.write(f"\ngoldens {figures}\n{wrong}\n")
        most = max((value or 0 for worst in figures.values() for value in worst.values()), default=0)
        if wrong:
            raise Failed("; ".join(wrong)[:600])
        return {"goldens": figures, "note": f"{len(figures)} goldens, the largest difference {most:.1e}"}

    def prepare(self):
        byte_tokenizer(self.work / "tokenizer")
        tiny_config(self.work / "tiny")
        self.call([self.gavel, "data", "make-sample", "--out", self.work / "sample", "--rows", "320"], 60)
        path = self.work / "tiny" if self.small else "llama-3-8b"
        (self.work / "recipe.yaml").write_text(
            f"model: {{path: {path}, random_init: true, tokenizer: {self.work / 'tokenizer'}}}\n"
            "lora: {r: 4, lora_alpha: 8, target_modules: [o_proj, v_proj]}\n"
            f"data: {{train: {self.work / 'sample' / 'train.csv'}, max_length: {self.length}, batching: padded}}\n"
            f"train: {{warmup_steps: 0}}\ndevice: {self.device}\noutput: {self.work / 'run'}\n")
        return {}

    def bench(self, name, batch, settings, steps=None, keep_program=True):
        dump = self.work / "programs" / re.sub(r"\W+", "_", name)
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_dump_to={dump} --xla_dump_hlo_as_text".strip()
        variables = {"XLA_FLAGS": flags} if keep_program and self.device == "cuda" else {}
        found = json.loads(self.call(
            [self.gavel, "--quiet", "bench", self.work / "recipe.yaml", f"train.batch_size={batch}", *settings, "--json",
             "--steps", steps or self.steps], 170, **variables))
        rate = found["tokens_per_second"]
        figures = {"shape": f"{batch} x {self.length}", "tokens_per_second": round(rate, 1),
                   "step_seconds": found["seconds"] / found["steps"], "compile_seconds": round(found["compile_seconds"], 1),
                   "weights_seconds": round(found["weights_seconds"], 1),
                   "first_step_seconds": round(found["first_step_seconds"], 1),
                   "from_cache": found["programs_from_cache"], "programs": found["programs"], "loss": found["mean_loss"],
                   "settings": settings}
        if (peak := found.get("device_peak_memory_bytes", -1)) > 0:
            figures["peak_gb"] = round(peak / 1e9, 2)
        self.add_mfu(figures, rate)
        return figures

    def add_mfu(self, figures, rate):
        if self.peak:
            figures["mfu"] = round(rate * useful_flops_per_token(self.shape, self.length) / self.peak, 4)

    def variants(self):
        """Name, rows of a micro-batch, settings; what matters most first."""
        wide = ["lora.r=16", "lora.lora_alpha=32", f"lora.target_modules={ALL_LINEAR}"]
        plain, scan, unrolled = "train.kernels=plain", "train.layers=scan", "train.layers=unrolled"
        rows = (2, 2, 2) if self.small else (16, 8, 4)
        listed = [("scan, plain StableHLO", rows[0], [scan, plain]), ("unrolled, the device's kernels", rows[1], [unrolled]),
                  ("peft, r 4", rows[1], None), ("r 16 all-linear, unrolled", rows[2], [unrolled, *wide]),
                  ("peft, r 16 all-linear", rows[2], None), ("scan, the device's kernels", rows[0], [scan]),
                  ("unrolled, plain StableHLO", rows[2], [unrolled, plain])]
        if self.small:  # each way through this program once
            listed = listed[:4]
        for value in (self.knows("train.recompute") or {}).get("enum", []):
            if value not in ("auto", "all"):
                listed.append((f"scan, recompute {value}", rows[0], [scan, f"train.recompute={value}"]))
        for section, members in self.settings.get("properties", {}).items():
            for key, field in members.get("properties", {}).items():
                if "int8" in field.get("enum", []):
                    listed.append((f"int8 weights, unrolled ({section}.{key})", rows[1], [unrolled, f"{section}.{key}=int8"]))
        return listed

    def peft(self, batch, wide):
        if subprocess.run([sys.executable, "-c", "import torch, transformers, peft"], capture_output=True, check=False).returncode:
            raise Skipped("torch, transformers and peft are not all installed here, and are not carried")
        command = [sys.executable, self.folder / "gpu_check.py", "peft", "--batch", batch, "--length", self.length, "--steps",
                   self.steps, "--device", self.device, "--shape", json.dumps(self.shape)]
        figures = json.loads(self.call(command + (["--wide"] if wide else []), 100, carried=False).splitlines()[-1])
        self.add_mfu(figures, figures["tokens_per_second"])
        return figures

    def second_start(self, batch, settings):
        figures = self.bench("scan, plain StableHLO", batch, settings, steps=2)
        if figures["from_cache"] < figures["programs"]:
            raise Failed(f"{figures['from_cache']} of {figures['programs']} programs came from the cache")
        return {key: figures[key] for key in ("first_step_seconds", "weights_seconds", "compile_seconds", "from_cache")}

    def prediction(self, batch, settings):
        if self.device == "cpu" or not self.target:
            raise Skipped("no target of gavel plan is this device")
        plan = json.loads(self.call([self.gavel, "--quiet", "plan", self.work / "recipe.yaml", "--target", self.target, "--json",
                                     "--no-remedies", f"train.batch_size={batch}", *settings], 120))
        return {"shape": f"{batch} x {self.length}", "tokens_per_second": round(plan["prediction"]["tokens_per_second"], 1),
                "peak_gb": round(plan["per_device"]["total_bytes"] / 1e9, 2), "note": "a prediction of gavel plan, not measured"}

    def keep_programs(self):
        """The optimised texts of the training steps, in one archive."""
        texts = sorted((self.work / "programs").glob("*/*after_optimizations.txt"), key=lambda path: path.stat().st_size)
        if not texts:
            raise Skipped("no program was written out")
        limit, kept = 15e6, 0
        for count in (len(texts), max(1, len(texts) // 2), 1):
            data = io.BytesIO()
            with tarfile.open(fileobj=data, mode="w:xz", preset=1) as archive:
                for path in texts[-count:]:
                    archive.add(path, f"{path.parent.name}/{path.name}")
            if data.tell() <= limit:
                (self.out / "programs.tar.xz").write_bytes(data.getvalue())
                kept = count
                break
        return {"note": f"{kept} of {len(texts)} programs in programs.tar.xz"}

    def look_at_machine(self):
        self.machine = {"node": platform.machine(), "python": platform.python_version(), "cores": os.cpu_count(),
                        "device": self.device}
        self.peak, self.target = None, None
        if shutil.which("nvidia-smi"):
            text = self.call(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"], 30, carried=False)
            name, memory, driver = [part.strip() for part in text.splitlines()[0].split(",")]
            self.machine.update(gpu=name, memory=memory, driver=driver)
            for part, (target, peak) in PEAKS.items():
                if self.peak is None and re.search(rf"\b{re.escape(part)}\b", name):
                    self.target, self.peak = target, peak
            if self.target == "a100-80" and int(re.sub(r"\D", "", memory) or 0) < 50000:
                self.target = "a100-40"
        if self.device != "cuda":
            self.peak = None
        self.machine["gavel"] = " ".join(self.call([self.gavel, "--version"], 30).split()[1:4])
        return {"note": ", ".join(f"{key} {value}" for key, value in self.machine.items())}

    def run(self):
        self.machine = {}
        self.peak, self.target, self.settings = None, None, {}
        self.part("machine", self.look_at_machine)
        self.part("doctor", self.doctor)
        self.part("schema", self.schema)
        self.part("goldens, float32 within 1e-4", lambda: self.goldens(False))
        self.part("goldens, bfloat16", lambda: self.goldens(True))
        self.part("prepare", self.prepare)
        first = None
        for name, batch, settings in self.variants():
            if settings is None:
                self.part(name, lambda: self.peft(batch, "16" in name))
                continue
            found = self.part(name, lambda: self.bench(name, batch, settings))
            if found["status"] == "ok" and found["figures"]["from_cache"] == found["figures"]["programs"]:
                found["note"] = "the same program as an earlier part's"
            if first is None:
                first = (batch, settings)
                self.part("second start", lambda: self.second_start(batch, settings))
        self.part("prediction for the first", lambda: self.prediction(*first))
        self.part("programs", self.keep_programs)
        self.write()
        print("\n" + self.table())
        self.log.close()
        shutil.rmtree(self.work, ignore_errors=True)
        return 1 if any(result["status"] == "failed" for result in self.results) else 0

    # -- what comes of it

    def table(self):
        columns = [("part", "part"), ("status", "status"), ("shape", "shape"), ("tokens_per_second", "tokens/s"), ("mfu", "MFU"),
                   ("peak_gb", "peak GB"), ("first_step_seconds", "first step s"), ("compile_seconds", "compile s"), ("seconds", "took s")]
        rows = [[title for _, title in columns]]
        for result in self.results:
            values = {**result["figures"], **{key: result[key] for key in ("part", "status", "seconds")}}
            if "mfu" in values:
                values["mfu"] = f"{100 * values['mfu']:.1f} %"
            rows.append([str(values.get(key, "")) for key, _ in columns])
        widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
        lines.insert(1, "-" * len(lines[0]))
        notes = [f"{result['part']}: {result['note']}" for result in self.results if result["note"]]
        return "\n".join(lines + [""] + notes) + "\n"

    def write(self):
        results = {"machine": self.machine, "length": self.length, "useful_flops_per_token": useful_flops_per_token(self.shape, self.length),
                   "peak_flops": self.peak, "parts": self.results}
        for name, text in (("results.json", json.dumps(results, indent=1) + "\n"), ("table.txt", self.table())):
            path = self.out / name
            path.with_suffix(".new").write_text(text)
            os.replace(path.with_suffix(".new"), path)


# ---- transformers + PEFT on the same shape

def run_peft(options):
    import peft
    import torch
    import transformers

    shape = json.loads(options.shape)
    config = transformers.LlamaConfig(
        hidden_size=shape["hidden"], intermediate_size=shape["intermediate"], num_hidden_layers=shape["layers"],
        num_attention_heads=max(4, shape["hidden"] // 128), num_key_value_heads=max(2, shape["kv"] // 128), vocab_size=128256,
        max_position_embeddings=8192, rope_theta=500000.0, num_labels=3, pad_token_id=0, attn_implementation="sdpa")
    device = torch.device(options.device)
    torch.set_default_dtype(torch.bfloat16)
    with device:
        model = transformers.LlamaForSequenceClassification(config)
    torch.set_default_dtype(torch.float32)
    targets = ALL_LINEAR.strip("[]").split(", ") if options.wide else ["o_proj", "v_proj"]
    rank = 16 if options.wide else 4
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=rank, lora_alpha=2 * rank, lora_dropout=0.05,
                                                       target_modules=targets))
    model.config.use_cache = False
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-5)

    def measure(batch):
        ids = torch.randint(1, 128, (batch, options.length), device=device)
        labels = torch.randint(0, 3, (batch,), device=device)
        began = first = None
        for step in range(options.steps):
            if step == 1:
                wait()
                began = time.monotonic()
            with torch.autocast(device.type, torch.bfloat16):
                loss = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        wait()
        return (options.steps - 1) * batch * options.length / (time.monotonic() - began)

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    batch = options.batch
    while True:
        try:
            rate = measure(batch)
            break
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            optimizer.zero_grad()
            torch.cuda.empty_cache()
    figures = {"shape": f"{batch} x {options.length}", "tokens_per_second": round(rate, 1),
               "note": f"torch {torch.__version__}, transformers {transformers.__version__}, PEFT {peft.__version__}; sdpa, bf16"}
    if device.type == "cuda":
        figures["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    print(json.dumps(figures))


def self_test(options):
    """Packs, and runs all parts on the CPU with a small shape, as they are run where the GPU is."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = pathlib.Path(scratch) / "carried", pathlib.Path(scratch) / "out"
        out.mkdir()
        pack(folder, options.gavel, options.shared, 1)
        command = [folder / "gpu_check.sh", "run", "--device", "cpu", "--small", "--seconds", "400"]
        status = subprocess.run(list(map(str, command)), env={**os.environ, "OUT": str(out)}, check=False).returncode
        results = json.loads((out / "results.json").read_text())
        parts = {result["part"]: result for result in results["parts"]}
        wrong = [f"{name}: {result['note']}" for name, result in parts.items() if result["status"] == "failed"]
        speeds = [result for result in parts.values() if result["figures"].get("tokens_per_second", 0) > 0]
        if status != 0 or wrong or len(speeds) < 3 or parts["second start"]["status"] != "ok":
            sys.exit(f"self-test: exit status {status}, {len(speeds)} speeds, failed: {wrong}")
        print(f"self-test: {len(parts)} parts, {len(speeds)} speeds, none failed")


def main():
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    root = HERE.parent
    packing, testing = commands.add_parser("pack"), commands.add_parser("self-test")
    packing.add_argument("folder", nargs="?", default=str(root / "build" / "gpu_check"))
    for command in (packing, testing):
        command.add_argument("--gavel", default=str(root / "build" / "release" / "gavel"))
        command.add_argument("--shared", default=os.environ.get("GAVEL_SHARED", str(root.parent / "shared")),
                             help="folder with goldens/ and goldens_families/")
    running = commands.add_parser("run")
    running.add_argument("--device", default="cuda")
    running.add_argument("--seconds", type=float, default=560, help="after which no part is begun, and a running one is stopped")
    running.add_argument("--plugin", help="the CUDA plugin's file, where gavel does not find it by itself")
    running.add_argument("--small", action="store_true", help="a small shape, to try this program")
    beside = commands.add_parser("peft")
    for name in ("--batch", "--length", "--steps"):
        beside.add_argument(name, type=int, required=True)
    beside.add_argument("--device", required=True)
    beside.add_argument("--shape", required=True)
    beside.add_argument("--wide", action="store_true")
    options = parser.parse_args()
    if options.command == "pack":
        pack(pathlib.Path(options.folder), options.gavel, options.shared, 9)
    elif options.command == "self-test":
        self_test(options)
    elif options.command == "peft":
        run_peft(options)
    else:
        out = pathlib.Path(os.environ.get("OUT") or "gpu_check_results")
        out.mkdir(parents=True, exist_ok=True)
        sys.exit(Check(options, HERE, out).run())


if __name__ == "__main__":
    main()

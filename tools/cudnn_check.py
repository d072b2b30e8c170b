#!/usr/bin/env python3
"""Asks cuDNN whether it has a plan for the attention of each family (src/nn/cudnn_attention.h), on GPUs that are not there:
forward, backward, and backward with the deterministic algorithm, causal and with a mask beside it. Nothing is computed. Fails
where cuDNN has no plan for what Gavel would call.
usage: cudnn_check.py [--gpu NAME]... [--batch N] [--length N] [--limits] [--workspace]
  --limits: what cuDNN refuses or takes at the borders of what Gavel accepts, instead of the families.
  --workspace: builds each plan and prints the memory that it takes, a second and more for each.
needs: pip install nvidia-cudnn-cu13 nvidia-cudnn-frontend; a C compiler

cuDNN plans for the device that it is told of, so that only the driver's library is missing: one of functions that say "no
device" is compiled into a temporary folder, and this script starts again with it in LD_LIBRARY_PATH."""
import argparse
import ctypes
import importlib.metadata
import json
import mmap
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# Compute capability, multiprocessors, shared memory a block may ask for, blocks and threads of a multiprocessor, bytes of
# memory and of the second-level cache, clock in kHz: as NVIDIA's data sheets and the CUDA programming guide have them.
GPUS = {
    "A100": (80, 108, 163 << 10, 32, 2048, 85 * 10**9, 40 << 20, 1410000),
    "RTX 4090": (89, 128, 99 << 10, 24, 1536, 25 * 10**9, 72 << 20, 2520000),
    "H100": (90, 132, 227 << 10, 32, 2048, 85 * 10**9, 50 << 20, 1980000),
    "B200": (100, 148, 227 << 10, 32, 2048, 180 * 10**9, 126 << 20, 1965000),
    "RTX 5090": (120, 170, 99 << 10, 24, 1536, 34 * 10**9, 96 << 20, 2407000),
}
# Features of a head, at the most, for which Gavel calls cuDNN (cuda_kernels in src/nn/cudnn_attention.cpp).
LARGEST_HEAD_DIM = {"H100": 256}
OTHER_LARGEST_HEAD_DIM = 128
# Query heads, key-value heads, head_dim of the models that use them.
FAMILIES = [
    ("Llama 3 8B, Mistral 7B, Qwen3 8B", 32, 8, 128),
    ("Llama 3 70B", 64, 8, 128),
    ("Llama 3.2 1B", 32, 8, 64),
    ("Llama 3.2 3B", 24, 8, 128),
    ("Llama 2 7B", 32, 32, 128),
    ("TinyLlama", 32, 4, 64),
    ("Qwen2.5 0.5B", 14, 2, 64),
    ("Qwen2.5 1.5B", 12, 2, 128),
    ("Qwen2.5 7B", 28, 4, 128),
    ("Qwen3 0.6B", 16, 8, 128),
    ("Gemma 2 2B, Gemma 3 4B", 8, 4, 256),
    ("Gemma 3 1B", 4, 1, 256),
    ("Gemma 3 12B", 16, 8, 256),
    ("Gemma 3 27B", 32, 16, 128),
    ("SmolLM2 135M", 9, 3, 64),
    ("SmolLM2 360M", 15, 5, 64),
    ("SmolLM2 1.7B", 32, 32, 64),
    ("SmolLM3 3B", 16, 4, 128),
    ("Llama 3 8B, an eighth (mp)", 4, 1, 128),
]
# Of the driver's functions: those that must seem to work while a plan is made, with what they write through their first
# argument. All others answer CUDA_ERROR_NO_DEVICE.
WORKING = {"cuDriverGetVersion": "*(int*)p = 13000;", "cuKernelGetAttribute": "*(int*)p = 0;",
           "cuOccupancyMaxPotentialClusterSize": "*(int*)p = 16;", "cuLibraryLoadData": "*(void**)p = (void*)0x1000;",
           "cuLibraryGetKernel": "*(void**)p = (void*)0x2000;", "cuKernelGetFunction": "*(void**)p = (void*)0x3000;",
           "cuKernelSetAttribute": "", "cuLibraryUnload": ""}
ALWAYS = {"cuInit", "cuGetProcAddress", "cuGetProcAddress_v2", "cuGetErrorName", "cuGetErrorString", "cuDeviceGetCount"}
NO_DEVICE = 100


def wanted_functions():
    """What cuDNN's libraries may look up in the driver's by name: it stands in them as a text of its own."""
    names = set()
    for package in ("nvidia-cudnn-cu13", "nvidia-cudnn-frontend"):
        for file in importlib.metadata.files(package) or []:
            if ".so" in file.name:
                with open(file.locate(), "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
                    names |= {found.decode() for found in re.findall(rb"\0(cu[A-Z][a-z][A-Za-z0-9_]{3,60})(?=\0)", text)}
    return names


def start_with_stub():
    """Ends this process: what follows runs in a new one, which finds the stub of the driver's library."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "driver.c")
        lines = [f"int {name}(void *p) {{ {WORKING[name]} return 0; }}" if name in WORKING else
                 f"int {name}(void) {{ return {NO_DEVICE}; }}"
                 for name in sorted(wanted_functions() | ALWAYS | set(WORKING))]
        source.write_text("\n".join(lines) + "\n")
        library = pathlib.Path(folder, "libcuda.so.1")
        subprocess.run(["cc", "-shared", "-fPIC", "-w", "-o", library, source], check=True)
        paths = [folder] + [p for p in [os.environ.get("LD_LIBRARY_PATH")] if p]
        environment = dict(os.environ, LD_LIBRARY_PATH=":".join(paths), GAVEL_CUDNN_STUB=folder)
        sys.exit(subprocess.run([sys.executable, __file__, *sys.argv[1:]], env=environment).returncode)


def device(cudnn, name):
    capability, processors, shared, blocks, threads, memory, cache, clock = GPUS[name]
    facts = {"deviceVer": capability * 10, "multiProcessorCount": processors, "warpSize": 32,
             "maxSharedMemoryPerBlock": 48 << 10, "maxSharedMemoryPerBlockOptin": shared,
             "oversizedSharedMemoryPerBlock": 0, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536,
             "maxCtasPerSM": blocks, "maxThreadsPerBlock": 1024, "maxThreadsPerSM": threads, "regsPerBlock": 65536,
             "totalGlobalMem": memory, "smClockRateKHz": clock, "l2CacheSize": cache, "maxBlockSize": [1024, 1024, 64],
             "memClockRateKHz": 2000000, "memoryBusWidth": 5120, "maxGridSize": [2**31 - 1, 65535, 65535],
             "supportCoopLaunch": 1, "pciDeviceId": 0, "isTccDriver": 0, "cudaDeviceId": 0, "driverVer": 13000,
             "deviceName": "NVIDIA " + name}
    return cudnn.create_device_properties(json.dumps(facts))


class Attention:
    """The graph that XLA's compiler makes of one of Gavel's calls."""

    def __init__(self, cudnn, gpu, shape, dtype="bf16", masked=False, build=False):
        self.cudnn, self.gpu, self.masked, self.build = cudnn, gpu, masked, build
        self.b, self.s, self.h, self.kv, self.d = shape
        types = cudnn.data_type
        self.narrow = {"bf16": types.BFLOAT16, "f16": types.HALF, "f32": types.FLOAT}[dtype]

    def rows(self, graph, name, heads):
        """[B, S, heads, D] in memory, as cuDNN numbers its dimensions: batch, head, place, feature."""
        return graph.tensor(name=name, dim=[self.b, heads, self.s, self.d], data_type=self.narrow,
                            stride=[self.s * heads * self.d, self.d, heads * self.d, 1])

    def describe(self, value, heads):
        value.set_output(True).set_dim([self.b, heads, self.s, self.d])
        value.set_stride([self.s * heads * self.d, self.d, heads * self.d, 1])

    def graph(self):
        wide = self.cudnn.data_type.FLOAT
        graph = self.cudnn._compiled_module.backend_graph(io_data_type=self.narrow, intermediate_data_type=wide, compute_data_type=wide,
                                   device_property=device(self.cudnn, self.gpu), sm_version=GPUS[self.gpu][0])
        inputs = {"q": self.rows(graph, "q", self.h), "k": self.rows(graph, "k", self.kv),
                  "v": self.rows(graph, "v", self.kv), "attn_scale": self.d**-0.5, "use_causal_mask": True}
        if self.masked:
            square = self.s * self.s
            inputs["bias"] = graph.tensor(name="mask", dim=[self.b, 1, self.s, self.s], data_type=self.narrow,
                                          stride=[square, square, self.s, 1])
        return graph, inputs

    def forward(self):
        graph, inputs = self.graph()
        o, sums = graph.sdpa(generate_stats=True, **inputs)
        self.describe(o, self.h)
        sums.set_output(True).set_data_type(self.cudnn.data_type.FLOAT)
        return self.plan(graph)

    def backward(self, deterministic=False):
        graph, inputs = self.graph()
        sums = graph.tensor(name="sums", dim=[self.b, self.h, self.s, 1], data_type=self.cudnn.data_type.FLOAT,
                            stride=[self.h * self.s, self.s, 1, 1])
        gradients = graph.sdpa_backward(o=self.rows(graph, "o", self.h), dO=self.rows(graph, "do", self.h), stats=sums,
                                        use_deterministic_algorithm=deterministic, **inputs)
        for value, heads in zip(gradients, (self.h, self.kv, self.kv)):
            self.describe(value, heads)
        return self.plan(graph)

    def plan(self, graph):
        """What is said of the plan. Throws what cuDNN throws when it has none."""
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([self.cudnn.heur_mode.A])
        graph.check_support()
        if not self.build:
            return "yes"
        graph.build_plans()
        return f"{graph.get_workspace_size() / 1e6:.0f} MB"


def answer(ask, *arguments):
    """What is said, and whether there is a plan."""
    try:
        return ask(*arguments), True
    except Exception as error:  # of several types, without one of their own
        reason = str(error).strip().replace("\n", " ").split("backend declined: ")[-1]
        return "no: " + reason[:60], False


def ask_families(cudnn, gpus, batch, length, build):
    asked = refused = 0
    print("\n| GPU | model | heads | key-value heads | head_dim | mask | forward | backward | deterministic |")
    print("|---|---|---|---|---|---|---|---|---|")
    for gpu in gpus:
        for model, h, kv, d in FAMILIES:
            for masked in (False, True):
                call = Attention(cudnn, gpu, (batch, length, h, kv, d), masked=masked, build=build)
                answers = [answer(call.forward), answer(call.backward), answer(call.backward, True)]
                if d <= LARGEST_HEAD_DIM.get(gpu, OTHER_LARGEST_HEAD_DIM):
                    asked += len(answers)
                    refused += sum(not ok for _, ok in answers)
                texts = " | ".join(text for text, _ in answers)
                print(f"| {gpu} | {model} | {h} | {kv} | {d} | {'causal + mask' if masked else 'causal'} | {texts} |",
                      flush=True)
    print(f"\nOf what Gavel calls, {asked - refused} of {asked} plans are there")
    return refused


def ask_limits(cudnn, gpus, batch, length, build):
    print("\n| GPU | case | forward | backward | deterministic |\n|---|---|---|---|---|")
    plain = (batch, length, 32, 8, 128)
    cases = [("float16", plain, "f16", False), ("float16 + mask", plain, "f16", True), ("float32", plain, "f32", False)]
    cases += [(f"head_dim {d}{' + mask' if masked else ''}", (batch, length, 32, 8, d), "bf16", masked)
              for d in (8, 16, 80, 96, 100, 136, 192, 256, 264) for masked in (False, True)]
    cases += [(f"length {s}{' + mask' if masked else ''}", (batch, s, 32, 8, d), "bf16", masked)
              for s, d in ((1, 128), (8, 128), (40, 64), (63, 128), (1001, 128), (1001, 256), (8192, 128))
              for masked in (False, True)]
    cases += [("one row", (1, length, 32, 8, 128), "bf16", False), ("7 key-value heads", (batch, length, 32, 7, 128), "bf16", False)]
    for gpu in gpus:
        for name, shape, dtype, masked in cases:
            call = Attention(cudnn, gpu, shape, dtype, masked, build)
            texts = [answer(call.forward)[0], answer(call.backward)[0], answer(call.backward, True)[0]]
            print(f"| {gpu} | {name} | " + " | ".join(texts) + " |", flush=True)
    return 0


def main():
    if "GAVEL_CUDNN_STUB" not in os.environ:
        start_with_stub()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="append", choices=GPUS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--workspace", action="store_true")
    options = parser.parse_args()
    ctypes.CDLL("libcuda.so.1", mode=ctypes.RTLD_GLOBAL)
    import cudnn

    ask = ask_limits if options.limits else ask_families
    print(f"cuDNN {cudnn.backend_version()}, {options.batch} rows of {options.length} tokens")
    sys.exit(ask(cudnn, options.gpu or list(GPUS), options.batch, options.length, options.workspace) > 0)


main()

#!/usr/bin/env python3
"""Writes tests/io/data/gguf_blocks.bin: random blocks of every storage type with the float32 values that the
`gguf` package (PyPI, with numpy) makes of them.

For each type: u32 type number, u32 bytes, u32 elements, the blocks, the float32 values (all little endian).
    python3 tools/gguf_goldens.py tests/io/data/gguf_blocks.bin
"""
import struct
import sys

import numpy
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as Type
from gguf.quants import dequantize

# Where each type keeps half-precision scales, in bytes from the start of a block.
HALVES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.F16: [], Type.BF16: [],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.TQ1_0: [52], Type.TQ2_0: [64],
    Type.MXFP4: [],
}


def main() -> None:
    random = numpy.random.default_rng(7)
    with open(sys.argv[1], "wb") as out:
        for type_, halves in HALVES.items():
            elements, size = GGML_QUANT_SIZES[type_]
            count = 128 if elements == 1 else 8 if elements == 32 else 2
            blocks = random.integers(0, 256, (count, size), dtype=numpy.uint8)
            for at in halves:  # finite scales: one subnormal, the rest of both signs
                scales = random.normal(0, 0.1, count).astype(numpy.float16)
                scales[0] = numpy.float16(3e-6)
                blocks[:, at:at + 2] = scales.view(numpy.uint8).reshape(count, 2)
            if type_ == Type.MXFP4:
                blocks[:, 0] = random.integers(0, 251, count)  # larger ones overflow
                blocks[:2, 0] = [0, 1]  # subnormal scales
            elif not halves:
                words = blocks.view(numpy.uint16)
                words[(words & 0x7C00) == 0x7C00] &= 0xBFFF  # no NaN: its bits are a library's choice
            values = dequantize(blocks.reshape(1, -1), type_).astype(numpy.float32).reshape(-1)
            assert values.size == count * elements and numpy.isfinite(values).all(), type_
            out.write(struct.pack("<III", int(type_), blocks.size, values.size))
            out.write(blocks.tobytes() + values.astype("<f4").tobytes())


main()

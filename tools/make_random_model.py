#!/usr/bin/env python3
"""Writes a Hugging Face folder of a Llama shape with random bfloat16 weights, to try loading and memory at real size.

The numbers are small (0.008 to 0.03 in size, either sign; norms 1), not trained ones. Needs nothing but Python.
usage: make_random_model.py FOLDER [llama-3-8b | llama-3.2-1b | tiny]
"""
import json
import pathlib
import random
import struct
import sys

SHAPES = {
    "llama-3-8b": dict(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                       num_attention_heads=32, num_key_value_heads=8, rope_theta=500000.0),
    "llama-3.2-1b": dict(vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
                         num_attention_heads=32, num_key_value_heads=8, rope_theta=500000.0),
    "tiny": dict(vocab_size=49152, hidden_size=64, intermediate_size=128, num_hidden_layers=4,
                 num_attention_heads=8, num_key_value_heads=8, rope_theta=10000.0),
}
SHARD_BYTES = 4_000_000_000
BLOCK = 1 << 22


def tensors(shape):
    hidden, middle = shape["hidden_size"], shape["intermediate_size"]
    head = hidden // shape["num_attention_heads"]
    keys = shape["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", [shape["vocab_size"], hidden]
    for layer in range(shape["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", [hidden]
        yield at + "post_attention_layernorm.weight", [hidden]
        yield at + "self_attn.q_proj.weight", [hidden, hidden]
        yield at + "self_attn.k_proj.weight", [keys, hidden]
        yield at + "self_attn.v_proj.weight", [keys, hidden]
        yield at + "self_attn.o_proj.weight", [hidden, hidden]
        yield at + "mlp.gate_proj.weight", [middle, hidden]
        yield at + "mlp.up_proj.weight", [middle, hidden]
        yield at + "mlp.down_proj.weight", [hidden, middle]
    yield "model.norm.weight", [hidden]


def size_of(shape):
    count = 2
    for dimension in shape:
        count *= dimension
    return count


def random_block():
    """bfloat16 numbers: low byte free, high byte 0x3c or 0xbc (exponent and sign)."""
    block = bytearray(BLOCK)
    block[0::2] = random.randbytes(BLOCK // 2)
    block[1::2] = random.randbytes(BLOCK // 2).translate(bytes(0x3C if i < 128 else 0xBC for i in range(256)))
    return bytes(block)


def write_shard(path, names, shapes, block):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [at, at + size_of(shapes[name])]}
        at += size_of(shapes[name])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)))
        out.write(text)
        for name in names:
            left = size_of(shapes[name])
            if name.endswith("norm.weight"):
                out.write(b"\x80\x3f" * (left // 2))
                continue
            while left > 0:
                # Another part of the block each time, so that layers differ.
                start = random.randrange(0, BLOCK // 2, 2)
                part = block[start:start + left]
                out.write(part)
                left -= len(part)


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-") or (len(sys.argv) == 3 and sys.argv[2] not in SHAPES):
        sys.exit(__doc__)
    folder, kind = pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else "llama-3-8b"
    if folder.exists():
        sys.exit(f"error: {folder} is there already")
    folder.mkdir(parents=True)
    random.seed(1)
    shape, block = SHAPES[kind], random_block()
    shapes = dict(tensors(shape))
    shards, total = [[]], 0
    for name in shapes:
        if shards[-1] and sum(size_of(shapes[n]) for n in shards[-1]) + size_of(shapes[name]) > SHARD_BYTES:
            shards.append([])
        shards[-1].append(name)
        total += size_of(shapes[name])
    files = [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    for file, names in zip(files, shards):
        write_shard(folder / file, names, shapes, block)
    index = {"metadata": {"total_size": total}, "weight_map": {n: f for f, names in zip(files, shards) for n in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "bfloat16",
              "rms_norm_eps": 1e-5, "max_position_embeddings": 8192, "tie_word_embeddings": False, "bos_token_id": 1,
              "eos_token_id": 2, "pad_token_id": 2, **shape}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    print(f"wrote {total / 1e9:.2f} GB to {folder}")


main()

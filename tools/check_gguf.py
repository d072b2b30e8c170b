#!/usr/bin/env python3
"""Checks a folder that Gavel exported from a GGUF file as float32 (safetensors with Hugging Face's names): every tensor
must have the bits that the `gguf` package gives, q and k put back in Hugging Face's row order.
usage: check_gguf.py MODEL.gguf FOLDER        needs: pip install gguf safetensors numpy
"""
import pathlib
import sys

import gguf
import numpy as np
from safetensors.numpy import load_file

TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
PARTS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
         "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
NOT_EXPORTED = {"rope_freqs.weight", "output.weight"}  # in config.json; not part of a judge


def main():
    model, folder = sys.argv[1:]
    reader = gguf.GGUFReader(model)
    ours = load_file(pathlib.Path(folder) / "model.safetensors")
    heads = {"attn_q": int(reader.fields["llama.attention.head_count"].contents())}
    kv = reader.fields.get("llama.attention.head_count_kv")
    heads["attn_k"] = int(kv.contents()) if kv else heads["attn_q"]
    compared, wrong = 0, []
    for tensor in reader.tensors:
        if tensor.name in NOT_EXPORTED:
            continue
        want = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        want = want.reshape(tuple(int(n) for n in reversed(tensor.shape)))
        name = TOP.get(tensor.name)
        if name is None:
            _, layer, part, kind = tensor.name.split(".")
            name = f"model.layers.{layer}.{PARTS[part]}.{kind}"
            if part in heads:  # the inverse of the row order that llama.cpp's converter makes
                count = heads[part]
                pairs = want.reshape(count, want.shape[0] // count // 2, 2, *want.shape[1:])
                want = pairs.swapaxes(1, 2).reshape(want.shape)
        have = ours.pop(name, None)
        compared += 1
        if have is None or have.shape != want.shape or have.tobytes() != want.tobytes():
            wrong.append(tensor.name)
    print(f"{compared} tensors compared, {len(wrong)} differ {wrong[:5]}, {len(ours)} only in {folder}")
    sys.exit(bool(wrong or ours or not compared))


main()

#!/usr/bin/env python3
"""Writes tests/train/golden: a tiny random classifier and what transformers + PEFT compute for it (float32).

The folder has the form that `gavel parity` reads. Needs torch, transformers and peft, in an environment of its own;
the result is committed, so only a change of the golden itself needs this. LABELS (3) are the head's outputs:
tests/train/golden_two_labels has 2. FAMILY (llama) is llama or smollm3: tests/train/golden_smollm3. With DORA (dora) the
adapters have magnitudes: tests/train/golden_dora. With REWARD (reward) two texts make a row, with one label each: the loss is
Bradley-Terry's with Davidson's ties (LABELS 3; 2: without ties, and rewards are centred as TRL does), whose logit is a
parameter: tests/train/golden_reward, tests/train/golden_reward_qwen3 (2 labels). With RATES (rates) AdamW has a group of
parameters for the head, each layer's lora_A and each layer's lora_B, two steps are the head's alone, and the lowest layer
has no adapters: tests/train/golden_rates. With SIAMESE (siamese) two texts make a row, whose heads' numbers are added up with
A and B exchanged for the second: tests/train/golden_siamese. With QUANTISED (int8, nf4) the model is computed with what
quantising makes of its linears' weights, in groups of 64: tests/train/golden_int8, tests/train/golden_nf4.
usage: make_golden.py FOLDER [LABELS] [FAMILY] [dora | reward | rates | siamese | int8 | nf4]
"""
import copy
import json
import math
import pathlib
import sys

import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import save_file
import transformers

STEPS, BATCH, LENGTH = 4, 3, 12  # of a reward 6 steps
LABELS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
FAMILY = sys.argv[3] if len(sys.argv) > 3 else "llama"
DORA, REWARD, RATES, SIAMESE = (sys.argv[4:] == [kind] for kind in ("dora", "reward", "rates", "siamese"))
STEPS = 6 if REWARD or RATES else STEPS
QUANTISED = next((kind for kind in sys.argv[4:] if kind in ("int8", "nf4")), None)
GROUP = 64
HEAD, LORA_B, LAYER_DECAY, HEAD_ONLY_STEPS = (3.0, 4.0, 0.5, 2) if RATES else (1.0, 1.0, 1.0, 0)
TEXTS = 2 * BATCH if REWARD or SIAMESE else BATCH
CENTER = 0.01 if REWARD and LABELS == 2 else 0.0
CLASS, MORE = {"llama": ("Llama", {"num_hidden_layers": 3 if RATES else 2}),
               # Of two layers one has no positions.
               "qwen3": ("Qwen3", {"num_hidden_layers": 2}),
               "smollm3": ("SmolLM3", {"num_hidden_layers": 3, "no_rope_layer_interval": 2})}[FAMILY]
out = pathlib.Path(sys.argv[1])
torch.manual_seed(7)
torch.set_num_threads(1)

config = getattr(transformers, CLASS + "Config")(
    vocab_size=48, hidden_size=GROUP if QUANTISED else 24, intermediate_size=GROUP if QUANTISED else 40,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16 if QUANTISED else 6,
    num_labels=1 if REWARD else LABELS, pad_token_id=2, bos_token_id=1, eos_token_id=2, max_position_embeddings=64, rms_norm_eps=1e-5,
    tie_word_embeddings=False, **MORE)
model = getattr(transformers, CLASS + "ForSequenceClassification")(config).float()
for parameter in model.parameters():  # larger than the initialiser's, so that every part matters
    parameter.data.normal_(0, 0.15 if QUANTISED else 0.3)
    if QUANTISED:  # what is not quantised is held in bfloat16
        parameter.data = parameter.data.bfloat16().float()
out.mkdir(parents=True, exist_ok=True)
config.save_pretrained(out)
if QUANTISED:
    copy.deepcopy(model).bfloat16().save_pretrained(out)  # a copy, since rotary frequencies would be rounded too
else:
    model.save_pretrained(out)

# The numbers of 4-bit NormalFloat (QLoRA, appendix E), worked out from their definition: quantiles of the normal distribution
# from both ends to zero, over the largest.
NORMAL, END = torch.distributions.Normal(0.0, 1.0), 0.9677083
above = NORMAL.icdf(torch.linspace(END, 0.5, 9, dtype=torch.float64)[:-1])
below = -NORMAL.icdf(torch.linspace(END, 0.5, 8, dtype=torch.float64)[:-1])
NF4 = torch.cat([above, below, torch.zeros(1, dtype=torch.float64)]).sort().values
NF4 = (NF4 / NF4.max()).float()


def quantised(weight):
    """The numbers that codes and scales mean, group by group."""
    groups = weight.reshape(-1, GROUP)
    largest = groups.abs().max(1, keepdim=True).values
    if QUANTISED == "nf4":
        return (NF4[(groups / largest).unsqueeze(-1).sub(NF4).abs().argmin(-1)] * largest).reshape(weight.shape)
    scale = (largest / 127).bfloat16().float()  # the nearest, and where that is less the next above
    scale = torch.where(scale * 127 < largest, (scale.view(torch.int32) + 0x10000).view(torch.float32), scale)
    return (torch.round(groups / scale) * scale).reshape(weight.shape)


if QUANTISED:
    for name, parameter in model.named_parameters():
        if name.endswith("_proj.weight"):
            parameter.data = quantised(parameter.data)

lora = LoraConfig(r=2, lora_alpha=6, lora_dropout=0.0, bias="none", task_type=TaskType.SEQ_CLS,
                  target_modules=["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"], use_dora=DORA,
                  layers_to_transform=[1, 2] if RATES else None)
model = get_peft_model(model, lora)
for name, parameter in model.named_parameters():
    if "lora_B" in name:
        parameter.data.normal_(0, 0.1)
    if "lora_magnitude" in name:  # not the base's lengths, so that they matter
        parameter.data *= 1 + 0.2 * torch.rand_like(parameter)
model.save_pretrained(out / "adapter")
(out / "adapter" / "README.md").unlink(missing_ok=True)

ids = torch.randint(3, config.vocab_size, (STEPS, TEXTS, LENGTH), dtype=torch.int32)
mask = torch.ones_like(ids)
for step in range(STEPS):
    for row in range(TEXTS):
        length = int(torch.randint(4, LENGTH + 1, ()))
        ids[step, row, length:] = config.pad_token_id
        mask[step, row, length:] = 0
ids[0, 0, 2] = config.pad_token_id  # a pad id inside the text counts as text
labels = torch.softmax(2 * torch.randn(STEPS, BATCH, LABELS), -1)
save_file({"input_ids": ids, "attention_mask": mask, "labels": labels}, out / "batch.safetensors")

peak, warmup = 1e-3, 1
rates = [peak * s / warmup if s < warmup else peak * 0.5 * (1 + math.cos(math.pi * (s - warmup) / (STEPS - warmup)))
         for s in range(STEPS)]
tie = torch.nn.Parameter(torch.tensor([-0.3]))  # of a reward with ties
if REWARD and LABELS == 3:
    (out / "adapter" / "reward.json").write_text(json.dumps({"tie_logit": tie.item()}))


def outputs_of(head):
    """What Gavel's task makes of the head's numbers."""
    if SIAMESE:
        return head[0::2] + head[1::2][:, [1, 0, 2][:LABELS]]
    if not REWARD:
        return head
    a, b = head[0::2], head[1::2]
    ties = [tie.expand(len(a), 1)] if LABELS == 3 else []
    return torch.cat([(a - b) / 2, (b - a) / 2, *ties, a, b], -1)


def loss_of(outputs, labels):
    loss = -(labels * torch.log_softmax(outputs[:, :LABELS], -1)).sum(-1).mean()
    return loss + CENTER * (outputs[:, LABELS:].sum(-1) ** 2).mean() if CENTER else loss


def factor_of(name):
    """A parameter's rate over the step's: LoRA+ and layer-wise decay, the head by itself."""
    if ".layers." not in name:
        return HEAD
    layer = int(name.split(".layers.")[1].split(".")[0])
    return (LORA_B if "lora_B" in name else 1.0) * LAYER_DECAY ** (config.num_hidden_layers - 1 - layer)


(out / "recipe.json").write_text(json.dumps(
    ({"task": "reward", "center_rewards_coefficient": CENTER} if REWARD else {}) |
    ({"form": "siamese"} if SIAMESE else {}) |
    ({"quantised": {"codes": QUANTISED, "group": GROUP}} if QUANTISED else {}) |
    ({"rates": {"head": HEAD, "lora_b": LORA_B, "layer_decay": LAYER_DECAY, "head_only_steps": HEAD_ONLY_STEPS}}
     if RATES else {}) | {"optimizer": "AdamW", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.01, "lr_per_step": rates}, indent=1))

trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
if REWARD and LABELS == 3:
    trained["tie"] = tie
groups = {}
for name, parameter in trained.items():
    groups.setdefault(factor_of(name), []).append(parameter)
optimizer = torch.optim.AdamW([{"params": some, "factor": factor} for factor, some in groups.items()], lr=peak,
                              weight_decay=0.01)
expected, logits, losses = {}, [], []
for step in range(STEPS):
    for group in optimizer.param_groups:
        group["lr"] = rates[step] * group["factor"]
    optimizer.zero_grad()
    found = outputs_of(model(input_ids=ids[step].long(), attention_mask=mask[step].long()).logits)
    loss = loss_of(found, labels[step])
    loss.backward()
    if step == 0:
        expected |= {f"grad.{n}": p.grad.clone() for n, p in trained.items()}
    if step < HEAD_ONLY_STEPS:
        for name, parameter in trained.items():
            if ".layers." in name:
                parameter.grad = None  # AdamW then passes it over, and does not count the step
    optimizer.step()
    logits.append(found.detach())
    losses.append(loss.detach())
expected |= {f"final.{n}": p.detach().clone() for n, p in trained.items()}
expected |= {"logits": torch.stack(logits), "loss": torch.stack(losses)}
save_file({k: v.contiguous() for k, v in expected.items()}, out / "expected.safetensors")

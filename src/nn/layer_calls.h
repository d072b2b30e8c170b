#pragma once
#include <optional>

#include "graph/graph.h"
#include "nn/dropout.h"
#include "spec/decoder_spec.h"

namespace gavel {

// The computations that a model is made of, each with its operands in a struct: Layers (layers.h) has a call computed by a
// kernel that accepts it, or else by graph ops. There are T = B * S tokens, in B sequences of S places. Optional operands
// that are not there are empty Values.

/** cos and sin, each float32 [B, S, D/2], of the rotary angles (Su et al., "RoFormer"). */
struct Rotary {
  Value cos, sin;
};

/** x [T, in] → [T, out]: x W^T + bias. Weight and bias are frozen: they get no gradient. */
struct LinearCall {
  Value x;
  Value weight;  // [out, in], or codes of a quantised weight (base_storage.h)
  Value bias;    // [out], optional
  const LinearSpec& spec;
  Value scales = {};  // of a quantised weight: [out, in / group]; of one in blocks [out, in / block, numbers of each]
};

/** The linear plus its adapter, scaling * (dropout(x) A^T) B^T (Hu et al., "LoRA", 2021). The products are of x's type with
 * sums in float32, as the adapter's gradients are. */
struct AdaptedLinearCall {
  LinearCall linear;
  Value lora_a;  // float32 [r, in]
  Value lora_b;  // float32 [out, r]
  double scaling = 1;
  Dropout dropout;
  /** Its products are marked with keep() (graph/keep.h). */
  bool keeps_products = false;
};

/** The adapted linear with the length of each row of W + scaling * B A replaced by its magnitude: y = magnitude / length *
 * (W x + scaling * B A x) + bias (Liu et al., "DoRA", 2024). Lengths are constants in gradients. With dropout, W is given
 * dropout(x) in what magnitude / length differs from 1, as PEFT does. */
struct DecomposedLinearCall {
  AdaptedLinearCall adapted;
  Value magnitude;  // float32 [out]
};

/** NormRule's RMS norm over the last dimension: x […, H], weight [H] → […, H]. The weight is frozen. */
struct NormCall {
  Value x, weight;
  NormRule rule;
};

/** Pairs (i, i + D/2) of x […, heads, D] are rotated: the order of the Hugging Face weights. */
struct RotaryCall {
  Value x;
  Rotary rotary;
};

/** How scores become weights; see AttentionSpec. */
struct AttentionRule {
  double scale = 1;
  std::optional<int64_t> sliding_window;
  std::optional<double> logit_softcapping;
  /** Segments are numbered as base/segments.h says, and a query also sees the keys of its segment's prefix. A window must
   * then be as long as the texts are at most, since it counts places. */
  bool prefixes = false;
  /** Every sequence is one text, with padding behind it alone: causality says all of what a query of the text sees. */
  bool one_text = false;
  /** Gradients must be the same to the bit each time that they are computed. */
  bool deterministic = false;
};

/** Causal grouped-query attention. q [B, S, H, D], k and v [B, S, Hkv, D], Hkv divides H → [B, S, H, D] in q's dtype. A
 * query sees the keys at or before its place that have its own segment id (i32 [B, S], 0 marks padding), or its prefix's. */
struct AttentionCall {
  Value q, k, v, segment_ids;
  AttentionRule rule;
};

/** Where R tokens stand, each i32 [R]: their numbers among the B * S tokens, and as sequence and place in it. */
struct TokenPlaces {
  Value index, sequence, place;
};

/** Attention for queries q [R, H, D] at some places alone → [R, H, D]; the rest is as in AttentionCall. */
struct PooledAttentionCall {
  Value q, k, v, segment_ids;
  TokenPlaces at;
  AttentionRule rule;
};

/** activation(gate) * up, elementwise. */
struct GatedCall {
  Value gate, up;
  Activation activation = Activation::kSilu;
};

/** h + down(activation(gate(n)) * up(n)), n the norm of h [T, hidden]. */
struct FeedForwardCall {
  Value h, norm;  // the norm's weight, [hidden]
  NormRule rule;
  Value gate, up, down;  // weights, [out, in], or codes of quantised ones
  Activation activation = Activation::kSilu;
  /** Whether this is all of the block: no adapters, no biases, and no norm of what it gives. */
  bool bare = true;
  Value gate_scales = {}, up_scales = {}, down_scales = {};  // of quantised weights
};

}  // namespace gavel

#pragma once
#include <optional>

#include "graph/graph.h"
#include "nn/dropout.h"
#include "spec/decoder_spec.h"

namespace gavel {

// What the layers ask for, each computed by a kernel that accepts it or else by the layer's composition of graph ops. T
// tokens = B sequences * S places. Values that are "none" are not there.

/** cos and sin, each float32 [B, S, D/2], of the rotary angles (Su et al., "RoFormer"). */
struct Rotary {
  Value cos, sin;
};

/** x [T, in] → [T, out]: x W^T + bias. The weight is frozen. */
struct LinearCall {
  Value x;
  Value weight;  // [out, in]
  Value bias;    // [out]
  const LinearSpec& spec;
};

/** The same plus scaling * (dropout(x) A^T) B^T (Hu et al., "LoRA", 2021). */
struct AdaptedLinearCall {
  LinearCall linear;
  Value lora_a;  // float32 [r, in]
  Value lora_b;  // float32 [out, r]
  double scaling = 1;
  Dropout dropout;
};

/** x […, H], weight [H] → […, H]. */
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
  bool plain() const { return !sliding_window && !logit_softcapping; }
};

/** Causal grouped-query attention. q [B, S, H, D], k and v [B, S, Hkv, D], Hkv divides H → [B, S, H, D] in q's dtype. A
 * query sees the keys at or before its place that have its own segment id (i32 [B, S], 0 marks padding). */
struct AttentionCall {
  Value q, k, v, segment_ids;
  AttentionRule rule;
};

/** Where a few tokens stand, each i32 [R]: among the B * S tokens, and as the sequence and the place in it. */
struct TokenPlaces {
  Value index, sequence, place;
};

/** The same for the queries q [R, H, D] at some places alone → [R, H, D]. */
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

/** h [T, hidden] plus the feed-forward block of its norm. */
struct FeedForwardCall {
  Value h, norm;
  NormRule rule;
  Value gate, up, down;  // weights
  Activation activation = Activation::kSilu;
  /** No adapters, no biases, and no norm behind it: nothing but what is named above. */
  bool bare = true;
};

}  // namespace gavel

#pragma once
#include <vector>

#include "nn/layer_calls.h"

namespace gavel {

// Attention and rotary embeddings as compositions of graph ops.

/** Scores, softmax and sums in float32. Queries are taken in blocks of `block`, so keys after a block are not multiplied
 * with it, and a block has no more than block x S scores per head. */
Value causal_attention(const AttentionCall& call, int64_t block = 256);

/** The same with memory linear in the length: keys too are taken in blocks, with an online softmax (Milakov & Gimelshein,
 * 2018; Dao et al., 2022), and the gradient computes the scores again. Blocks of keys after a block of queries are left
 * out. Slower than causal_attention at short lengths. */
Value blockwise_attention(const AttentionCall& call, int64_t block = 512);

/** For sequences longer than this, Layers takes blockwise_attention. */
inline constexpr int64_t kLongestWholeScores = 1024;

/** The places of the tokens with numbers `index`, i32 [R], in a batch of sequences of this length. */
TokenPlaces places_of(const Value& index, int64_t length);

/** Attention for queries at a few places alone: each gets a copy of the keys and values of its sequence. */
Value gathered_attention(const PooledAttentionCall& call);

/** `scale` times cos and sin of the angles: each position, i32 [B, S], times each of the inverse frequencies [D/2]. */
Rotary rotary_angles(const Value& positions, const std::vector<double>& inverse_frequencies, double scale = 1);

/** x […, heads, D] rotated by the angles of its tokens, […, D/2]. */
Value apply_rotary(const RotaryCall& call);

}  // namespace gavel

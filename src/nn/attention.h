#pragma once
#include <vector>

#include "nn/layer_calls.h"

namespace gavel {

// Attention and rotary embeddings as compositions of graph ops.

/** Scores, softmax and sums in float32. Queries go in blocks of `block`: keys after a block are never multiplied, and no
 * more than block x S scores per head are held at once. */
Value causal_attention(const AttentionCall& call, int64_t block = 256);

/** The same with memory linear in the length: keys too go in blocks, under an online softmax (Milakov & Gimelshein, 2018;
 * Dao et al., 2022), and the gradient computes the scores again. Blocks after a query's own are left out. Slower than
 * causal_attention at short lengths. */
Value blockwise_attention(const AttentionCall& call, int64_t block = 512);

/** Above this length layers take the blockwise form. */
inline constexpr int64_t kLongestWholeScores = 1024;

/** Of tokens at index i32 [R] in sequences of this length. */
TokenPlaces places_of(const Value& index, int64_t length);

/** The same for a few queries. */
Value gathered_attention(const PooledAttentionCall& call);

/** Angles of positions i32 [B, S] times inverse frequencies [D/2]. */
Rotary rotary_angles(const Value& positions, const std::vector<double>& inverse_frequencies);

/** x […, heads, D] with the tables of its tokens, […, D/2]. */
Value apply_rotary(const RotaryCall& call);

}  // namespace gavel

#pragma once
#include "graph/graph.h"

namespace gavel {

/** Causal grouped-query attention in plain StableHLO.
 *
 * q [B, S, H, D], k and v [B, S, Hkv, D], Hkv divides H; segment_ids i32 [B, S]: a query sees the keys at or
 * before its place that have its own segment id (0 marks padding). Scores, softmax and sums in float32.
 * Result [B, S, H, D] in q's dtype. Queries go in blocks of `block`: keys after a block are never multiplied,
 * and no more than block x S scores per head are held at once. */
Value causal_attention(const Value& q, const Value& k, const Value& v, const Value& segment_ids, double scale,
                       int64_t block = 256);

/** The same with memory linear in the length: keys too go in blocks, under an online softmax (Milakov & Gimelshein, 2018;
 * Dao et al., 2022), and the gradient computes the scores again. Blocks after a query's own are left out. Slower than
 * causal_attention at short lengths. */
Value blockwise_attention(const Value& q, const Value& k, const Value& v, const Value& segment_ids, double scale,
                          int64_t block = 512);

/** Above this length the model takes the blockwise form. */
inline constexpr int64_t kLongestWholeScores = 1024;

/** The same for a few queries: q [R, H, D], each with its sequence `rows` i32 [R] (0 … B-1) and its place in
 * it `places` i32 [R]. Result [R, H, D]. */
Value gathered_attention(const Value& q, const Value& k, const Value& v, const Value& segment_ids,
                         const Value& rows, const Value& places, double scale);

/** cos and sin, each float32 [B, S, D/2], of positions i32 [B, S] times inverse frequencies (Su et al.,
 * RoFormer). */
struct Rotary {
  Value cos, sin;
};
Rotary rotary_angles(const Value& positions, const std::vector<double>& inverse_frequencies);

/** Rotates pairs (i, i + D/2) of x [B, S, H, D]: the order of the Hugging Face weights. */
Value apply_rotary(const Value& x, const Rotary& rotary);

}  // namespace gavel

#pragma once
#include <cstdint>

#include "base/dtype.h"
#include "base/segments.h"

namespace gavel {

/** Grouped-query attention: heads is a multiple of kv_heads, and query head h reads key head
 * h / (heads / kv_heads). All arrays are row-major; q, o, d_o, dq are [batch, queries, heads, head_dim] and
 * k, v, dk, dv [batch, keys, kv_heads, head_dim], all of one type, bf16 or float32. */
struct AttentionShape {
  int64_t batch = 0;
  int64_t queries = 0;
  int64_t keys = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
};

/** Which keys a query sees: those of its own segment, at its position in the row or before. Segment 0 is
 * padding: such keys are never seen, such queries get o = 0 and lse = 0, and their d_o enters no gradient (dq = 0).
 * Segments need not be sorted, but work is saved where they are: a block of keys is skipped when it lies after all
 * queries of a block or outside of their windows, or when the two blocks' ranges of segment numbers do not overlap. */
struct AttentionMask {
  const int32_t* key_segments = nullptr;     // [batch, keys]
  const int32_t* query_segments = nullptr;   // [batch, queries]; null: key_segments (queries == keys)
  const int32_t* query_positions = nullptr;  // [batch, queries], index of a key; null: 0, 1, 2, ...
  /** Only keys less than this before the query are seen, so 1 is the query's own place alone (Beltagy et al., Longformer,
   * 2020). 0: no window. */
  int64_t window = 0;
  /** Segments are numbered as base/segments.h says, and a query also sees the keys of its segment's prefix. Not together with
   * a window, which counts places: a prefix may stand far from what follows it. */
  bool prefixes = false;
};

/** What scores are made of the products of queries and keys: s = scale q k^T, and with a soft cap
 * softcap tanh(s / softcap) (Gemma Team, Gemma 2, 2024). scale > 0, softcap >= 0, and 0 means that there is none. */
struct ScoreRule {
  float scale = 1;
  float softcap = 0;
};

/** o = softmax(scores) v over the keys that each query sees, and lse[batch, heads, queries] = the natural logarithm
 * of each softmax's denominator. All is computed in float32, but the products' operands are rounded to bf16 when the
 * arrays are bf16 and the processor multiplies bf16 itself.
 *
 * Blocked with an online softmax (Milakov and Gimelshein, 2018; Dao et al., FlashAttention, 2022): memory is
 * linear in the lengths. A query that sees no key gets o = 0 and lse = 0. Throws Error for shapes that don't fit together,
 * for a rule or window out of range and for other types. */
void attention_forward(const AttentionShape& shape, DType type, const ScoreRule& rule, const void* q, const void* k,
                       const void* v, const AttentionMask& mask, void* o, float* lse);

/** Where the gradients of q, k and v go. */
struct AttentionGradients {
  void* dq = nullptr;
  void* dk = nullptr;
  void* dv = nullptr;
};
/** Gradients from what attention_forward read and wrote and from d_o, the gradient of o. The probabilities
 * are computed again block by block (Dao et al., 2022, section 3.1 and appendix B). */
void attention_backward(const AttentionShape& shape, DType type, const ScoreRule& rule, const void* q, const void* k,
                        const void* v, const AttentionMask& mask, const void* o, const float* lse, const void* d_o,
                        const AttentionGradients& gradients);

}  // namespace gavel

#pragma once
#include <cstdint>
#include <vector>

#include "nn/kernel_registry.h"

namespace gavel {

/** How the two calls of an attention are written, each with the operands and results that its definition names:
 *   cudnn_attention       q [B, S, H, D], k, v [B, S, Hkv, D], mask   → o [B, S, H, D], sums f32 [B, H, S]
 *   cudnn_attention_grad  q, k, v, sums, do, o [B, S, H, D], mask     → dq, dk, dv
 * Scores are scale * q k^T (attribute "scale"), a query sees the keys at or before its place. The mask, [B, 1, S, S] in q's
 * dtype, is added to them; it may be left out. Sums are the logarithms of the sums of exponentials. */
struct AttentionWriters {
  KernelWriter forward, backward;
  /** What is computed: types of q, k and v, and heads of how many features. */
  std::vector<DType> types;
  int64_t head_dim_multiple = 1, largest_head_dim = INT64_MAX;
  /** As KernelSet::least_capability. */
  int least_capability = 0;
};

/** The custom calls that XLA's compiler for NVIDIA's GPUs makes graphs of cuDNN of: bf16 and f16, a multiple of 8 features. */
AttentionWriters cudnn_calls(int least_capability, int64_t largest_head_dim);

/** A set whose only kernel is attention: the forward call, with the backward call as its gradient, which reads what the forward
 * call gave. */
KernelSet attention_kernels(std::string_view platform, const AttentionWriters& writers);

/** attention_kernels of cudnn_calls for what cuDNN has plans for, forward and backward, by compute capability: one set for
 * each range of them, rising. */
const std::vector<const KernelSet*>& cuda_kernels();

}  // namespace gavel

#pragma once
#include "nn/kernel_registry.h"

namespace gavel {

/** How the two calls of an attention are written, each with the operands and results that its definition names:
 *   cudnn_attention       q [B, S, H, D], k, v [B, S, Hkv, D], mask   → o [B, S, H, D], sums f32 [B, H, S]
 *   cudnn_attention_grad  q, k, v, sums, do, o [B, S, H, D], mask     → dq, dk, dv
 * Scores are scale * q k^T (attribute "scale"), a query sees the keys at or before its place. The mask, [B, 1, S, S] in q's
 * dtype, is added to them; it may be left out. Sums are the logarithms of the sums of exponentials. */
struct AttentionWriters {
  KernelWriter forward, backward;
  /** Of q, k and v, what can be computed in. */
  std::vector<DType> types;
};

/** The custom calls that XLA's compiler for NVIDIA's GPUs makes graphs of cuDNN of, for GPUs of compute capability 8.0 and
 * above. */
AttentionWriters cudnn_calls();

/** A set whose only kernel is attention: the forward call, the backward call as its gradient, and what joins them, so that a
 * gradient reads the forward call's results and does not compute it again. */
KernelSet attention_kernels(std::string_view platform, const AttentionWriters& writers);

/** attention_kernels of cudnn_calls(). */
const KernelSet& cuda_kernels();

}  // namespace gavel

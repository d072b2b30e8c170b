#pragma once
#include <cstdint>

#include "kernels/linear.h"

namespace gavel {

/** One pass over memory each, computed in float32 and rounded once at the end; x, y and the gradients have
 * one type, bf16 or float32. No output may overlap an input, except where it is the very same array. Throws
 * Error for other types. */

/** y[rows, size] = h / sqrt(mean(h^2) + eps) * weight[size], with h = x, or h = x + residual, which is then
 * also written (residual and h null: no addition). The mean is of h before it is rounded to its type.
 * (Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.) */
void rms_norm_forward(int64_t rows, int64_t size, DType type, const void* x, const void* residual,
                      ConstMatrix weight, float eps, void* h, void* y);

/** dh = (gradient of the norm of h for dy) + d_residual (null: nothing added). The weight is frozen and gets
 * no gradient. */
void rms_norm_gradient(int64_t rows, int64_t size, DType type, const void* h, ConstMatrix weight, float eps,
                       const void* dy, const void* d_residual, void* dh);

/** y = gate / (1 + e^-gate) * up. */
void swiglu_forward(int64_t count, DType type, const void* gate, const void* up, void* y);
void swiglu_gradient(int64_t count, DType type, const void* gate, const void* up, const void* dy,
                     void* d_gate, void* d_up);

/** Rotates x[tokens, heads, head_dim], head_dim even, in Hugging Face's way: element i of a head's first half
 * with element i of its second. cosine and sine are [table_rows, head_dim / 2]; token t uses row
 * t % table_rows. inverse turns back, which is the gradient. */
void rotary(int64_t tokens, int64_t heads, int64_t head_dim, DType type, const void* x, int64_t table_rows,
            const float* cosine, const float* sine, bool inverse, void* y);

}  // namespace gavel

#pragma once
#include <cstdint>

#include "kernels/linear.h"

namespace gavel {

// All are computed in float32 and rounded once at the end. The arrays without a type of their own are of `type`, bf16 or
// float32; other types throw Error. An output may be the very same array as an input, but not overlap one otherwise.

/** The frozen weight [size] and the constants of an RMS norm; `offset` is added to each weight, in float32 (Gemma's are
 * stored less 1). */
struct RmsNorm {
  ConstMatrix weight;
  float eps = 1e-5f;
  float offset = 0;
};

/** y[rows, size] = x / sqrt(mean(x^2) + eps) * (weight[size] + offset), the mean being that of a row (Zhang and Sennrich,
 * Root Mean Square Layer Normalization, 2019). */
void rms_norm_forward(int64_t rows, int64_t size, DType type, const void* x, const RmsNorm& norm, void* y);

/** dh[rows, size] = the gradient of rms_norm_forward's x = h for dy, the gradient of its y, plus d_residual[rows, size],
 * the gradient that reaches h past the norm (null: none). The weight is frozen and gets no gradient. */
void rms_norm_gradient(int64_t rows, int64_t size, DType type, const void* h, const RmsNorm& norm, const void* dy,
                       const void* d_residual, void* dh);

/** What a gate goes through before it is multiplied (Shazeer, GLU Variants Improve Transformer, 2020). */
enum class GateFunction : uint8_t {
  kSilu,     // g / (1 + e^-g)
  kGeluTanh  // g (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3))) / 2 (Hendrycks and Gimpel, Gaussian Error Linear Units, 2016)
};

/** y = function(gate) * up. */
void gated_forward(GateFunction function, int64_t count, DType type, const void* gate, const void* up, void* y);
/** d_gate and d_up for dy, the gradient of y. */
void gated_gradient(GateFunction function, int64_t count, DType type, const void* gate, const void* up, const void* dy,
                    void* d_gate, void* d_up);

/** Rotates x[tokens, heads, head_dim], head_dim even, in Hugging Face's way: element i of a head's first half
 * with element i of its second, by the angle whose cosine and sine [tokens, head_dim / 2] are given. `inverse` rotates
 * back, which is what the gradient does. */
void rotary(int64_t tokens, int64_t heads, int64_t head_dim, DType type, const void* x, const float* cosine,
            const float* sine, bool inverse, void* y);

}  // namespace gavel

#pragma once
#include <cstdint>

#include "kernels/elementwise.h"
#include "kernels/linear.h"

namespace gavel {

/** The block takes [rows, hidden] to [rows, intermediate] and back, a row being a token. All are at least 1, but there may
 * be no rows. */
struct MlpShape {
  int64_t rows = 0;
  int64_t hidden = 0;
  int64_t intermediate = 0;
};

/** The frozen weights of a feed-forward block as Llama and Gemma have it; gate and up [intermediate, hidden], down [hidden,
 * intermediate], the norm's [hidden]. */
struct MlpWeights {
  RmsNorm norm;
  FrozenWeight gate, up, down;
  GateFunction function = GateFunction::kSilu;
};

/** y[rows, hidden] = h + down(function(gate(n)) * up(n)) with n = rms_norm(h). The results of gate and up [rows,
 * intermediate] are written for the gradient; both or neither may be null. h, y, gate and up have one type, bf16 or
 * float32; n, the gated values and the products' operands are rounded to it, sums are float32, and h is added before the
 * one rounding of y. Throws Error for other types.
 *
 * Where the arrays' own type can be multiplied (Compute), the whole block is computed for a few rows at a time, and what
 * lies between h and y stays in the cache. Else it is done layer by layer. */
void mlp_forward(const MlpShape& shape, DType type, const void* h, const MlpWeights& weights, void* y, void* gate,
                 void* up, Compute compute);

/** dh[rows, hidden] for dy, the gradient of y, and what mlp_forward read and wrote. */
void mlp_gradient(const MlpShape& shape, DType type, const void* h, const MlpWeights& weights, const void* gate,
                  const void* up, const void* dy, void* dh, Compute compute);

}  // namespace gavel

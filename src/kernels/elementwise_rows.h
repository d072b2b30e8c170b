#pragma once
#include <vector>

#include "kernels/elementwise.h"

// The arithmetic of elementwise.h for part of the rows, on the calling thread: for kernels that go on with rows while these
// are in the cache. The arrays without a type of their own are of `type`. For this folder alone.
namespace gavel {

/** weight + offset of a norm of rows of `size`, in float32: what the functions below call `weight`. */
std::vector<float> norm_weight(const RmsNorm& norm, int64_t size);
/** Rows [first, last) of rms_norm_forward; the arrays begin at row 0. */
void rms_norm_rows(DType type, int64_t first, int64_t last, int64_t size, const void* x, const float* weight, float eps,
                   void* y);
/** Rows [first, last) of rms_norm_gradient; the arrays begin at row 0. */
void rms_norm_gradient_rows(DType type, int64_t first, int64_t last, int64_t size, const void* h, const float* weight,
                            float eps, const void* dy, const void* d_residual, void* dh);
/** gated_forward for a block of rows and columns, whose first element the arrays begin with: rows of gate and up are
 * `from` elements apart, those of y `to`. */
void gated_columns(GateFunction function, DType type, int64_t rows, int64_t columns, const void* gate, const void* up,
                   int64_t from, void* y, int64_t to);
/** gated_gradient for such a block: rows of gate and up are `from` elements apart, those of dy `gradient`, those of
 * d_gate and d_up `to`. */
void gated_gradient_columns(GateFunction function, DType type, int64_t rows, int64_t columns, const void* gate,
                            const void* up, int64_t from, const void* dy, int64_t gradient, void* d_gate, void* d_up,
                            int64_t to);

}  // namespace gavel

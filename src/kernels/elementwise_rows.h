#pragma once
#include "kernels/linear.h"

// The arithmetic of elementwise.h for part of the rows, on the calling thread; for kernels that go on with
// rows while these are in the cache. T is the type of all arrays without a type of their own; not for other
// folders.
namespace gavel {

/** Rows [first, last) of rms_norm_forward; `sums` holds `size` floats. */
void rms_norm_rows(DType type, int64_t first, int64_t last, int64_t size, const void* x, const void* residual,
                   const float* weight, float eps, void* h, void* y, float* sums);
/** Rows [first, last) of rms_norm_gradient. */
void rms_norm_gradient_rows(DType type, int64_t first, int64_t last, int64_t size, const void* h,
                            const float* weight, float eps, const void* dy, const void* d_residual, void* dh);
/** Columns of swiglu_forward: gate and up have rows `from` elements apart, y `to`. */
void swiglu_columns(DType type, int64_t rows, int64_t columns, const void* gate, const void* up, int64_t from, void* y,
                    int64_t to);
/** Columns of swiglu_gradient: gate and up have rows `from` elements apart, dy `gradient`, d_gate and d_up `to`. */
void swiglu_gradient_columns(DType type, int64_t rows, int64_t columns, const void* gate, const void* up, int64_t from,
                             const void* dy, int64_t gradient, void* d_gate, void* d_up, int64_t to);

}  // namespace gavel

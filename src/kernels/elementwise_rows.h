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
void swiglu_range(DType type, int64_t count, const void* gate, const void* up, void* y);
void swiglu_gradient_range(DType type, int64_t count, const void* gate, const void* up, const void* dy,
                           void* d_gate, void* d_up);
/** y = x + term, in float32 and rounded once. */
void add_range(DType type, int64_t count, const void* x, const float* term, void* y);

}  // namespace gavel

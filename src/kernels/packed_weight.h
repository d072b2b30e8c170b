#pragma once
#include "kernels/linear.h"
#include "kernels/thread_pool.h"

namespace gavel {

/** A weight b[k, n] in oneDNN's own layout, in parts by columns, so that all threads pack it together and
 * blocks of few rows are multiplied with it as fast as many. Packed anew in each call, which costs about a
 * hundredth of the product: a copy that outlived the call would double the base weights' memory. */
class PackedWeight {
 public:
  PackedWeight(DType type, int64_t k, int64_t n, int threads);

  size_t bytes() const;
  /** Ranges of columns that the threads pack. */
  int64_t parts() const { return parts_; }
  /** Where bytes() of 64-byte aligned memory are. */
  void place(void* memory) { memory_ = memory; }
  /** b is w[k, n], or w[n, k] transposed. */
  void pack(int64_t part, ConstMatrix w, bool transposed) const;
  /** c[rows, n] (+)= a[rows, k] b, on the calling thread. a has the weight's type; c is either (bf16 only
   * with bf16). */
  void multiply(int64_t rows, const void* a, int64_t a_leading, Matrix c, bool accumulate = false,
                const float* bias = nullptr) const;

 private:
  DType type_;
  int64_t k_, n_, width_, parts_;
  void* memory_ = nullptr;
};

/** Rows of a block when `rows` are shared by `threads`: about 96, and each thread gets the same number of
 * blocks. */
int64_t even_block(int64_t rows, int threads);

}  // namespace gavel

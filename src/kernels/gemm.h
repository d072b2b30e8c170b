#pragma once
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace gavel {

/** One operand: row-major, with rows `leading` elements apart. */
struct GemmOperand {
  DType dtype;
  const void* data;
  int64_t leading;
};

/** c[m, n] = a[m, k] b[k, n], added to c with `accumulate`, by oneDNN on the calling thread alone. a and b have the same
 * dtype, float32 or bf16; c is float32, or bf16 if they are. What oneDNN prepares for a shape is kept, for at most 512
 * shapes. May be called from several threads at a time. m, n, k are at least 1. */
void gemm(int64_t m, int64_t n, int64_t k, const GemmOperand& a, const GemmOperand& b, DType c_dtype, void* c,
          int64_t c_leading, bool accumulate = false);

}  // namespace gavel

#pragma once
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace gavel {

/** One operand: row-major with a leading dimension in elements; `transposed` means that the matrix used is
 * the transpose of what is stored. */
struct GemmOperand {
  DType dtype;
  const void* data;
  int64_t leading;
  bool transposed = false;
};

/** c[m, n] (+)= a[m, k] b[k, n] on the calling thread alone, by oneDNN. a and b have
 * the same dtype, float32 or bf16; c is either (bf16 c only with bf16 a). Primitives are kept per shape, at
 * most 512 of them; safe to call from several threads. m, n, k are at least 1. */
void gemm(int64_t m, int64_t n, int64_t k, const GemmOperand& a, const GemmOperand& b, DType c_dtype, void* c,
          int64_t c_leading, bool accumulate = false);

}  // namespace gavel

#include "kernels/packed_weight.h"

#include <algorithm>

#include "kernels/gemm.h"
#include "kernels/product.h"

namespace gavel {

PackedWeight::PackedWeight(DType type, int64_t k, int64_t n, int threads) : type_(type), k_(k), n_(n) {
  const int64_t steps = (n + kPackingStep - 1) / kPackingStep;
  width_ = (steps + threads - 1) / threads * kPackingStep;
  parts_ = (n + width_ - 1) / width_;
}

size_t PackedWeight::bytes() const {
  return (packed_bytes(type_, k_, n_) + 63) / 64 * 64;
}

void PackedWeight::pack(int64_t part, ConstMatrix w, bool transposed) const {
  const int64_t first = part * width_;
  pack_b(type_, k_, n_, {w.dtype, w.data, transposed ? k_ : n_, transposed}, first,
         std::min(width_, n_ - first), memory_);
}

void PackedWeight::multiply(int64_t rows, const void* a, int64_t a_leading, Matrix c, bool accumulate,
                            const float* bias) const {
  gemm_packed(rows, n_, k_, {type_, a, a_leading}, memory_, c.dtype, c.data, accumulate, bias);
}

int64_t even_block(int64_t rows, int threads) {
  const int64_t rounds = std::max<int64_t>(1, (rows + threads * 96 - 1) / (threads * 96));
  return ((rows + threads * rounds - 1) / (threads * rounds) + 7) / 8 * 8;
}

}  // namespace gavel

#pragma once
#include <initializer_list>
#include <vector>

#include "kernels/linear.h"
#include "kernels/thread_pool.h"

// What linear and its LoRA form share; not for other folders.
namespace gavel {

/** Throws Error unless the sizes make a product and every type is float32 or bfloat16. */
void check_linear(const LinearShape& shape, std::initializer_list<DType> types);

/** The type in which operands stored as a and b are multiplied on this processor. */
DType product_type(Compute compute, DType a, DType b);

/** A bias or a norm's weight in float32; empty for a null one. */
std::vector<float> widened_vector(ConstMatrix bias, int64_t size);

inline const char* element(ConstMatrix m, int64_t index) {
  return static_cast<const char*>(m.data) + index * static_cast<int64_t>(byte_size(m.dtype));
}
inline char* element(Matrix m, int64_t index) {
  return static_cast<char*>(m.data) + index * static_cast<int64_t>(byte_size(m.dtype));
}

/** to[r, c] = from[r, c] * scale with any of the two types on each side (scale only from float32). */
void copy_block(DType from_type, const void* from, int64_t from_leading, DType to_type, void* to,
                int64_t to_leading, int64_t rows, int64_t columns, float scale = 1);

/** y[m, n] = x[m, k] w' + bias, w' being w[n, k]^T or w[k, n]; with rank > 0, y = [x | left] [w' ; right'].
 *
 * The low-rank columns, by type:
 *   kBF16: w is bf16 and holds right' already, as rank more columns (transposed) or rows;
 *   kF32:  right[n, rank] (transposed) or [rank, n] in float32. */
struct Product {
  int64_t m = 0, n = 0, k = 0;
  ConstMatrix x;
  ConstMatrix w;
  bool w_transposed = false;
  const float* bias = nullptr;
  Matrix y;
  DType type = DType::kF32;
  int64_t rank = 0;
  const float* left = nullptr;  // [m, rank]
  const float* right = nullptr;
};
void run_product(KernelCall& call, const Product& product);

}  // namespace gavel

#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace gavel {

/** In what type a product is computed; sums are float32 in every case. */
enum class Compute : uint8_t {
  kAuto,  // bf16 when any operand is stored so and the processor multiplies bf16 itself; else float32
  kBF16,  // float32 operands are rounded to bf16 first (processors without bf16: as kF32)
  kF32,   // bf16 operands are widened tile by tile
};

/** Row-major matrices of float32 or bf16. */
struct Matrix {
  DType dtype = DType::kF32;
  void* data = nullptr;
};
struct ConstMatrix {
  DType dtype = DType::kF32;
  const void* data = nullptr;
  ConstMatrix() = default;
  ConstMatrix(DType type, const void* at) : dtype(type), data(at) {}
  ConstMatrix(Matrix m) : dtype(m.dtype), data(m.data) {}  // NOLINT: a view
};

/** rows (tokens) x in -> rows x out; weights are [out, in] as Hugging Face stores them. Zero rows are
 * allowed. */
struct LinearShape {
  int64_t rows = 0;
  int64_t in = 0;
  int64_t out = 0;
};

/** y[rows, out] = x[rows, in] w[out, in]^T (+ bias[out], may be null). Any mix of bf16 and float32. The
 * weight is packed into panels (panels.h) for the length of the call. Throws Error for other types. */
void linear_forward(const LinearShape& shape, ConstMatrix x, ConstMatrix w, ConstMatrix bias, Matrix y,
                    Compute compute = Compute::kAuto);

/** dx[rows, in] = dy[rows, out] w[out, in]. */
void linear_input_gradient(const LinearShape& shape, ConstMatrix dy, ConstMatrix w, Matrix dx,
                           Compute compute = Compute::kAuto);

/** A LoRA pair in float32: a[rank, in], b[out, rank]; scale = alpha / rank (or / sqrt(rank)). */
struct Lora {
  int64_t rank = 0;
  float scale = 1;
  const float* a = nullptr;
  const float* b = nullptr;
};

/** y = x w^T + bias + scale (xl a^T) b^T in one product, rounded once; xa[rows, rank] = xl a^T, which the
 * gradient needs. xl[rows, in] is the branch's input: x itself, or x after dropout. With bf16 compute, a, b
 * and xa enter the products rounded to bf16 (xa is returned as it was before). */
void linear_lora_forward(const LinearShape& shape, ConstMatrix x, ConstMatrix xl, ConstMatrix w,
                         ConstMatrix bias, const Lora& lora, Matrix y, float* xa,
                         Compute compute = Compute::kAuto);

/** Gradients of linear_lora_forward, each left out when null:
 *   dx[rows, in]  = dy w                 (+ scale (dy b) a when dxl is null: for xl = x)
 *   dxl[rows, in] = scale (dy b) a       (for the gradient of a dropout between x and xl)
 *   da[rank, in]  = scale (dy b)^T xl
 *   db[out, rank] = scale dy^T xa
 * Partial sums of da and db over blocks of rows are added in the order of the rows. */
struct LoraGradients {
  Matrix dx;
  Matrix dxl;
  float* da = nullptr;
  float* db = nullptr;
};
void linear_lora_gradients(const LinearShape& shape, ConstMatrix dy, ConstMatrix xl, ConstMatrix w,
                           const float* xa, const Lora& lora, const LoraGradients& gradients,
                           Compute compute = Compute::kAuto);

}  // namespace gavel

#pragma once
#include <cstdint>

#include "base/block_scales.h"
#include "base/dtype.h"

namespace gavel {

/** The type in which a product's operands are multiplied; sums are float32 in every case. The numbers are those of the
 * attribute `compute` of custom calls. */
enum class Compute : uint8_t {
  kBF16 = 1,  // float32 operands are rounded to bf16 first; float32 where the processor doesn't multiply bf16
  kF32 = 2,   // bf16 operands are widened first
};

/** A row-major matrix (or vector) of float32 or bf16 and its type; the shape is said elsewhere. */
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

/** A frozen weight [out, in]: numbers, or quantised, when `group` is not 0. Then `data` are codes, int8 or two in a uint8, the
 * first in its upper half: numbers of NF4 (base/nf4.h), or in blocks what base/block_scales.h says. Scales [out, in / group]
 * are float32 or bf16, one for each group of neighbours in a row; in blocks float16 [out, in / block, blocks.count()]. */
struct FrozenWeight : ConstMatrix {
  ConstMatrix scales;
  int64_t group = 0;
  /** Of scales in float16: what each block has. */
  BlockScales blocks;
  FrozenWeight() = default;
  FrozenWeight(ConstMatrix numbers) : ConstMatrix(numbers) {}  // NOLINT: numbers are a weight
  FrozenWeight(Matrix numbers) : ConstMatrix(numbers) {}       // NOLINT
  FrozenWeight(DType type, const void* at) : ConstMatrix(type, at) {}
  FrozenWeight(ConstMatrix codes, ConstMatrix its_scales, int64_t its_group, BlockScales its_blocks = {})
      : ConstMatrix(codes), scales(its_scales), group(its_group), blocks(its_blocks) {}
  bool in_blocks() const { return group != 0 && scales.dtype == DType::kF16; }
};

/** A linear layer takes [rows, in] to [rows, out], a row being a token; its weight is [out, in], as Hugging Face stores
 * it. There may be no rows. */
struct LinearShape {
  int64_t rows = 0;
  int64_t in = 0;
  int64_t out = 0;
};

/** y[rows, out] = x[rows, in] w[out, in]^T + bias[out], which may be null. Each array is bf16 or float32; throws Error
 * for other types. The weight is copied into panels (panels.h) for the length of the call: a
 * quantised one as the numbers that its codes mean, rounded to the type of the products. */
void linear_forward(const LinearShape& shape, ConstMatrix x, const FrozenWeight& w, ConstMatrix bias, Matrix y,
                    Compute compute);

/** dx[rows, in] = dy[rows, out] w[out, in]. */
void linear_input_gradient(const LinearShape& shape, ConstMatrix dy, const FrozenWeight& w, Matrix dx, Compute compute);

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
void linear_lora_forward(const LinearShape& shape, ConstMatrix x, ConstMatrix xl, const FrozenWeight& w,
                         ConstMatrix bias, const Lora& lora, Matrix y, float* xa, Compute compute);

/** Where the gradients of linear_lora_forward go:
 *   dx[rows, in]  = dy w, + scale (dy b) a when dxl is null, since then xl is x itself; null: not wanted
 *   dxl[rows, in] = scale (dy b) a, for an xl that dropout made of x; only beside dx
 *   da[rank, in]  = scale (dy b)^T xl
 *   db[out, rank] = scale dy^T xa */
struct LoraGradients {
  Matrix dx;
  Matrix dxl;
  float* da = nullptr;
  float* db = nullptr;
};
/** From dy[rows, out], the gradient of y, and what linear_lora_forward read and wrote. da and db are summed over parts of
 * the rows at the same time, and these sums added in the order of the rows. */
void linear_lora_gradients(const LinearShape& shape, ConstMatrix dy, ConstMatrix xl, const FrozenWeight& w,
                           const float* xa, const Lora& lora, const LoraGradients& gradients, Compute compute);

}  // namespace gavel

#include <algorithm>

#include "base/error.h"
#include "kernels/gemm.h"
#include "kernels/product.h"

namespace gavel {
namespace {

void check_lora(const Lora& lora) {
  if (lora.rank < 1 || lora.a == nullptr || lora.b == nullptr)
    fail("lora: rank {} or no matrices", lora.rank);
}

/** a in the product's type: itself, or rounded into `copy`. */
ConstMatrix in_type(DType type, const float* from, uint16_t* copy, int64_t count) {
  if (type == DType::kF32) return {DType::kF32, from};
  copy_block(DType::kF32, from, count, DType::kBF16, copy, count, 1, count);
  return {DType::kBF16, copy};
}

/** w[n, k] with extra[n, rank] * scale behind every row, in bf16. */
void append_columns(KernelCall& call, ConstMatrix w, const float* extra, float scale, int64_t n, int64_t k,
                    int64_t rank, uint16_t* to) {
  const int64_t step = 64;
  call.run((n + step - 1) / step, [&](int64_t task, int) {
    const int64_t row = task * step, rows = std::min(step, n - row);
    uint16_t* target = to + row * (k + rank);
    copy_block(w.dtype, element(w, row * k), k, DType::kBF16, target, k + rank, rows, k);
    copy_block(DType::kF32, extra + row * rank, rank, DType::kBF16, target + k, k + rank, rows, rank, scale);
  });
}

/** w[n, k] with extra[rank, k] under it, in bf16. */
void append_rows(KernelCall& call, ConstMatrix w, const float* extra, int64_t n, int64_t k, int64_t rank,
                 uint16_t* to) {
  const int64_t step = 64;
  call.run((n + rank + step - 1) / step, [&](int64_t task, int) {
    const int64_t row = task * step, end = std::min(n + rank, row + step);
    const int64_t middle = std::clamp(n, row, end);
    copy_block(w.dtype, element(w, row * k), k, DType::kBF16, to + row * k, k, middle - row, k);
    copy_block(DType::kF32, extra + (middle - n) * k, k, DType::kBF16, to + middle * k, k, end - middle, k);
  });
}

/** out[rank, n] = left[m, rank]^T right[m, n], in blocks of rows, one partial sum a part; the caller adds the
 * parts. Worker-local memory holds the block of left transposed and, where the types differ, of right. */
struct TransposedProduct {
  int64_t m, rank, n;
  const float* left;
  ConstMatrix right;
  DType type;
  float* partial;  // [parts, rank, n]

  void part(KernelCall& call, int worker, int64_t index, int64_t first, int64_t last) const {
    constexpr int64_t kRows = 512;
    const bool copy_right = right.dtype != type;
    const auto size = static_cast<int64_t>(byte_size(type));
    Carver plan(nullptr);
    plan.take<char>(rank * kRows * size);
    if (copy_right) plan.take<char>(kRows * n * size);
    Carver memory(call.local(worker, plan.used()));
    char* turned = memory.take<char>(rank * kRows * size);
    char* copied = copy_right ? memory.take<char>(kRows * n * size) : nullptr;
    float* out = partial + index * rank * n;
    for (int64_t row = first; row < last; row += kRows) {
      const int64_t rows = std::min(kRows, last - row);
      for (int64_t i = 0; i < rows; ++i) {
        const float* source = left + (row + i) * rank;
        for (int64_t r = 0; r < rank; ++r) {
          if (type == DType::kF32)
            reinterpret_cast<float*>(turned)[r * rows + i] = source[r];
          else
            reinterpret_cast<uint16_t*>(turned)[r * rows + i] = f32_to_bf16(source[r]);
        }
      }
      GemmOperand b{type, element(right, row * n), n};
      if (copy_right) {
        copy_block(right.dtype, b.data, n, type, copied, n, rows, n);
        b.data = copied;
      }
      gemm(rank, n, rows, {type, turned, rows}, b, DType::kF32, out, n, row > first);
    }
  }
};

}  // namespace

void linear_lora_forward(const LinearShape& shape, ConstMatrix x, ConstMatrix xl, ConstMatrix w,
                         ConstMatrix bias, const Lora& lora, Matrix y, float* xa, Compute compute) {
  check_linear(shape, {x.dtype, xl.dtype, w.dtype, y.dtype});
  check_lora(lora);
  const std::vector<float> bias_f32 = widened_vector(bias, shape.out);
  const DType type = product_type(compute, x.dtype, w.dtype);
  const auto [rows, in, out] = shape;
  const int64_t rank = lora.rank;
  KernelCall call;
  uint16_t *a_copy = nullptr, *w_copy = nullptr;
  float* right = nullptr;
  auto carve = [&, in = in, out = out](Carver carver) {
    if (type == DType::kBF16) {
      a_copy = carver.take<uint16_t>(rank * in);
      w_copy = carver.take<uint16_t>(out * (in + rank));
    } else {
      right = carver.take<float>(out * rank);
    }
    return carver.used();
  };
  carve(Carver(call.shared(carve(Carver(nullptr)))));

  const ConstMatrix a = in_type(type, lora.a, a_copy, rank * in);
  run_product(call, {.m = rows,
                     .n = rank,
                     .k = in,
                     .x = xl,
                     .w = a,
                     .w_transposed = true,
                     .y = {DType::kF32, xa},
                     .type = type});
  if (type == DType::kBF16)
    append_columns(call, w, lora.b, lora.scale, out, in, rank, w_copy);
  else
    copy_block(DType::kF32, lora.b, rank, DType::kF32, right, rank, out, rank, lora.scale);
  run_product(call, {.m = rows,
                     .n = out,
                     .k = in,
                     .x = x,
                     .w = type == DType::kBF16 ? ConstMatrix(DType::kBF16, w_copy) : w,
                     .w_transposed = true,
                     .bias = bias.data ? bias_f32.data() : nullptr,
                     .y = y,
                     .type = type,
                     .rank = rank,
                     .left = xa,
                     .right = right});
}

void linear_lora_gradients(const LinearShape& shape, ConstMatrix dy, ConstMatrix xl, ConstMatrix w,
                           const float* xa, const Lora& lora, const LoraGradients& gradients,
                           Compute compute) {
  check_linear(shape, {dy.dtype, xl.dtype, w.dtype});
  check_lora(lora);
  const DType type = product_type(compute, dy.dtype, w.dtype);
  const auto [rows, in, out] = shape;
  const int64_t rank = lora.rank;
  const bool fused = gradients.dx.data && !gradients.dxl.data;
  const bool need_u = gradients.dx.data || gradients.dxl.data || gradients.da;

  KernelCall call;
  // One part a thread, but none of so few rows that its sum costs more than it saves.
  const int64_t parts = std::clamp<int64_t>(rows / 256, 1, call.threads());
  const int64_t part_rows = (rows + parts - 1) / parts;
  uint16_t *a_copy = nullptr, *b_copy = nullptr, *w_copy = nullptr;
  float *u = nullptr, *b_scaled = nullptr, *da_parts = nullptr, *db_parts = nullptr;
  auto carve = [&, rows = rows, in = in, out = out](Carver carver) {
    u = carver.take<float>(rows * rank);
    da_parts = carver.take<float>(gradients.da ? parts * rank * in : 0);
    db_parts = carver.take<float>(gradients.db ? parts * rank * out : 0);
    b_scaled = carver.take<float>(out * rank);
    if (type == DType::kBF16) {
      b_copy = carver.take<uint16_t>(out * rank);
      if (gradients.dxl.data) a_copy = carver.take<uint16_t>(rank * in);
      if (fused) w_copy = carver.take<uint16_t>((out + rank) * in);
    }
    return carver.used();
  };
  carve(Carver(call.shared(carve(Carver(nullptr)))));

  if (need_u) {
    copy_block(DType::kF32, lora.b, rank, DType::kF32, b_scaled, rank, out, rank, lora.scale);
    run_product(call, {.m = rows,
                       .n = rank,
                       .k = out,
                       .x = dy,
                       .w = in_type(type, b_scaled, b_copy, out * rank),
                       .y = {DType::kF32, u},
                       .type = type});
  }
  if (gradients.dx.data) {
    Product p{.m = rows, .n = in, .k = out, .x = dy, .w = w, .y = gradients.dx, .type = type};
    if (fused) {
      p.rank = rank;
      p.left = u;
      p.right = lora.a;
      if (type == DType::kBF16) {
        append_rows(call, w, lora.a, out, in, rank, w_copy);
        p.w = ConstMatrix(DType::kBF16, w_copy);
      }
    }
    run_product(call, p);
  }
  if (gradients.dxl.data)
    run_product(call, {.m = rows,
                       .n = in,
                       .k = rank,
                       .x = {DType::kF32, u},
                       .w = in_type(type, lora.a, a_copy, rank * in),
                       .y = gradients.dxl,
                       .type = type});

  const TransposedProduct da{rows, rank, in, u, xl, type, da_parts};
  const TransposedProduct db{rows, rank, out, xa, dy, type, db_parts};
  if ((gradients.da || gradients.db) && rows > 0) {
    call.run(2 * parts, [&, rows = rows](int64_t task, int worker) {
      const int64_t index = task / 2, first = index * part_rows, last = std::min(rows, first + part_rows);
      if (task % 2 == 0 && gradients.da) da.part(call, worker, index, first, last);
      if (task % 2 == 1 && gradients.db) db.part(call, worker, index, first, last);
    });
  }
  // Rows of a share of the parts: an empty part (rounding up) and a batch without rows add nothing.
  const int64_t used = rows > 0 ? (rows + part_rows - 1) / part_rows : 0;
  if (gradients.da)
    for (int64_t i = 0; i < rank * in; ++i) {
      float sum = 0;
      for (int64_t part = 0; part < used; ++part) sum += da_parts[part * rank * in + i];
      gradients.da[i] = sum;
    }
  if (gradients.db)
    for (int64_t o = 0; o < out; ++o)
      for (int64_t r = 0; r < rank; ++r) {
        float sum = 0;
        for (int64_t part = 0; part < used; ++part) sum += db_parts[(part * rank + r) * out + o];
        gradients.db[o * rank + r] = sum * lora.scale;
      }
}

}  // namespace gavel

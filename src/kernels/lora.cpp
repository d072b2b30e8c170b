#include <algorithm>
#include <vector>

#include "base/error.h"
#include "kernels/column_product.h"
#include "kernels/gemm.h"
#include "kernels/packed_weight.h"
#include "kernels/product.h"

namespace gavel {
namespace {

void check_lora(const Lora& lora) {
  if (lora.rank < 1 || lora.a == nullptr || lora.b == nullptr) fail("lora: rank {} or no matrices", lora.rank);
}

/** A LoRA pair with its rank filled up by zeros to an even one where products of bf16 need that. */
struct EvenLora {
  std::vector<float> a_copy, b_copy;
  int64_t rank;
  ConstMatrix a, b;  // [rank, in], [out, rank]

  EvenLora(DType type, const LinearShape& s, const Lora& lora)
      : rank(type == DType::kBF16 ? (lora.rank + 1) / 2 * 2 : lora.rank),
        a(DType::kF32, lora.a),
        b(DType::kF32, lora.b) {
    if (rank == lora.rank) return;
    a_copy.assign(lora.a, lora.a + lora.rank * s.in);
    a_copy.resize(static_cast<size_t>(rank * s.in));
    b_copy.resize(static_cast<size_t>(s.out * rank));
    copy_block(DType::kF32, lora.b, lora.rank, DType::kF32, b_copy.data(), rank, s.out, lora.rank);
    a.data = a_copy.data();
    b.data = b_copy.data();
  }
};

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

/** linear_lora_forward by columns: x has the type that is multiplied. */
void forward_by_columns(KernelCall& call, DType type, const LinearShape& s, const void* x, ConstMatrix xl,
                        const FrozenWeight& w, const float* bias, const EvenLora& even, const Lora& lora, Matrix y,
                        float* xa) {
  const LowRankWeight a(type, s.in, even.rank, {even.a, true});
  char* products = static_cast<char*>(call.shared(static_cast<size_t>(s.rows * even.rank) * byte_size(type)));
  const RowBlocks blocks(type, s.rows, call.threads());
  call.run(blocks.count(), [&](int64_t task, int worker) {
    const auto [first, some] = blocks[task];
    char* xl_copy = nullptr;
    float* sums = nullptr;
    auto carve = [&](Carver carver) {
      xl_copy = carver.take<char>(copy_bytes(type, xl.dtype, some * s.in));
      sums = carver.take<float>(some * even.rank);
      return carver.used();
    };
    carve(Carver(call.local(worker, carve(Carver(nullptr)))));
    a.multiply(some, as_type(type, {xl.dtype, element(xl, first * s.in)}, some * s.in, xl_copy), sums);
    copy_block(DType::kF32, sums, even.rank, DType::kF32, xa + first * lora.rank, lora.rank, some, lora.rank);
    copy_block(DType::kF32, sums, even.rank, type, element(Matrix{type, products}, first * even.rank), even.rank, some,
               even.rank);
  });
  const ColumnTerm terms[] = {{s.in, x, {w, true}}, {even.rank, products, {even.b, true, lora.scale}}};
  multiply_by_columns(call, type, s.rows, s.out, terms, y, bias);
}

}  // namespace

void linear_lora_forward(const LinearShape& shape, ConstMatrix x, ConstMatrix xl, const FrozenWeight& w,
                         ConstMatrix bias, const Lora& lora, Matrix y, float* xa, Compute compute) {
  check_linear(shape, {x.dtype, xl.dtype, y.dtype});
  check_weight(w, shape.in);
  check_lora(lora);
  if (shape.rows == 0) return;
  const std::vector<float> bias_f32 = widened_vector(bias, shape.out);
  const auto [rows, in, out] = shape;
  const DType type = product_type(compute, in);
  const EvenLora even(type, shape, lora);
  KernelCall call;
  if (x.dtype == type && goes_by_columns(type, rows, in, out, call.threads()))
    return forward_by_columns(call, type, shape, x.data, xl, w, bias.data ? bias_f32.data() : nullptr, even, lora, y,
                              xa);
  const LowRankWeight a(type, in, even.rank, {even.a, true});
  PackedWeight weight(type, in, out), b(type, even.rank, out);
  const Packing packings[] = {{&weight, {w, true}}, {&b, {even.b, true, lora.scale}}};
  pack_weights(call, packings);
  const RowBlocks blocks(type, rows, call.threads());
  call.run(blocks.count(), [&, in = in, out = out](int64_t task, int worker) {
    const auto [first, some] = blocks[task];
    char *x_copy = nullptr, *xl_copy = nullptr, *xa_copy = nullptr;
    float* sums = nullptr;
    auto carve = [&](Carver carver) {
      x_copy = carver.take<char>(copy_bytes(type, x.dtype, some * in));
      xl_copy = carver.take<char>(copy_bytes(type, xl.dtype, some * in));
      xa_copy = carver.take<char>(copy_bytes(type, DType::kF32, some * even.rank));
      sums = carver.take<float>(some * even.rank);
      return carver.used();
    };
    carve(Carver(call.local(worker, carve(Carver(nullptr)))));
    a.multiply(some, as_type(type, {xl.dtype, element(xl, first * in)}, some * in, xl_copy), sums);
    copy_block(DType::kF32, sums, even.rank, DType::kF32, xa + first * lora.rank, lora.rank, some, lora.rank);
    const PanelTerm terms[] = {weight.term(as_type(type, {x.dtype, element(x, first * in)}, some * in, x_copy), in),
                               b.term(as_type(type, {DType::kF32, sums}, some * even.rank, xa_copy), even.rank)};
    panel_product(type, some, out, terms,
                  {{y.dtype, element(y, first * out)}, out, bias.data ? bias_f32.data() : nullptr, {}});
  });
}

void linear_lora_gradients(const LinearShape& shape, ConstMatrix dy, ConstMatrix xl, const FrozenWeight& w,
                           const float* xa, const Lora& lora, const LoraGradients& gradients, Compute compute) {
  check_linear(shape, {dy.dtype, xl.dtype});
  check_weight(w, shape.in);
  check_lora(lora);
  const auto [rows, in, out] = shape;
  const DType type = product_type(compute, out);
  const EvenLora even(type, shape, lora);
  if (gradients.da == nullptr || gradients.db == nullptr || (gradients.dxl.data && !gradients.dx.data))
    fail("lora: expected da and db, and dxl only beside dx");
  const bool fused = gradients.dx.data && !gradients.dxl.data;

  KernelCall call;
  // One part a thread, but none of so few rows that its sum costs more than it saves.
  const int64_t parts = std::clamp<int64_t>(rows / 256, 1, call.threads());
  const int64_t part_rows = (rows + parts - 1) / parts;
  const LowRankWeight b(type, out, even.rank, {even.b, false, lora.scale});
  PackedWeight weight(type, out, in), a(type, even.rank, in);
  std::vector<Packing> packings;  // none is read when there is no row
  if (rows > 0 && gradients.dx.data) packings = {{&weight, {w, false}}, {&a, {even.a, false}}};
  float *u = nullptr, *da_parts = nullptr, *db_parts = nullptr;
  auto carve = [&, rows = rows, in = in, out = out](Carver carver) {
    u = carver.take<float>(rows * even.rank);
    da_parts = carver.take<float>(parts * even.rank * in);
    db_parts = carver.take<float>(parts * lora.rank * out);
    return carver.used();
  };
  carve(Carver(pack_weights(call, packings, carve(Carver(nullptr)))));

  const RowBlocks blocks(type, rows, call.threads());
  call.run(blocks.count(), [&, in = in, out = out](int64_t task, int worker) {
    const auto [first, some] = blocks[task];
    char *dy_copy = nullptr, *u_copy = nullptr;
    auto carve_block = [&](Carver carver) {
      dy_copy = carver.take<char>(copy_bytes(type, dy.dtype, some * out));
      u_copy = carver.take<char>(copy_bytes(type, DType::kF32, some * even.rank));
      return carver.used();
    };
    carve_block(Carver(call.local(worker, carve_block(Carver(nullptr)))));
    const void* dy_typed = as_type(type, {dy.dtype, element(dy, first * out)}, some * out, dy_copy);
    float* u_block = u + first * even.rank;
    b.multiply(some, dy_typed, u_block);
    if (!gradients.dx.data) return;
    const void* u_typed = as_type(type, {DType::kF32, u_block}, some * even.rank, u_copy);
    const PanelTerm terms[] = {weight.term(dy_typed, out), a.term(u_typed, even.rank)};
    panel_product(type, some, in, std::span(terms, fused ? 2 : 1),
                  {{gradients.dx.dtype, element(gradients.dx, first * in)}, in, nullptr, {}});
    if (!fused) a.multiply(some, u_typed, {gradients.dxl.dtype, element(gradients.dxl, first * in)});
  });

  const int64_t rank = lora.rank;
  const TransposedProduct da{rows, even.rank, in, u, xl, type, da_parts};
  const TransposedProduct db{rows, rank, out, xa, dy, type, db_parts};
  if (rows > 0) {
    call.run(2 * parts, [&, rows = rows](int64_t task, int worker) {
      const int64_t index = task / 2, first = index * part_rows, last = std::min(rows, first + part_rows);
      (task % 2 == 0 ? da : db).part(call, worker, index, first, last);
    });
  }
  // Rows of a share of the parts: an empty part (rounding up) and a batch without rows add nothing.
  const int64_t used = rows > 0 ? (rows + part_rows - 1) / part_rows : 0;
  for (int64_t i = 0; i < rank * in; ++i) {
    float sum = 0;
    for (int64_t part = 0; part < used; ++part) sum += da_parts[part * even.rank * in + i];
    gradients.da[i] = sum;
  }
  for (int64_t o = 0; o < out; ++o)
    for (int64_t r = 0; r < rank; ++r) {
      float sum = 0;
      for (int64_t part = 0; part < used; ++part) sum += db_parts[(part * rank + r) * out + o];
      gradients.db[o * rank + r] = sum * lora.scale;
    }
}

}  // namespace gavel

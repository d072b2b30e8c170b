#include "kernels/linear.h"

#include <algorithm>
#include <vector>

#include "kernels/column_product.h"
#include "kernels/packed_weight.h"
#include "kernels/product.h"

namespace gavel {
namespace {

/** y[rows, n] = x[rows, k] b (+ bias), by columns or by blocks of rows. */
void product(int64_t rows, int64_t k, int64_t n, ConstMatrix x, const PanelSource& b, ConstMatrix bias, Matrix y,
             Compute compute) {
  if (rows == 0) return;
  const std::vector<float> bias_f32 = widened_vector(bias, n);
  const DType type = product_type(compute, k);
  KernelCall call;
  if (b.transposed && x.dtype == type && goes_by_columns(type, rows, k, n, call.threads())) {
    const ColumnTerm term{k, x.data, b};
    return multiply_by_columns(call, type, rows, n, {&term, 1}, y, bias.data ? bias_f32.data() : nullptr);
  }
  PackedWeight weight(type, k, n);
  const Packing packing{&weight, b};
  pack_weights(call, {&packing, 1});
  const RowBlocks blocks(type, rows, call.threads());
  call.run(blocks.count(), [&](int64_t task, int worker) {
    const auto [first, some] = blocks[task];
    void* copy = call.local(worker, static_cast<size_t>(copy_bytes(type, x.dtype, some * k)));
    const void* a = as_type(type, {x.dtype, element(x, first * k)}, some * k, copy);
    weight.multiply(some, a, {y.dtype, element(y, first * n)}, bias.data ? bias_f32.data() : nullptr);
  });
}

}  // namespace

void linear_forward(const LinearShape& shape, ConstMatrix x, const FrozenWeight& w, ConstMatrix bias, Matrix y,
                    Compute compute) {
  check_linear(shape, {x.dtype, y.dtype});
  check_weight(w, shape.in);
  product(shape.rows, shape.in, shape.out, x, {w, true}, bias, y, compute);
}

void linear_input_gradient(const LinearShape& shape, ConstMatrix dy, const FrozenWeight& w, Matrix dx,
                           Compute compute) {
  check_linear(shape, {dy.dtype, dx.dtype});
  check_weight(w, shape.in);
  product(shape.rows, shape.out, shape.in, dy, {w, false}, {}, dx, compute);
}

}  // namespace gavel

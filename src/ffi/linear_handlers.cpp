#include "base/error.h"
#include "ffi/call.h"
#include "kernels/linear.h"

namespace gavel {
namespace {

ConstMatrix input(const FfiArray& array) {
  return {array.dtype, array.data};
}
Matrix output(const FfiArray& array) {
  return {array.dtype, array.data};
}

/** The leading dimensions of `shape` with another last one. */
Shape with_last(Shape shape, int64_t last) {
  shape.back() = last;
  return shape;
}

int64_t rows_of(const Shape& shape) {
  return num_elements(Shape(shape.begin(), shape.end() - 1));
}

struct Weight {
  FrozenWeight matrix;
  int64_t out, in;
};

/** Operand `index`, behind whose codes, of a quantised weight, its scales stand. */
Weight weight_of(const FfiCall& call, size_t index, bool quantised) {
  const FfiArray& w = call.operand(index);
  if (w.shape.size() != 2) fail("operand {}: expected a weight [N, K], found {}", index, to_string(w.shape));
  if (quantised) {
    const FrozenWeight weight = quantised_weight(call, index, index + 1);
    return {weight, w.shape[0], inputs_of_codes(w)};
  }
  return {input(w), w.shape[0], w.shape[1]};
}

/** The array at `index`, of at least one dimension, the last being `last`. */
const FfiArray& rows_operand(const FfiCall& call, size_t index, int64_t last) {
  const FfiArray& array = call.operand(index);
  if (array.shape.empty() || array.shape.back() != last)
    fail("operand {}: expected rows of {}, found shape {}", index, last, to_string(array.shape));
  return array;
}

ConstMatrix bias_of(const FfiCall& call, size_t index, const Weight& w) {
  if (call.operand_count() == index) return {};
  return input(call.operand(index, {w.out}));
}

// Of each function below there are two: for weights that are numbers, and for quantised ones, which have one operand more.

template <bool kQuantised>
void linear(const FfiCall& call) {
  constexpr size_t kMore = kQuantised ? 1 : 0;
  call.expect(2 + kMore, 3 + kMore, 1);
  const Weight w = weight_of(call, 1, kQuantised);
  const FfiArray& x = rows_operand(call, 0, w.in);
  linear_forward({rows_of(x.shape), w.in, w.out}, input(x), w.matrix, bias_of(call, 2 + kMore, w),
                 output(call.result(0, with_last(x.shape, w.out))), compute_of(call));
}

template <bool kQuantised>
void linear_dx(const FfiCall& call) {
  constexpr size_t kMore = kQuantised ? 1 : 0;
  call.expect(2 + kMore, 2 + kMore, 1);
  const Weight w = weight_of(call, 1, kQuantised);
  const FfiArray& dy = rows_operand(call, 0, w.out);
  linear_input_gradient({rows_of(dy.shape), w.in, w.out}, input(dy), w.matrix,
                        output(call.result(0, with_last(dy.shape, w.in))), compute_of(call));
}

Lora lora_of(const FfiCall& call, size_t index, const Weight& w) {
  const FfiArray& a = call.operand(index);
  if (a.shape.size() != 2) fail("operand {}: expected lora_A [r, {}], found {}", index, w.in, to_string(a.shape));
  const int64_t rank = a.shape[0];
  call.operand(index, {rank, w.in}, DType::kF32);
  return {rank, call.number("scale"), a.as<const float>(),
          call.operand(index + 1, {w.out, rank}, DType::kF32).as<const float>()};
}

template <bool kQuantised>
void linear_lora(const FfiCall& call) {
  constexpr size_t kMore = kQuantised ? 1 : 0;
  call.expect(5 + kMore, 6 + kMore, 2);
  const Weight w = weight_of(call, 2, kQuantised);
  const FfiArray& x = rows_operand(call, 0, w.in);
  const FfiArray& xl = call.operand(1, x.shape, x.dtype);
  const Lora lora = lora_of(call, 3 + kMore, w);
  linear_lora_forward({rows_of(x.shape), w.in, w.out}, input(x), input(xl), w.matrix, bias_of(call, 5 + kMore, w), lora,
                      output(call.result(0, with_last(x.shape, w.out))),
                      call.result(1, with_last(x.shape, lora.rank), DType::kF32).as<float>(), compute_of(call));
}

/** dx and dxl, as many of them as there are results before da and db. */
template <int kInputGradients, bool kQuantised>
void linear_lora_grad(const FfiCall& call) {
  constexpr size_t kMore = kQuantised ? 1 : 0;
  call.expect(6 + kMore, 6 + kMore, kInputGradients + 2);
  const Weight w = weight_of(call, 2, kQuantised);
  const FfiArray& dy = rows_operand(call, 0, w.out);
  const Shape in_shape = with_last(dy.shape, w.in);
  const FfiArray& x = call.operand(1, in_shape, dy.dtype);
  const Lora lora = lora_of(call, 4 + kMore, w);
  const FfiArray& xa = call.operand(3 + kMore, with_last(dy.shape, lora.rank), DType::kF32);
  LoraGradients gradients;
  if (kInputGradients > 0) gradients.dx = output(call.result(0, in_shape));
  if (kInputGradients > 1) gradients.dxl = output(call.result(1, in_shape));
  gradients.da = call.result(kInputGradients, {lora.rank, w.in}, DType::kF32).as<float>();
  gradients.db = call.result(kInputGradients + 1, {w.out, lora.rank}, DType::kF32).as<float>();
  linear_lora_gradients({rows_of(dy.shape), w.in, w.out}, input(dy), input(x), w.matrix, xa.as<const float>(), lora,
                        gradients, compute_of(call));
}

}  // namespace

const FfiKernel linear_kernels[kLinearKernels] = {
    {"gavel_linear", linear<false>},
    {"gavel_linear_dx", linear_dx<false>},
    {"gavel_linear_lora", linear_lora<false>},
    {"gavel_linear_lora_grad", linear_lora_grad<1, false>},
    {"gavel_linear_lora_grad_split", linear_lora_grad<2, false>},
    {"gavel_linear_lora_grad_weights", linear_lora_grad<0, false>},
    {"gavel_quantised_linear", linear<true>},
    {"gavel_quantised_linear_dx", linear_dx<true>},
    {"gavel_quantised_linear_lora", linear_lora<true>},
    {"gavel_quantised_linear_lora_grad", linear_lora_grad<1, true>},
    {"gavel_quantised_linear_lora_grad_split", linear_lora_grad<2, true>},
    {"gavel_quantised_linear_lora_grad_weights", linear_lora_grad<0, true>},
};

}  // namespace gavel

#include <cmath>
#include <numbers>

#include "graph/ops.h"

namespace gavel {

namespace {

std::vector<int64_t> leading(const Value& a) {
  std::vector<int64_t> dimensions;
  for (int64_t d = 0; d + 1 < a.rank(); ++d) dimensions.push_back(d);
  return dimensions;
}

Value max_last_repeated(const Value& a) {
  return broadcast(reduce_max(a, {a.rank() - 1}), a.shape(), leading(a));
}

/** Sum over the last dimension, repeated along it: the shape is that of `a`. */
Value sum_last_repeated(const Value& a) {
  return broadcast(reduce_sum(a, {a.rank() - 1}), a.shape(), leading(a));
}

}  // namespace

Value silu(const Value& a) {
  return mul(a, logistic(a));
}

Value gelu_tanh(const Value& a) {
  const double root = std::sqrt(2 / std::numbers::pi);
  Value inner = mul(add(a, mul(mul(mul(a, a), a), 0.044715)), root);
  return mul(mul(a, add(tanh(inner), 1)), 0.5);
}

Value softmax(const Value& a) {
  Value e = exp(sub(a, stop_gradient(max_last_repeated(a))));
  return div(e, sum_last_repeated(e));
}

Value log_softmax(const Value& a) {
  Value shifted = sub(a, stop_gradient(max_last_repeated(a)));
  Value sum = reduce_sum(exp(shifted), {a.rank() - 1});
  return sub(shifted, broadcast(log(sum), a.shape(), leading(a)));
}

Value broadcast_last(const Value& vector, const Shape& shape) {
  return broadcast(vector, shape, {static_cast<int64_t>(shape.size()) - 1});
}

DType wide_type(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

Value rms_norm(const Value& x, const Value& weight, double eps) {
  if (weight.rank() != 1 || x.rank() < 1 || weight.dim(0) != x.dim(-1))
    fail("rms_norm: x is {}, weight is {}", to_string(x.type()), to_string(weight.type()));
  Value wide = convert(x, wide_type(x.dtype()));
  Value mean = mul(reduce_sum(mul(wide, wide), {x.rank() - 1}), 1.0 / static_cast<double>(x.dim(-1)));
  Value scale = broadcast(rsqrt(add(mean, eps)), x.shape(), leading(x));
  Value scaled = mul(mul(wide, scale), broadcast_last(convert(weight, wide.dtype()), x.shape()));
  return convert(scaled, x.dtype());
}

Value matmul_nt(const Value& x, const Value& weight) {
  if (weight.rank() != 2 || x.rank() < 1 || weight.dim(1) != x.dim(-1))
    fail("matmul_nt: x is {}, weight is {}", to_string(x.type()), to_string(weight.type()));
  return dot(x, weight, {{}, {}, {x.rank() - 1}, {1}});
}

}  // namespace gavel

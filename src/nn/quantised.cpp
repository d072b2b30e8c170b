#include "nn/quantised.h"

#include "base/nf4.h"
#include "graph/ops.h"

namespace gavel {

namespace {

/** The numbers that NF4's codes stand for, float32 [out, in]. */
Value nf4_numbers(const Value& codes) {
  const Shape one = {codes.dim(0), codes.dim(1), 1};
  Value first = shift_right_logical(codes, full_like(codes, 4)), second = bit_and(codes, full_like(codes, 15));
  Value pairs = concatenate({reshape(first, one), reshape(second, one)}, 2);
  Value table = constant(codes.graph(), DType::kF32, {kNf4Values.begin(), kNf4Values.end()});
  return take(table, convert(reshape(pairs, {codes.dim(0), 2 * codes.dim(1)}), DType::kI32));
}

}  // namespace

Value dequantised(const Value& codes, const Value& scales, DType type) {
  // int8 is exact in bfloat16, and with scales of that type the product in bfloat16 is the one in float32, rounded.
  const bool narrow = type == DType::kBF16 && codes.dtype() == DType::kI8 && scales.dtype() == DType::kBF16;
  const DType within = narrow ? DType::kBF16 : DType::kF32;
  Value numbers = codes.dtype() == DType::kI8 ? convert(codes, within) : nf4_numbers(codes);
  const Shape whole = numbers.shape();
  if (scales.rank() != 2 || scales.dim(0) != whole[0] || whole[1] % scales.dim(1) != 0)
    fail("dequantised: codes are {}, scales are {}", to_string(codes.type()), to_string(scales.type()));
  const Shape groups = {whole[0], scales.dim(1), whole[1] / scales.dim(1)};
  Value factors = broadcast(convert(scales, within), groups, {0, 1});
  return convert(reshape(mul(reshape(numbers, groups), factors), whole), type);
}

Value weight_numbers(const Value& weight, const Value& scales, DType type) {
  return scales ? dequantised(weight, scales, type) : convert(weight, type);
}

}  // namespace gavel

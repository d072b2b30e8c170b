#include "nn/quantised.h"

#include "base/block_scales.h"
#include "base/nf4.h"
#include "graph/ops.h"

namespace gavel {

namespace {

/** Codes of four bits by themselves, ui8 [out, in] of [out, in / 2]. */
Value each_of_two(const Value& codes) {
  const Shape one = {codes.dim(0), codes.dim(1), 1};
  Value first = shift_right_logical(codes, full_like(codes, 4)), second = bit_and(codes, full_like(codes, 15));
  Value pairs = concatenate({reshape(first, one), reshape(second, one)}, 2);
  return reshape(pairs, {codes.dim(0), 2 * codes.dim(1)});
}

/** The numbers that NF4's codes stand for, float32 [out, in]. */
Value nf4_numbers(const Value& codes) {
  Value table = constant(codes.graph(), DType::kF32, {kNf4Values.begin(), kNf4Values.end()});
  return take(table, convert(each_of_two(codes), DType::kI32));
}

/** Whether codes [out, in] and scales [out, in / unit, …] belong together. */
bool fit(const Value& codes, const Value& scales) {
  const int64_t in = codes.dim(1) * (codes.dtype() == DType::kI8 ? 1 : 2);
  return scales.dim(0) == codes.dim(0) && scales.dim(1) > 0 && in % scales.dim(1) == 0;
}

[[noreturn]] void do_not_fit(const Value& codes, const Value& scales) {
  fail("dequantised: codes are {}, scales are {}", to_string(codes.type()), to_string(scales.type()));
}

/** Of weights in blocks (base/block_scales.h). */
Value dequantised_blocks(const Value& codes, const Value& scales, DType type) {
  const std::optional<BlockScales> found = BlockScales::of_count(scales.dim(2));
  if (!found || !fit(codes, scales)) do_not_fit(codes, scales);
  const BlockScales& blocks = *found;
  const int64_t out = codes.dim(0), count = scales.dim(1);
  Value numbers;
  if (codes.dtype() == DType::kI8)
    numbers = convert(codes, DType::kF32);
  else if (numbers = convert(each_of_two(codes), DType::kF32); !blocks.minima)
    numbers = add(numbers, -static_cast<double>(kSignedCodesAbove));
  const int64_t in = numbers.dim(1), groups = count * blocks.groups;
  const Shape grouped = {out, groups, in / groups};
  const Value wide = convert(scales, DType::kF32);
  // From number `first` of each block on, as float32 [out, groups, in / groups].
  auto of_groups = [&](int64_t first) {
    Value factor = reshape(slice_dim(wide, 2, first, first + 1), {out, count});
    if (blocks.groups > 1) {
      Value each = slice_dim(wide, 2, first + 1, first + blocks.of_each());
      factor = reshape(mul(each, broadcast(factor, each.shape(), {0, 1})), {out, groups});
    }
    return broadcast(factor, grouped, {0, 1});
  };
  numbers = mul(reshape(numbers, grouped), of_groups(0));
  if (blocks.minima) numbers = sub(numbers, of_groups(blocks.of_each()));
  return convert(reshape(numbers, {out, in}), type);
}

}  // namespace

Value dequantised(const Value& codes, const Value& scales, DType type) {
  if (scales.rank() == 3) return dequantised_blocks(codes, scales, type);
  // int8 is exact in bfloat16, and with scales of that type the product in bfloat16 is the one in float32, rounded.
  const bool narrow = type == DType::kBF16 && codes.dtype() == DType::kI8 && scales.dtype() == DType::kBF16;
  const DType within = narrow ? DType::kBF16 : DType::kF32;
  if (scales.rank() != 2 || !fit(codes, scales)) do_not_fit(codes, scales);
  Value numbers = codes.dtype() == DType::kI8 ? convert(codes, within) : nf4_numbers(codes);
  const Shape whole = numbers.shape();
  const Shape groups = {whole[0], scales.dim(1), whole[1] / scales.dim(1)};
  Value factors = broadcast(convert(scales, within), groups, {0, 1});
  return convert(reshape(mul(reshape(numbers, groups), factors), whole), type);
}

Value weight_numbers(const Value& weight, const Value& scales, DType type) {
  return scales ? dequantised(weight, scales, type) : convert(weight, type);
}

}  // namespace gavel

#include "io/quantise.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/nf4.h"
#include "base/parallel.h"

namespace gavel {

namespace {

constexpr float kSmallestNormal = 0x1p-126f;
constexpr size_t kRowsAtOnce = 16;

/** The least bfloat16 that is not below a positive number, as float32. */
float rounded_up_to_bf16(float value) {
  return std::bit_cast<float>((std::bit_cast<uint32_t>(value) + 0xffffu) & 0xffff0000u);
}

float largest_magnitude(const float* values, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(values[i]));
  return largest;
}

/** Rounds to nearest, ties to even, what is within ±2^22: the sum with 1.5 * 2^23 has no place for fractions. */
float rounded(float value) {
  constexpr float kNoFractions = 12582912.0f;
  return (value + kNoFractions) - kNoFractions;
}

float int8_group(const float* from, int64_t count, DType scales_type, int8_t* codes) {
  float scale = largest_magnitude(from, count) / 127.0f;
  if (scale < kSmallestNormal) scale = 0;
  if (scales_type == DType::kBF16) scale = rounded_up_to_bf16(scale);
  if (scale == 0) {
    std::fill_n(codes, count, int8_t{0});
    return 0;
  }
  for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<int8_t>(static_cast<int32_t>(rounded(from[i] / scale)));
  return scale;
}

/** Between each number of kNf4Values and the next. */
constexpr std::array<float, 15> nf4_thresholds() {
  std::array<float, 15> between{};
  for (size_t i = 0; i < between.size(); ++i) between[i] = (kNf4Values[i] + kNf4Values[i + 1]) / 2;
  return between;
}

float nf4_group(const float* from, int64_t count, uint8_t* codes) {
  constexpr std::array<float, 15> kBetween = nf4_thresholds();
  constexpr uint8_t kZero = 7;  // kNf4Values[7]
  float scale = largest_magnitude(from, count);
  if (scale < kSmallestNormal) scale = 0;
  const float inverse = scale == 0 ? 0 : 1 / scale;
  auto code = [&](float value) {
    const float share = value * inverse;
    int above = 0;  // without a branch, which the compiler makes vectors of
    for (float between : kBetween) above += share > between ? 1 : 0;
    return static_cast<uint8_t>(above);
  };
  for (int64_t i = 0; i < count; i += 2)
    codes[i / 2] = scale == 0 ? static_cast<uint8_t>(kZero << 4 | kZero)
                              : static_cast<uint8_t>(code(from[i]) << 4 | code(from[i + 1]));
  return scale;
}

void check(const Shape& shape, const Quantisation& how) {
  if (how.block != 0) fail("quantise: a weight in blocks is taken from a file that has them");
  if (shape.size() != 2 || how.group < 2 || how.group % 2 != 0 || shape[1] % how.group != 0)
    fail("quantise: a weight of shape {} in groups of {}", to_string(shape), how.group);
}

}  // namespace

QuantisedWeight quantise(const HostTensor& weight, const Quantisation& how) {
  check(weight.shape(), how);
  const int64_t out = weight.shape()[0], in = weight.shape()[1], groups = in / how.group;
  QuantisedWeight held{HostTensor(how.codes_type(), {out, in / how.codes_in_a_byte()}),
                       HostTensor(how.scales_type(), {out, groups})};
  const float* from = weight.as<float>().data();
  auto* codes = static_cast<uint8_t*>(held.codes.mutable_data());
  void* scales = held.scales.mutable_data();
  parallel_for(static_cast<size_t>(out), kRowsAtOnce, 0, [&](size_t first, size_t last) {
    for (int64_t at = static_cast<int64_t>(first) * groups; at < static_cast<int64_t>(last) * groups; ++at) {
      const float* group = from + at * how.group;
      uint8_t* to = codes + at * how.group / how.codes_in_a_byte();
      const float scale = how.codes == Quantisation::Codes::kInt8
                              ? int8_group(group, how.group, how.scales_type(), reinterpret_cast<int8_t*>(to))
                              : nf4_group(group, how.group, to);
      if (how.scales_type() == DType::kBF16)
        static_cast<uint16_t*>(scales)[at] = static_cast<uint16_t>(std::bit_cast<uint32_t>(scale) >> 16);
      else
        static_cast<float*>(scales)[at] = scale;
    }
  });
  return held;
}

namespace {

/** The numbers of weights in blocks (base/block_scales.h). */
HostTensor dequantise_blocks(const QuantisedWeight& weight, const Quantisation& how) {
  const Shape shape = {weight.codes.shape().at(0), weight.codes.shape().at(1) * how.codes_in_a_byte()};
  const BlockScales scales = how.block_scales();
  if (weight.scales.shape() != Shape{shape[0], shape[1] / how.block, scales.count()} || shape[1] % how.block != 0)
    fail("dequantise: scales of shape {} for a weight of shape {} in blocks of {}", to_string(weight.scales.shape()),
         to_string(shape), how.block);
  const HostTensor wide_scales = weight.scales.to(DType::kF32);
  HostTensor out(DType::kF32, shape);
  const float* all_scales = wide_scales.as<float>().data();
  const auto* codes = static_cast<const uint8_t*>(weight.codes.data());
  float* to = out.as_mutable<float>().data();
  const int below = how.codes == Quantisation::Codes::kInt4 ? kSignedCodesAbove : 0;
  parallel_for(static_cast<size_t>(shape[0]), kRowsAtOnce, 0, [&](size_t first, size_t last) {
    const auto begin = static_cast<int64_t>(first) * shape[1], end = static_cast<int64_t>(last) * shape[1];
    for (int64_t at = begin; at < end; at += how.group) {
      const float* of_block = all_scales + at / how.block * scales.count();
      const int64_t group = at % how.block / how.group;
      auto scale_of = [&](const float* each) { return scales.groups == 1 ? each[0] : each[0] * each[1 + group]; };
      const float factor = scale_of(of_block);
      const float minimum = scales.minima ? scale_of(of_block + scales.of_each()) : 0;
      for (int64_t i = at; i < at + how.group; ++i) {
        const int code = how.codes == Quantisation::Codes::kInt8 ? static_cast<int8_t>(codes[i])
                                                                 : (i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15);
        to[i] = factor * static_cast<float>(code - below) - minimum;  // the product is exact
      }
    }
  });
  return out;
}

}  // namespace

HostTensor dequantise(const QuantisedWeight& weight, const Quantisation& how) {
  if (how.block != 0) return dequantise_blocks(weight, how);
  const Shape shape = {weight.codes.shape().at(0), weight.codes.shape().at(1) * how.codes_in_a_byte()};
  check(shape, how);
  if (weight.scales.shape() != Shape{shape[0], shape[1] / how.group})
    fail("dequantise: scales of shape {} for a weight of shape {} in groups of {}", to_string(weight.scales.shape()),
         to_string(shape), how.group);
  const HostTensor wide_scales = weight.scales.to(DType::kF32);
  HostTensor out(DType::kF32, shape);
  const float* scales = wide_scales.as<float>().data();
  const auto* codes = static_cast<const uint8_t*>(weight.codes.data());
  float* to = out.as_mutable<float>().data();
  parallel_for(static_cast<size_t>(shape[0]), kRowsAtOnce, 0, [&](size_t first, size_t last) {
    const auto begin = static_cast<int64_t>(first) * shape[1], end = static_cast<int64_t>(last) * shape[1];
    for (int64_t i = begin; i < end; ++i) {
      const float scale = scales[i / how.group];
      if (how.codes == Quantisation::Codes::kInt8)
        to[i] = static_cast<float>(static_cast<int8_t>(codes[i])) * scale;
      else
        to[i] = kNf4Values[i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15] * scale;
    }
  });
  return out;
}

}  // namespace gavel

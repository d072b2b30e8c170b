#pragma once
#include <bit>
#include <cstdint>

namespace gavel {

/** The largest finite number of IEEE half precision. */
inline constexpr float kLargestHalf = 65504;

/** To IEEE half precision, rounded to nearest even, subnormals included. What is beyond kLargestHalf becomes infinite, also
 * where rounding would bring it back. */
inline uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint32_t>(bits >> 16 & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  constexpr uint32_t kInfinity = 0x7f800000u, kLargest = 0x477fe000u;
  if (magnitude > kInfinity) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude > kLargest) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 2^-1 leaves the units of 2^-24 at the mantissa's end, rounded as a sum is.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace gavel

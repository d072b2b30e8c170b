#pragma once
#include <cstdint>

#include "base/dtype.h"

// What dequantising GGUF's blocks and taking them apart share; for this folder alone.
namespace gavel {

inline uint16_t read_u16(const uint8_t* p) {
  return static_cast<uint16_t>(p[0] | p[1] << 8);
}
inline float read_half(const uint8_t* p) {
  return f16_to_f32(read_u16(p));
}

struct ScaleAndMinimum {
  int scale, minimum;
};
/** The 6-bit scale and minimum number `j` of 8, packed in 12 bytes. */
inline ScaleAndMinimum scale_and_minimum(const uint8_t* q, int j) {
  if (j < 4) return {q[j] & 63, q[j + 4] & 63};
  return {(q[j + 4] & 15) | (q[j - 4] >> 6) << 4, (q[j + 4] >> 4) | (q[j] >> 6) << 4};
}

/** The 6-bit scale number `group` of 16 of Q3_K, packed in 12 bytes. */
inline int q3_k_scale(const uint8_t* scales, int64_t group) {
  const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
  const int top = scales[8 + group % 4] >> (group / 4 * 2) & 3;
  return (low | top << 4) - 32;
}

/** The values that 4 bits stand for in IQ4_NL and IQ4_XS: denser near zero. */
inline constexpr int kNonLinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/** The 6-bit scale number `group` of 8 of IQ4_XS. */
inline int iq4_xs_scale(uint16_t high, const uint8_t* low, int group) {
  return ((low[group / 2] >> (group % 2 * 4) & 15) | (high >> (2 * group) & 3) << 4) - 32;
}

/** Calls `put(place, digit)` for the 256 elements of TQ1_0: five digits of -1, 0, 1 in a byte, as a fraction of 256; four in
 * the last bytes. */
template <class Put>
void each_ternary_digit(const uint8_t* p, const Put& put) {
  constexpr uint8_t kPowers[5] = {1, 3, 9, 27, 81};
  int64_t place = 0;
  auto digits = [&](const uint8_t* q, int bytes, int count) {
    for (int digit = 0; digit < count; ++digit)
      for (int j = 0; j < bytes; ++j) {
        auto rest = static_cast<uint8_t>(q[j] * kPowers[digit]);
        put(place++, (rest * 3 >> 8) - 1);
      }
  };
  digits(p, 32, 5);
  digits(p + 32, 16, 5);
  digits(p + 48, 4, 4);
}

}  // namespace gavel

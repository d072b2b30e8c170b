// The numbers of quantised weights, compiled for every instruction set (Highway's "targets").
#if defined(GAVEL_KERNELS_DEQUANTISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GAVEL_KERNELS_DEQUANTISE_INL_H_
#undef GAVEL_KERNELS_DEQUANTISE_INL_H_
#else
#define GAVEL_KERNELS_DEQUANTISE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "base/nf4.h"
#include "kernels/lanes-inl.h"
#include "kernels/product.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

/** What codes of four bits mean. */
struct FourBits {
  std::array<float, 16> values;
  std::array<std::array<float, 2>, 256> pairs;  // of each byte
};
constexpr FourBits four_bits(const std::array<float, 16>& values) {
  FourBits bits{values, {}};
  for (size_t byte = 0; byte < bits.pairs.size(); ++byte) bits.pairs[byte] = {values[byte >> 4], values[byte & 15]};
  return bits;
}
constexpr FourBits four_bit_integers(int below) {
  std::array<float, 16> values{};
  for (int i = 0; i < 16; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i - below);
  return four_bits(values);
}
inline constexpr FourBits kNf4Bits = four_bits(kNf4Values);
inline constexpr FourBits kUint4Bits = four_bit_integers(0);
inline constexpr FourBits kInt4Bits = four_bit_integers(kSignedCodesAbove);

inline const FourBits& four_bits_of(const FrozenWeight& w) {
  return !w.in_blocks() ? kNf4Bits : w.blocks.minima ? kUint4Bits : kInt4Bits;
}

/** As which a value of a panel of this type is written. */
template <class T>
using Rounded = std::conditional_t<std::is_same_v<T, uint16_t> && kMayHaveBf16, NativeBf16, T>;

/** The address of the code number `index` of a quantised weight; an even one where two are in a byte. */
inline const char* code(const FrozenWeight& w, int64_t index) {
  return static_cast<const char*>(w.data) + (w.dtype == DType::kI8 ? index : index / 2);
}

/** The numbers of as many codes of four bits as a vector has lanes, from an even one on. */
HWY_INLINE Float four_bit_lanes(const FourBits& bits, const uint8_t* codes) {
  const FloatTag d;
#if HWY_TARGET == HWY_AVX3
  uint64_t bytes;
  std::memcpy(&bytes, codes, sizeof bytes);
  const __m128i doubled = _mm_cvtsi64_si128(static_cast<int64_t>(bytes));
  const __m512i both = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(doubled, doubled));
  // The first of two is in the upper half of its byte. The table is asked with the lowest four bits alone.
  const __m512i index = _mm512_mask_srli_epi32(both, 0x5555, both, 4);
  return Float{_mm512_permutexvar_ps(index, hn::LoadU(d, bits.values.data()).raw)};
#else
  HWY_ALIGN float some[hn::MaxLanes(FloatTag()) + 1];
  for (size_t j = 0; j < hn::Lanes(d); j += 2)
    std::memcpy(some + j, bits.pairs[codes[j / 2]].data(), 2 * sizeof(float));
  return hn::Load(d, some);
#endif
}

/** What makes numbers of a group's codes. */
struct GroupScale {
  float factor;
  float minimum = 0;
};

/** `count` numbers of the codes from `from` on, times a factor, less a minimum; an even number of codes of four bits. */
template <bool kMinimum, class T>
void dequantise(DType codes_type, const FourBits& bits, const char* from, const GroupScale& scale, int64_t count,
                T* to) {
  const FloatTag d;
  const hn::Rebind<int32_t, FloatTag> di;
  const hn::Rebind<int8_t, FloatTag> dcode;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Float factor = hn::Set(d, scale.factor), minimum = hn::Set(d, scale.minimum);
  auto* out = reinterpret_cast<Rounded<T>*>(to);
  const auto put_lanes = [&](Float code, int64_t at) {
    Float number = hn::Mul(code, factor);
    if constexpr (kMinimum) number = hn::Sub(number, minimum);
    store_lanes(d, number, out + at);
  };
  const auto put = [&](float code, int64_t at) {
    float number = code * scale.factor;
    if constexpr (kMinimum) number -= scale.minimum;
    from_float(number, out + at);
  };
  int64_t i = 0;
  if (codes_type == DType::kI8) {
    const auto* codes = reinterpret_cast<const int8_t*>(from);
    for (; i + lanes <= count; i += lanes)
      put_lanes(hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(dcode, codes + i))), i);
    for (; i < count; ++i) put(static_cast<float>(codes[i]), i);
    return;
  }
  const auto* codes = reinterpret_cast<const uint8_t*>(from);
  for (; i + lanes <= count; i += lanes) put_lanes(four_bit_lanes(bits, codes + i / 2), i);
  for (; i < count; ++i) put(bits.pairs[codes[i / 2]][static_cast<size_t>(i % 2)], i);
}

/** Of a float16, by the processor. */
HWY_INLINE float half_to_float(const hwy::float16_t* from) {
  const hn::CappedTag<float, 1> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  return hn::GetLane(hn::PromoteTo(d, hn::LoadU(dh, from)));
}

/** The scale of the group number `group` of a row that has `groups`. */
inline GroupScale scale_of(const FrozenWeight& w, int64_t row, int64_t groups, int64_t group) {
  if (!w.in_blocks()) {
    const char* scale = element(w.scales, row * groups + group);
    return {w.scales.dtype == DType::kBF16 ? to_float(*reinterpret_cast<const uint16_t*>(scale))
                                           : to_float(*reinterpret_cast<const float*>(scale))};
  }
  const int64_t in_block = w.blocks.groups, each = w.blocks.of_each();
  const auto* numbers = static_cast<const hwy::float16_t*>(w.scales.data) +
                        (row * (groups / in_block) + group / in_block) * w.blocks.count();
  const auto scaled = [&](const hwy::float16_t* from) {
    const float factor = half_to_float(from);
    return in_block == 1 ? factor : factor * half_to_float(from + 1 + group % in_block);
  };
  return {scaled(numbers), w.blocks.minima ? scaled(numbers + each) : 0.0f};
}

/** to[r, c] = the numbers of `rows` rows of a quantised weight, whose rows have `length`, from (row, column) on; an even column
 * and an even number of columns. */
template <class T>
void dequantise_block(const FrozenWeight& w, int64_t length, int64_t row, int64_t column, int64_t rows, int64_t columns,
                      T* to, int64_t to_leading) {
  const int64_t groups = length / w.group, last = column + columns, first_group = column / w.group;
  const FourBits& bits = four_bits_of(w);
  const bool minima = w.in_blocks() && w.blocks.minima;
  for (int64_t r = row; r < row + rows; ++r, to += to_leading) {
    int64_t group = first_group, end = (group + 1) * w.group;
    for (int64_t at = column; at < last; ++group, end += w.group) {
      const int64_t some = std::min(last, end) - at;
      const GroupScale scale = scale_of(w, r, groups, group);
      if (minima)
        dequantise<true>(w.dtype, bits, code(w, r * length + at), scale, some, to + at - column);
      else
        dequantise<false>(w.dtype, bits, code(w, r * length + at), scale, some, to + at - column);
      at += some;
    }
  }
}

/** The bytes that so many neighbours take. */
inline int64_t bytes_of(const FrozenWeight& w, int64_t count) {
  if (w.group == 0) return count * static_cast<int64_t>(byte_size(w.dtype));
  return w.dtype == DType::kI8 ? count : count / 2;
}
/** The address of the number, or code, with this index. */
inline const char* place_of(const FrozenWeight& w, int64_t index) {
  return w.group == 0 ? element(w, index) : code(w, index);
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

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

/** The two numbers of each byte of NF4's codes. */
constexpr std::array<std::array<float, 2>, 256> nf4_pairs() {
  std::array<std::array<float, 2>, 256> pairs{};
  for (size_t byte = 0; byte < pairs.size(); ++byte) pairs[byte] = {kNf4Values[byte >> 4], kNf4Values[byte & 15]};
  return pairs;
}
inline constexpr std::array<std::array<float, 2>, 256> kNf4Pairs = nf4_pairs();

/** As which a value of a panel of this type is written. */
template <class T>
using Rounded = std::conditional_t<std::is_same_v<T, uint16_t> && kMayHaveBf16, NativeBf16, T>;

/** The address of the code number `index` of a quantised weight; an even one where two are in a byte. */
inline const char* code(const FrozenWeight& w, int64_t index) {
  return static_cast<const char*>(w.data) + (w.dtype == DType::kI8 ? index : index / 2);
}

/** The numbers of as many codes of NF4 as a vector has lanes, from an even one on. */
HWY_INLINE Float nf4_lanes(const uint8_t* codes) {
  const FloatTag d;
#if HWY_TARGET == HWY_AVX3
  uint64_t bytes;
  std::memcpy(&bytes, codes, sizeof bytes);
  const __m128i doubled = _mm_cvtsi64_si128(static_cast<int64_t>(bytes));
  const __m512i both = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(doubled, doubled));
  // The first of two is in the upper half of its byte. The table is asked with the lowest four bits alone.
  const __m512i index = _mm512_mask_srli_epi32(both, 0x5555, both, 4);
  return Float{_mm512_permutexvar_ps(index, hn::LoadU(d, kNf4Values.data()).raw)};
#else
  HWY_ALIGN float some[hn::MaxLanes(FloatTag()) + 1];
  for (size_t j = 0; j < hn::Lanes(d); j += 2) std::memcpy(some + j, kNf4Pairs[codes[j / 2]].data(), 2 * sizeof(float));
  return hn::Load(d, some);
#endif
}

/** `count` numbers of the codes from `from` on, times a scale; an even number of NF4. */
template <class T>
void dequantise(DType codes_type, const char* from, float scale, int64_t count, T* to) {
  const FloatTag d;
  const hn::Rebind<int32_t, FloatTag> di;
  const hn::Rebind<int8_t, FloatTag> dcode;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Float factor = hn::Set(d, scale);
  auto* out = reinterpret_cast<Rounded<T>*>(to);
  int64_t i = 0;
  if (codes_type == DType::kI8) {
    const auto* codes = reinterpret_cast<const int8_t*>(from);
    for (; i + lanes <= count; i += lanes) {
      const auto whole = hn::PromoteTo(di, hn::LoadU(dcode, codes + i));
      store_lanes(d, hn::Mul(hn::ConvertTo(d, whole), factor), out + i);
    }
    for (; i < count; ++i) from_float(static_cast<float>(codes[i]) * scale, out + i);
    return;
  }
  const auto* codes = reinterpret_cast<const uint8_t*>(from);
  for (; i + lanes <= count; i += lanes) store_lanes(d, hn::Mul(nf4_lanes(codes + i / 2), factor), out + i);
  for (; i < count; ++i) from_float(kNf4Pairs[codes[i / 2]][static_cast<size_t>(i % 2)] * scale, out + i);
}

/** A group's scale. */
inline float scale_of(const FrozenWeight& w, int64_t index) {
  const char* scale = element(w.scales, index);
  return w.scales.dtype == DType::kBF16 ? to_float(*reinterpret_cast<const uint16_t*>(scale))
                                        : to_float(*reinterpret_cast<const float*>(scale));
}

/** to[r, c] = the numbers of `rows` rows of a quantised weight, whose rows have `length`, from (row, column) on; an even column
 * and an even number of columns. */
template <class T>
void dequantise_block(const FrozenWeight& w, int64_t length, int64_t row, int64_t column, int64_t rows, int64_t columns,
                      T* to, int64_t to_leading) {
  const int64_t groups = length / w.group, last = column + columns, first_group = column / w.group;
  for (int64_t r = row; r < row + rows; ++r, to += to_leading) {
    int64_t group = first_group, end = (group + 1) * w.group;
    for (int64_t at = column; at < last; ++group, end += w.group) {
      const int64_t some = std::min(last, end) - at;
      dequantise(w.dtype, code(w, r * length + at), scale_of(w, r * groups + group), some, to + at - column);
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

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
#include "kernels/read_ahead.h"

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

/** The bytes that so many neighbours take. */
inline int64_t bytes_of(const FrozenWeight& w, int64_t count) {
  if (w.group == 0) return count * static_cast<int64_t>(byte_size(w.dtype));
  return w.dtype == DType::kI8 ? count : count / 2;
}
/** The address of the number, or code, with this index. */
inline const char* place_of(const FrozenWeight& w, int64_t index) {
  return w.group == 0 ? element(w, index) : code(w, index);
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

/** Codes in bytes. */
struct ByteCodes {
  HWY_INLINE Float lanes(const char* from, int64_t at) const {
    const FloatTag d;
    const hn::Rebind<int32_t, FloatTag> di;
    const hn::Rebind<int8_t, FloatTag> dcode;
    return hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(dcode, reinterpret_cast<const int8_t*>(from) + at)));
  }
  float one(const char* from, int64_t at) const { return static_cast<float>(static_cast<signed char>(from[at])); }
};

/** Codes of four bits, from an even one on. */
struct FourBitCodes {
  const FourBits& bits;
  HWY_INLINE Float lanes(const char* from, int64_t at) const {
    return four_bit_lanes(bits, reinterpret_cast<const uint8_t*>(from) + at / 2);
  }
  float one(const char* from, int64_t at) const {
    return bits.pairs[static_cast<uint8_t>(from[at / 2])][static_cast<size_t>(at % 2)];
  }
};

/** What makes numbers of a group's codes. */
struct GroupScale {
  float factor;
  float minimum = 0;
};

/** Numbers [first, count) one by one. */
template <bool kMinimum, class Codes, class T>
HWY_NOINLINE void dequantise_singly(const Codes& codes, const char* from, const GroupScale& scale, int64_t first,
                                    int64_t count, T* to) {
  for (int64_t i = first; i < count; ++i) {
    float number = codes.one(from, i) * scale.factor;
    if constexpr (kMinimum) number -= scale.minimum;
    from_float(number, to + i);
  }
}

/** `count` numbers of the codes from `from` on, times a factor, less a minimum. */
template <bool kMinimum, class Codes, class T>
HWY_INLINE void dequantise(const Codes& codes, const char* from, const GroupScale& scale, int64_t count, T* to) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Float factor = hn::Set(d, scale.factor), minimum = hn::Set(d, scale.minimum);
  auto* out = reinterpret_cast<Rounded<T>*>(to);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    Float number = hn::Mul(codes.lanes(from, i), factor);
    if constexpr (kMinimum) number = hn::Sub(number, minimum);
    store_lanes(d, number, out + i);
  }
  if (i < count) dequantise_singly<kMinimum>(codes, from, scale, i, count, out);
}

/** Of a float16, by the processor. */
HWY_INLINE float half_to_float(const hwy::float16_t* from) {
  const hn::CappedTag<float, 1> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  return hn::GetLane(hn::PromoteTo(d, hn::LoadU(dh, from)));
}

/** A scale for each group. */
template <class T>
struct OwnScales {
  static constexpr bool kMinimum = false;
  const T* scales;
  int64_t groups;  // of a row
  HWY_INLINE GroupScale of(int64_t row, int64_t group) const { return {to_float(scales[row * groups + group])}; }
};

/** Scales as base/block_scales.h has them. */
template <bool kMinima>
struct ScalesInBlocks {
  static constexpr bool kMinimum = kMinima;
  const hwy::float16_t* numbers;
  int64_t groups;  // of a row
  BlockScales blocks;
  HWY_INLINE GroupScale of(int64_t row, int64_t group) const {
    const int64_t in_block = blocks.groups;
    const auto* block = numbers + (row * (groups / in_block) + group / in_block) * blocks.count();
    const auto scaled = [&](const hwy::float16_t* from) {
      const float factor = half_to_float(from);
      return in_block == 1 ? factor : factor * half_to_float(from + 1 + group % in_block);
    };
    return {scaled(block), kMinima ? scaled(block + blocks.of_each()) : 0.0f};
  }
};

/** A part of a quantised weight. */
struct Part {
  int64_t length;  // of the weight's rows
  int64_t row, column, rows, columns;
};

template <class Codes, class Scales, class T>
void dequantise_part(const FrozenWeight& w, const Codes& codes, const Scales& scales, const Part& part, T* to,
                     int64_t to_leading, ReadAhead& ahead) {
  const int64_t last = part.column + part.columns, first_group = part.column / w.group;
  for (int64_t row = part.row; row < part.row + part.rows; ++row, to += to_leading) {
    ahead.ask(bytes_of(w, part.columns));
    int64_t group = first_group, end = (group + 1) * w.group;
    for (int64_t at = part.column; at < last; ++group, end += w.group) {
      const int64_t some = std::min(last, end) - at;
      dequantise<Scales::kMinimum>(codes, code(w, row * part.length + at), scales.of(row, group), some,
                                   to + at - part.column);
      at += some;
    }
  }
}

/** to[r, c] = the numbers of a part; its column and how many columns it has are even. As many bytes of what comes later
 * are asked for. */
template <class T>
void dequantise_block(const FrozenWeight& w, const Part& part, T* to, int64_t to_leading, ReadAhead& ahead) {
  const int64_t groups = part.length / w.group;
  const auto with = [&](const auto& codes) {
    const auto go = [&](const auto& scales) { dequantise_part(w, codes, scales, part, to, to_leading, ahead); };
    const auto* halves = static_cast<const hwy::float16_t*>(w.scales.data);
    if (!w.in_blocks() && w.scales.dtype == DType::kBF16)
      go(OwnScales<uint16_t>{static_cast<const uint16_t*>(w.scales.data), groups});
    else if (!w.in_blocks())
      go(OwnScales<float>{static_cast<const float*>(w.scales.data), groups});
    else if (w.blocks.minima)
      go(ScalesInBlocks<true>{halves, groups, w.blocks});
    else
      go(ScalesInBlocks<false>{halves, groups, w.blocks});
  };
  if (w.dtype == DType::kI8)
    with(ByteCodes());
  else
    with(FourBitCodes{four_bits_of(w)});
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

// Vectors of float32 over bf16 and float32 memory. Highway compiles this for every instruction set ("target"), so it is
// included once for each and has a guard that allows that.
#if defined(GAVEL_KERNELS_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GAVEL_KERNELS_LANES_INL_H_
#undef GAVEL_KERNELS_LANES_INL_H_
#else
#define GAVEL_KERNELS_LANES_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstdint>

#include "base/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using FloatTag = hn::ScalableTag<float>;
using Float = hn::Vec<FloatTag>;

HWY_INLINE Float load_lanes(FloatTag d, const float* from) {
  return hn::LoadU(d, from);
}
HWY_INLINE Float load_lanes(FloatTag d, const uint16_t* from) {
  const hn::RebindToUnsigned<FloatTag> du;
  const hn::Rebind<uint16_t, FloatTag> dh;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, from))));
}

/** The upper half of each lane after rounding to nearest even, as u32 in [0, 65535]. NaN stays NaN. */
HWY_INLINE hn::Vec<hn::RebindToUnsigned<FloatTag>> round_bf16(FloatTag d, Float v) {
  const hn::RebindToUnsigned<FloatTag> du;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fff)));
  const auto nan = hn::Or(bits, hn::Set(du, 0x400000));
  const auto is_nan = hn::RebindMask(du, hn::IsNaN(v));
  (void)d;
  return hn::ShiftRight<16>(hn::IfThenElse(is_nan, nan, rounded));
}

HWY_INLINE void store_lanes(FloatTag d, Float v, float* to) {
  hn::StoreU(v, d, to);
}
HWY_INLINE void store_lanes(FloatTag d, Float v, uint16_t* to) {
  const hn::Rebind<uint16_t, FloatTag> dh;
  const hn::Rebind<int32_t, FloatTag> di;
  hn::StoreU(hn::DemoteTo(dh, hn::BitCast(di, round_bf16(d, v))), dh, to);
}

/** A bf16 that is stored by the processor's own rounding, where has_native_bf16(): one instruction instead of eight; it
 * takes denormals for zero. */
struct NativeBf16 {
  uint16_t bits;
};
#if HWY_TARGET == HWY_AVX3
inline constexpr bool kMayHaveBf16 = true;
#else
inline constexpr bool kMayHaveBf16 = false;
#endif

HWY_INLINE Float load_lanes(FloatTag d, const NativeBf16* from) {
  return load_lanes(d, &from->bits);
}
HWY_INLINE void store_lanes(FloatTag d, Float v, NativeBf16* to) {
#if HWY_TARGET == HWY_AVX3
  // Highway 1.0.3 has no function for this instruction.
  (void)d;
  __m256i half;
  asm("vcvtneps2bf16 %1, %0" : "=v"(half) : "v"(v.raw));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), half);
#else
  store_lanes(d, v, &to->bits);
#endif
}

HWY_INLINE float to_float(float v) {
  return v;
}
HWY_INLINE float to_float(uint16_t v) {
  return bf16_to_f32(v);
}
HWY_INLINE float to_float(NativeBf16 v) {
  return bf16_to_f32(v.bits);
}
HWY_INLINE void from_float(float v, NativeBf16* to) {
  to->bits = f32_to_bf16(std::fpclassify(v) == FP_SUBNORMAL ? std::copysign(0.0f, v) : v);
}
HWY_INLINE void from_float(float v, float* to) {
  *to = v;
}
HWY_INLINE void from_float(float v, uint16_t* to) {
  *to = f32_to_bf16(v);
}

// 2^f = 1 + c1 f + ... + c5 f^5 to 2.3e-7, interpolated at the Chebyshev points of the fraction's range.
#if HWY_TARGET == HWY_AVX3
inline constexpr float kExp2[] = {1.0f,          0.69314754f,    0.240207195f,
                                  0.0556570552f, 0.00919938739f, 0.0017883688f};  // f in [0, 1)
#else
inline constexpr float kExp2[] = {1.0f,          0.693147182f,   0.240223497f,
                                  0.0555038117f, 0.00966636837f, 0.00133813021f};  // f in [-1/2, 1/2]
#endif

/** 2^x of kCount vectors. Each step is done for all of them before the next, so that the processor works on one vector
 * while it waits for another. 0 for x below -126 (with AVX-512 below -149, and denormal down to there) and minus infinity,
 * NaN for NaN; x is at most 127. */
template <int kCount>
HWY_INLINE void exp2_lanes(FloatTag d, Float (&x)[kCount]) {
  Float f[kCount], p[kCount];
#if HWY_TARGET == HWY_AVX3
  // x - floor(x) and p * 2^floor(x) are one instruction each, for which Highway 1.0.3 has no functions.
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) f[j] = Float{_mm512_reduce_ps(x[j].raw, _MM_FROUND_TO_NEG_INF)};
#else
  const hn::RebindToSigned<FloatTag> di;
  const Float magic = hn::Set(d, 12582912.0f);  // 3 * 2^22: the sum's low bits are x rounded to an integer
  Float shifted[kCount];
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) {
    shifted[j] = hn::Add(x[j], magic);
    f[j] = hn::Sub(x[j], hn::Sub(shifted[j], magic));
  }
#endif
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) p[j] = hn::MulAdd(hn::Set(d, kExp2[5]), f[j], hn::Set(d, kExp2[4]));
#pragma GCC unroll 8
  for (int i = 3; i >= 0; --i)
#pragma GCC unroll 8
    for (int j = 0; j < kCount; ++j) p[j] = hn::MulAdd(p[j], f[j], hn::Set(d, kExp2[i]));
#pragma GCC unroll 8
  for (int j = 0; j < kCount; ++j) {
#if HWY_TARGET == HWY_AVX3
    x[j] = Float{_mm512_scalef_ps(p[j].raw, x[j].raw)};
#else
    const auto power = hn::ShiftLeft<23>(hn::BitCast(di, shifted[j]));
    const Float result = hn::BitCast(d, hn::Add(hn::BitCast(di, p[j]), power));
    x[j] = hn::IfThenZeroElse(hn::Lt(x[j], hn::Set(d, -126.0f)), result);
#endif
  }
}
HWY_INLINE Float exp2_lanes(FloatTag d, Float x) {
  Float one[1] = {x};
  exp2_lanes(d, one);
  return one[0];
}

// tanh(x) / x = p(x^2) / q(x^2) to 2.1e-8 for |x| <= 9, where tanh is 1 in float32: fitted by least squares whose weights
// were raised where the relative error was largest. All coefficients are positive, so that no digits cancel, down to x = 0.
inline constexpr float kTanhAbove[] = {1.0f, 0.133809806f, 0.00349553003f, 2.0607969e-5f, 1.33528682e-8f};
inline constexpr float kTanhBelow[] = {1.0f, 0.467142964f, 0.0258767727f, 0.000328553268f, 7.77587487e-7f};

/** x, at least -most and at most most; NaN for NaN, which hn::Clamp loses on some processors. */
HWY_INLINE Float limit_lanes(FloatTag d, Float x, float most) {
  const Float high = hn::Set(d, most), low = hn::Set(d, -most);
  return hn::IfThenElse(hn::Gt(x, high), high, hn::IfThenElse(hn::Lt(x, low), low, x));
}

/** tanh x to 5 units in the last place; NaN for NaN. */
HWY_INLINE Float tanh_lanes(FloatTag d, Float x) {
  x = limit_lanes(d, x, 9);
  const Float square = hn::Mul(x, x);
  Float above = hn::Set(d, kTanhAbove[4]), below = hn::Set(d, kTanhBelow[4]);
#pragma GCC unroll 4
  for (int i = 3; i >= 0; --i) {
    above = hn::MulAdd(above, square, hn::Set(d, kTanhAbove[i]));
    below = hn::MulAdd(below, square, hn::Set(d, kTanhBelow[i]));
  }
  return hn::Div(hn::Mul(x, above), below);
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

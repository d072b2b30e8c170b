// Vectors of float32 over bf16 and float32 memory, for every target of Highway (no include guard in the usual
// sense: included once per target).
#if defined(GAVEL_KERNELS_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GAVEL_KERNELS_LANES_INL_H_
#undef GAVEL_KERNELS_LANES_INL_H_
#else
#define GAVEL_KERNELS_LANES_INL_H_
#endif

#include <hwy/highway.h>

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

HWY_INLINE float to_float(float v) {
  return v;
}
HWY_INLINE float to_float(uint16_t v) {
  return bf16_to_f32(v);
}
HWY_INLINE void from_float(float v, float* to) {
  *to = v;
}
HWY_INLINE void from_float(float v, uint16_t* to) {
  *to = f32_to_bf16(v);
}

/** 2^x: a polynomial on [-1/2, 1/2] (Taylor in x ln 2; relative error below 2e-7) times a power of two made
 * in the exponent bits. 0 for x below -126 (minus infinity included), NaN for NaN; x must be at most 127. */
HWY_INLINE Float exp2_lanes(FloatTag d, Float x) {
  const hn::RebindToSigned<FloatTag> di;
  const Float magic = hn::Set(d, 12582912.0f);  // 3 * 2^22: the sum's low bits are x rounded to an integer
  const Float shifted = hn::Add(x, magic);
  const Float f = hn::Sub(x, hn::Sub(shifted, magic));
  Float p = hn::Set(d, 1.5403530e-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.3333558e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 9.6181291e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.5504109e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.4022651e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 6.9314718e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto power = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  const Float result = hn::BitCast(d, hn::Add(hn::BitCast(di, p), power));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), result);
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

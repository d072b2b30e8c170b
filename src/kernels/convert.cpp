#include "kernels/convert.h"

#include "base/dtype.h"

// Without what later versions of Highway have above AVX3 (lower bits are better targets): bf16 is ours, in the AVX3 code.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | (HWY_AVX3 - 1))
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

void widen_all(const uint16_t* from, float* to, size_t count) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(load_lanes(d, from + i), d, to + i);
  for (; i < count; ++i) to[i] = bf16_to_f32(from[i]);
}

template <class T>
HWY_INLINE void narrow_to(const float* from, T* to, size_t count, float scale) {
  const FloatTag d;
  const size_t lanes = hn::Lanes(d);
  const auto factor = hn::Set(d, scale);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) store_lanes(d, hn::Mul(hn::LoadU(d, from + i), factor), to + i);
  for (; i < count; ++i) from_float(from[i] * scale, to + i);
}

void narrow_all(const float* from, uint16_t* to, size_t count, float scale) {
  if (kMayHaveBf16 && has_native_bf16())
    narrow_to(from, reinterpret_cast<NativeBf16*>(to), count, scale);
  else
    narrow_to(from, to, count, scale);
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gavel {

HWY_EXPORT(widen_all);
HWY_EXPORT(narrow_all);

void widen(const uint16_t* from, float* to, size_t count) {
  HWY_DYNAMIC_DISPATCH(widen_all)(from, to, count);
}

void narrow(const float* from, uint16_t* to, size_t count, float scale) {
  HWY_DYNAMIC_DISPATCH(narrow_all)(from, to, count, scale);
}

bool has_native_bf16() {
  static const bool native =
      __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return native;
}

}  // namespace gavel
#endif

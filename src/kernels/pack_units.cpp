#include "kernels/pack_units.h"

#undef HWY_TARGET_INCLUDE
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#define HWY_TARGET_INCLUDE "kernels/pack_units.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/attention_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

void pack_blocks(const float* from, int64_t units, int64_t first, int64_t last, float* to) {
  constexpr int64_t kRows = 64, kUnits = 16;
  for (int64_t row = first; row < last; row += kRows)
    for (int64_t unit = 0; unit < units; unit += kUnits)
      transpose_units(from + row * units + unit, units, kRows, kUnits, to + row * units + unit * kRows,
                      kRows);
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gavel {

HWY_EXPORT(pack_blocks);

void pack_units(const void* from, int64_t units, int64_t first, int64_t last, void* to) {
  HWY_DYNAMIC_DISPATCH(pack_blocks)
  (static_cast<const float*>(from), units, first, last, static_cast<float*>(to));
}

}  // namespace gavel
#endif

#include "kernels/panels.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "kernels/convert.h"
#include "kernels/product.h"
#include "kernels/tiles.h"

#undef HWY_TARGET_INCLUDE
// Without what later versions of Highway have above AVX3 (lower bits are better targets): bf16 is ours, in the AVX3 code.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | (HWY_AVX3 - 1))
#define HWY_TARGET_INCLUDE "kernels/panels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/attention_tiles-inl.h"
#include "kernels/packing-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

inline constexpr int kDots = 4;  // columns of a narrow weight at a time
/** A term in units: one float32, or two bf16. */
struct UnitTerm {
  int64_t units;
  const float* a;
  int64_t leading;
  const float* panels;
};

/** Where sums go: `data` is that of column `origin`. */
struct Target {
  DType type;
  void* data;
  int64_t leading;
  const float* bias;
  const void* addend;
  int64_t origin = 0;
};

template <class T>
HWY_INLINE void store_sum(FloatTag d, Float sum, const Target& c, int64_t at) {
  if (c.addend) sum = hn::Add(sum, load_lanes(d, static_cast<const T*>(c.addend) + at));
  store_lanes(d, sum, static_cast<T*>(c.data) + at);
}

/** kRows rows from `row` on by kVectors vectors of columns from `column` on. */
template <bool kPairs, int kRows, int kVectors>
HWY_NOINLINE void panel_tile(std::span<const UnitTerm> terms, int64_t row, int64_t column, const Target& c) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t inside = column % kWidth;
  Float sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const Float begin = c.bias ? hn::LoadU(d, c.bias + column + v * lanes) : hn::Zero(d);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[r][v] = begin;
  }
  for (const UnitTerm& term : terms)
    add_products<kPairs>(term.units, term.a + row * term.leading, term.leading,
                         term.panels + (column - inside) * term.units + inside, kWidth, sums);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = (row + r) * c.leading + column - c.origin + v * lanes;
      if (c.type == DType::kBF16) {
        store_sum<Stored<uint16_t, kPairs>>(d, sums[r][v], c, at);
      } else {
        store_sum<float>(d, sums[r][v], c, at);
      }
    }
  }
}

template <bool kPairs, int kVectors>
void tile_rows(int64_t m, std::span<const UnitTerm> terms, int64_t column, const Target& c) {
  int64_t row = 0;
  for (; row + 6 <= m; row += 6) panel_tile<kPairs, 6, kVectors>(terms, row, column, c);
  if (m - row >= 4) {
    panel_tile<kPairs, 4, kVectors>(terms, row, column, c);
    row += 4;
  }
  if (m - row == 3) panel_tile<kPairs, 3, kVectors>(terms, row, column, c);
  if (m - row == 2) panel_tile<kPairs, 2, kVectors>(terms, row, column, c);
  if (m - row == 1) panel_tile<kPairs, 1, kVectors>(terms, row, column, c);
}

/** Whole vectors of columns [first, last) of one panel. */
template <bool kPairs>
void tile_columns(int64_t m, std::span<const UnitTerm> terms, int64_t first, int64_t last, const Target& c) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  const auto go = [&](auto vectors) {
    constexpr int kVectors = decltype(vectors)::value;
    for (; first + kVectors * lanes <= last; first += kVectors * lanes) tile_rows<kPairs, kVectors>(m, terms, first, c);
  };
  go(std::integral_constant<int, kVectorsAtOnce>());
  if constexpr (kVectorsAtOnce > 3) go(std::integral_constant<int, 3>());
  if constexpr (kVectorsAtOnce > 2) go(std::integral_constant<int, 2>());
  go(std::integral_constant<int, 1>());
}

/** The columns of the last vector where it is not whole: by way of memory with room for it. */
template <bool kPairs>
void ragged_columns(int64_t m, std::span<const UnitTerm> terms, int64_t first, int64_t last, const Target& c) {
  constexpr int64_t kRows = 6;
  HWY_ALIGN float sums[kRows * HWY_MAX_BYTES / sizeof(float)];
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  std::vector<UnitTerm> some(terms.begin(), terms.end());
  for (int64_t row = 0; row < m; row += kRows) {
    const int64_t rows = std::min(kRows, m - row);
    for (size_t i = 0; i < some.size(); ++i) some[i].a = terms[i].a + row * terms[i].leading;
    tile_rows<kPairs, 1>(rows, some, first, {DType::kF32, sums, lanes, nullptr, nullptr, first});
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = first; i < last; ++i) {
        float sum = sums[r * lanes + i - first];
        if (c.bias) sum += c.bias[i];
        const int64_t at = (row + r) * c.leading + i;
        const auto store = [&](auto* to) {
          if (c.addend) sum += to_float(static_cast<decltype(to)>(const_cast<void*>(c.addend))[at]);
          from_float(sum, to + at);
        };
        if (c.type == DType::kBF16)
          store(static_cast<uint16_t*>(c.data));
        else
          store(static_cast<float*>(c.data));
      }
    }
  }
}

/** Highway took code without them on a processor with them: a fault of the build, which would give zeros. */
[[noreturn]] void no_pairs() {
  fail("panels: the code for {} has no bfloat16 products", hwy::TargetName(HWY_TARGET));
}

/** c[row + r, first + q] of kDots by kRows dot products of rows, 16 pairs at a time. */
template <int kRows>
HWY_NOINLINE void dot_rows(int64_t k, const uint16_t* a, int64_t a_leading, const uint16_t* b, float* c,
                           int64_t c_leading, int64_t count) {
  const FloatTag d;
  Float sums[kRows][kDots];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int q = 0; q < kDots; ++q) sums[r][q] = hn::Zero(d);
  const int64_t step = 2 * static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < k; i += step) {
    Float bs[kDots];
#pragma GCC unroll 8
    for (int q = 0; q < kDots; ++q) bs[q] = hn::LoadU(d, reinterpret_cast<const float*>(b + q * k + i));
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Float av = hn::LoadU(d, reinterpret_cast<const float*>(a + r * a_leading + i));
#pragma GCC unroll 8
      for (int q = 0; q < kDots; ++q) sums[r][q] = dot_pairs(sums[r][q], av, bs[q]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int64_t q = 0; q < count; ++q) c[r * c_leading + q] = hn::GetLane(hn::SumOfLanes(d, sums[r][q]));
}

void dots(int64_t m, int64_t n, int64_t k, const uint16_t* a, const uint16_t* b, float* c) {
  if constexpr (!kCanPair) no_pairs();
  for (int64_t first = 0; first < n; first += kDots) {
    const int64_t count = std::min<int64_t>(kDots, n - first);
    int64_t row = 0;
    for (; row + 6 <= m; row += 6) dot_rows<6>(k, a + row * k, k, b + first * k, c + row * n + first, n, count);
    for (; row < m; ++row) dot_rows<1>(k, a + row * k, k, b + first * k, c + row * n + first, n, count);
  }
}

template <bool kPairs>
void product_of(int64_t m, int64_t n, std::span<const UnitTerm> terms, const Target& c) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  for (int64_t column = 0; column < n; column += kWidth) {
    const int64_t last = std::min(n, column + kWidth), whole = column + (last - column) / lanes * lanes;
    tile_columns<kPairs>(m, terms, column, whole, c);
    if (whole < last) ragged_columns<kPairs>(m, terms, whole, last, c);
  }
}

void product(DType type, int64_t m, int64_t n, std::span<const PanelTerm> terms, const PanelTarget& target) {
  if constexpr (kCanPair && kWidth == kPanelColumns)
    if (type == DType::kBF16 && has_tiles()) return tile_product_of_panels(m, n, terms, target);
  const int64_t per = type == DType::kBF16 ? 2 : 1;
  std::vector<UnitTerm> in_units;
  for (const PanelTerm& term : terms)
    in_units.push_back(
        {term.k / per, static_cast<const float*>(term.a), term.leading / per, static_cast<const float*>(term.panels)});
  const Target c{target.c.dtype, target.c.data, target.leading, target.bias, target.addend.data};
  if (per == 1)
    product_of<false>(m, n, in_units, c);
  else if constexpr (kCanPair)
    product_of<true>(m, n, in_units, c);
  else
    no_pairs();
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gavel {

HWY_EXPORT(pack);
HWY_EXPORT(pack_transposed);
HWY_EXPORT(product);
HWY_EXPORT(dots);

bool packs_into_panels(DType type, int64_t k) {
  return type == DType::kF32 || (type == DType::kBF16 && k % 2 == 0 && has_native_bf16());
}

size_t panel_bytes(DType type, int64_t k, int64_t n) {
  const int64_t columns = (n + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  return static_cast<size_t>(columns * k) * byte_size(type);
}

int64_t panel_parts(int64_t k, int64_t n, bool transposed) {
  return ((transposed ? n : k) + kPanelColumns - 1) / kPanelColumns;
}

void pack_panels(DType type, int64_t k, int64_t n, const PanelSource& b, void* to, int64_t first, int64_t count) {
  if (!packs_into_panels(type, k)) fail("panels: {} rows of {} can't be packed here", k, dtype_name(type));
  const int64_t last = std::min(b.transposed ? n : k, (first + count) * kPanelColumns);
  HWY_DYNAMIC_DISPATCH(pack)(type, k, n, b, first * kPanelColumns, last, static_cast<float*>(to));
}

void pack_panel(DType type, int64_t k, int64_t n, const PanelSource& b, int64_t index, void* to) {
  if (!packs_into_panels(type, k) || !b.transposed)
    fail("panels: {} rows of {} can't be packed here", k, dtype_name(type));
  const int64_t first = index * kPanelColumns;
  HWY_DYNAMIC_DISPATCH(pack_transposed)(type, k, n, b, first, std::min(n, first + kPanelColumns),
                                        static_cast<float*>(to));
}

void pack_panels(DType type, int64_t k, int64_t n, const PanelSource& b, void* to) {
  pack_panels(type, k, n, b, to, 0, panel_parts(k, n, b.transposed));
}

void panel_product(DType type, int64_t m, int64_t n, std::span<const PanelTerm> terms, const PanelTarget& target) {
  if (target.addend.data && target.addend.dtype != target.c.dtype)
    fail("panels: {} is to be added to {}", dtype_name(target.addend.dtype), dtype_name(target.c.dtype));
  for (const PanelTerm& term : terms)
    if (!packs_into_panels(type, term.k) || !packs_into_panels(type, term.leading))
      fail("panels: {} rows of {}, {} apart, can't be multiplied here", term.k, dtype_name(type), term.leading);
  HWY_DYNAMIC_DISPATCH(product)(type, m, n, terms, target);
}

bool is_narrow(DType type, int64_t k, int64_t n) {
  return type == DType::kBF16 && n <= 8 && k % 32 == 0 && has_native_bf16();
}

size_t narrow_bytes(int64_t k, int64_t n) {
  return static_cast<size_t>((n + 3) / 4 * 4 * k) * sizeof(uint16_t);
}

void pack_narrow(int64_t k, int64_t n, const PanelSource& b, void* to) {
  auto* out = static_cast<uint16_t*>(to);
  std::memset(out, 0, narrow_bytes(k, n));
  if (b.transposed) return copy_block(b.w.dtype, b.w.data, k, DType::kBF16, out, k, n, k, b.scale);
  std::vector<uint16_t> turned(static_cast<size_t>(k * n));
  copy_block(b.w.dtype, b.w.data, n, DType::kBF16, turned.data(), n, k, n, b.scale);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t q = 0; q < n; ++q) out[q * k + i] = turned[static_cast<size_t>(i * n + q)];
}

void narrow_product(int64_t m, int64_t k, int64_t n, const void* a, const void* b, float* c) {
  HWY_DYNAMIC_DISPATCH(dots)(m, n, k, static_cast<const uint16_t*>(a), static_cast<const uint16_t*>(b), c);
}

}  // namespace gavel
#endif

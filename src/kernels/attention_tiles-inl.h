// Small dense products and the operand layouts that attention and panels.cpp need, compiled for every instruction set
// (Highway's "targets"). Operands are counted in "units" of 32 bits: one float32, or with kPairs two bf16 that are neighbours
// along the dimension that is summed over.
#if defined(GAVEL_KERNELS_ATTENTION_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GAVEL_KERNELS_ATTENTION_TILES_INL_H_
#undef GAVEL_KERNELS_ATTENTION_TILES_INL_H_
#else
#define GAVEL_KERNELS_ATTENTION_TILES_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstring>
#include <type_traits>

#include "kernels/attention_blocks.h"
#include "kernels/lanes-inl.h"
#include "kernels/tiles.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

inline constexpr bool kCanPair = kMayHaveBf16;
inline constexpr int64_t kStrip = 32;  // queries that are worked on together: half a block

#if HWY_TARGET == HWY_AVX3
inline constexpr int kVectorsAtOnce = 4;
// 6 x 4 sums, 4 vectors of b and 1 of a are 29 of 32 registers. A strip is 2 vectors wide, which leaves room for 8 rows.
constexpr int rows_at_once(int vectors) {
  return vectors > 2 ? 6 : 8;
}
#else
inline constexpr int kVectorsAtOnce = 2;
constexpr int rows_at_once(int) {
  return 6;
}  // 6 x 2 sums, 2 vectors of b and 1 of a are 15 of 16 registers
#endif

// Highway 1.0.3 has no function for AVX-512 BF16's product; has_native_bf16() guards its use.
HWY_INLINE Float dot_pairs(Float sum, Float a, Float b) {
#if HWY_TARGET == HWY_AVX3
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
#else
  (void)a, (void)b;
#endif
  return sum;
}

/** Units of two rows: `even` in the lower halves, `odd` in the upper; halves are rounded away from zero,
 * which differs from round to even only in exact ties. */
HWY_INLINE Float make_pairs(FloatTag d, Float even, Float odd) {
  const hn::RebindToUnsigned<FloatTag> du;
  const auto half = hn::Set(du, 0x8000u);
  const auto low = hn::ShiftRight<16>(hn::Add(hn::BitCast(du, even), half));
  const auto high = hn::And(hn::Add(hn::BitCast(du, odd), half), hn::Set(du, 0xffff0000u));
  return hn::BitCast(d, hn::Or(low, high));
}

/** sums[r][v] += a[r, depth] b[depth, v], in units; v counts vectors. */
template <bool kPairs, int kRows, int kVectors>
HWY_INLINE void add_products(int64_t depth, const float* a, int64_t a_leading, const float* b, int64_t b_leading,
                             Float (&sums)[kRows][kVectors]) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < depth; ++i) {
    Float bs[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) bs[v] = hn::LoadU(d, b + i * b_leading + v * lanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Float av = hn::Set(d, a[r * a_leading + i]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        if constexpr (kPairs)
          sums[r][v] = dot_pairs(sums[r][v], av, bs[v]);
        else
          sums[r][v] = hn::MulAdd(av, bs[v], sums[r][v]);
      }
    }
  }
}

/** c[kRows, kVectors] = the product of a[kRows, depth] and b[depth, kVectors], added to c with `accumulate`. kLeading is
 * the distance of c's rows where it is known when this is compiled, which saves computing addresses; else 0. */
template <bool kPairs, int kRows, int kVectors, int64_t kLeading>
HWY_NOINLINE void micro_product(int64_t depth, const float* a, int64_t a_leading, const float* b, int64_t b_leading,
                                float* c, int64_t any_leading, bool accumulate) {
  const int64_t c_leading = kLeading > 0 ? kLeading : any_leading;
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  Float sums[kRows][kVectors];
  if (accumulate) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::LoadU(d, c + r * c_leading + v * lanes);
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  add_products<kPairs>(depth, a, a_leading, b, b_leading, sums);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[r][v], d, c + r * c_leading + v * lanes);
}

template <bool kPairs, int kVectors, int64_t kLeading>
HWY_INLINE void column_product(int64_t m, int64_t depth, const float* a, int64_t a_leading, const float* b,
                               int64_t b_leading, float* c, int64_t c_leading, bool accumulate) {
  constexpr int kRowsAtOnce = rows_at_once(kVectors);
  int64_t r = 0;
  for (; r + kRowsAtOnce <= m; r += kRowsAtOnce)
    micro_product<kPairs, kRowsAtOnce, kVectors, kLeading>(depth, a + r * a_leading, a_leading, b, b_leading,
                                                           c + r * c_leading, c_leading, accumulate);
  if (m - r >= 4) {
    micro_product<kPairs, 4, kVectors, kLeading>(depth, a + r * a_leading, a_leading, b, b_leading, c + r * c_leading,
                                                 c_leading, accumulate);
    r += 4;
  }
  for (; r + 2 <= m; r += 2)
    micro_product<kPairs, 2, kVectors, kLeading>(depth, a + r * a_leading, a_leading, b, b_leading, c + r * c_leading,
                                                 c_leading, accumulate);
}

template <bool kPairs, int64_t kLeading>
HWY_INLINE void tile_columns(int64_t m, int64_t n, int64_t depth, const float* a, int64_t a_leading, const float* b,
                             int64_t b_leading, float* c, int64_t c_leading, bool accumulate) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(FloatTag()));
  int64_t column = 0;
  const auto go = [&](auto vectors) {
    constexpr int kVectors = decltype(vectors)::value;
    for (; column + kVectors * lanes <= n; column += kVectors * lanes)
      column_product<kPairs, kVectors, kLeading>(m, depth, a, a_leading, b + column, b_leading, c + column, c_leading,
                                                 accumulate);
  };
  go(std::integral_constant<int, kVectorsAtOnce>());
  if constexpr (kVectorsAtOnce > 3) go(std::integral_constant<int, 3>());
  if constexpr (kVectorsAtOnce > 2) go(std::integral_constant<int, 2>());
  go(std::integral_constant<int, 1>());
}

template <bool kPairs>
HWY_INLINE void vector_product(int64_t m, int64_t n, int64_t depth, const float* a, int64_t a_leading, const float* b,
                               int64_t b_leading, float* c, int64_t c_leading, bool accumulate) {
  if constexpr (kPairs && !kCanPair) return;
  if (c_leading == kBlock)
    tile_columns<kPairs, kBlock>(m, n, depth, a, a_leading, b, b_leading, c, c_leading, accumulate);
  else if (c_leading == kStrip)
    tile_columns<kPairs, kStrip>(m, n, depth, a, a_leading, b, b_leading, c, c_leading, accumulate);
  else
    tile_columns<kPairs, 0>(m, n, depth, a, a_leading, b, b_leading, c, c_leading, accumulate);
}

/** c[m, n] = a[m, depth] b[depth, n], in units, added to c with `accumulate`; m is even, n a multiple of 16. With kPairs
 * while this thread's Tiles are shaped for kTileRows: what fills the processor's matrix tiles is multiplied by them. */
template <bool kPairs>
HWY_INLINE void tile_product(int64_t m, int64_t n, int64_t depth, const float* a, int64_t a_leading, const float* b,
                             int64_t b_leading, float* c, int64_t c_leading, bool accumulate) {
  const int64_t rows = m / kTile * kTile, deep = depth / kTile * kTile;
  if (!kPairs || rows == 0 || deep == 0 || !has_tiles())
    return vector_product<kPairs>(m, n, depth, a, a_leading, b, b_leading, c, c_leading, accumulate);
  whole_tile_product(rows, n, deep, a, a_leading, b, b_leading, c, c_leading, accumulate);
  if (deep < depth)
    vector_product<kPairs>(rows, n, depth - deep, a + deep, a_leading, b + deep * b_leading, b_leading, c, c_leading,
                           true);
  if (rows < m)
    vector_product<kPairs>(m - rows, n, depth, a + rows * a_leading, a_leading, b, b_leading, c + rows * c_leading,
                           c_leading, accumulate);
}

/** to[columns, rows] = from[rows, columns]^T in units; both multiples of 4. */
HWY_INLINE void transpose_units(const float* from, int64_t from_leading, int64_t rows, int64_t columns, float* to,
                                int64_t to_leading) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      std::memcpy(to + c * to_leading + r, from + r * from_leading + c, sizeof(float));
#else
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> dd;
  for (int64_t c = 0; c < columns; c += 4) {
    for (int64_t r = 0; r < rows; r += 4) {
      const float* at = from + r * from_leading + c;
      const auto r0 = hn::LoadU(d, at);
      const auto r1 = hn::LoadU(d, at + from_leading);
      const auto r2 = hn::LoadU(d, at + 2 * from_leading);
      const auto r3 = hn::LoadU(d, at + 3 * from_leading);
      const auto low01 = hn::BitCast(dd, hn::InterleaveLower(d, r0, r1));
      const auto low23 = hn::BitCast(dd, hn::InterleaveLower(d, r2, r3));
      const auto high01 = hn::BitCast(dd, hn::InterleaveUpper(d, r0, r1));
      const auto high23 = hn::BitCast(dd, hn::InterleaveUpper(d, r2, r3));
      float* out = to + c * to_leading + r;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, low01, low23)), d, out);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, low01, low23)), d, out + to_leading);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, high01, high23)), d, out + 2 * to_leading);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, high01, high23)), d, out + 3 * to_leading);
    }
  }
#endif
}

/** Asks for rows that will be read in a moment: they lie too far apart for the processor to guess them. */
template <class T>
HWY_INLINE void prefetch_rows(const T* from, int64_t stride, int64_t rows, int64_t columns) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < columns; i += kLine) hwy::Prefetch(from + r * stride + i);
}

/** Rows of `columns` values, a stride apart, as contiguous rows of `padded` values; zeros in the padding, in
 * rows of segment 0 and in rows past `valid`. */
template <class T, bool kPairs>
HWY_INLINE void copy_rows(const T* from, int64_t stride, int64_t valid, int64_t rows, int64_t columns, int64_t padded,
                          const int32_t* segments, float* to) {
  using Element = std::conditional_t<kPairs, uint16_t, float>;
  static_assert(!kPairs || std::is_same_v<T, uint16_t>);
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto row_bytes = static_cast<size_t>(padded) * sizeof(Element);
  for (int64_t r = 0; r < rows; ++r) {
    char* out = reinterpret_cast<char*>(to) + static_cast<size_t>(r) * row_bytes;
    if (r >= valid || segments[r] == 0) {
      std::memset(out, 0, row_bytes);
      continue;
    }
    const T* in = from + r * stride;
    if constexpr (std::is_same_v<T, Element>) {
      const hn::ScalableTag<T> dt;
      const int64_t step = static_cast<int64_t>(hn::Lanes(dt));
      int64_t i = 0;
      for (; i + step <= columns; i += step) hn::StoreU(hn::LoadU(dt, in + i), dt, reinterpret_cast<T*>(out) + i);
      if (i < columns)
        std::memcpy(out + static_cast<size_t>(i) * sizeof(T), in + i, static_cast<size_t>(columns - i) * sizeof(T));
    } else {
      int64_t i = 0;
      for (; i + lanes <= columns; i += lanes) hn::StoreU(load_lanes(d, in + i), d, reinterpret_cast<float*>(out) + i);
      for (; i < columns; ++i) reinterpret_cast<float*>(out)[i] = to_float(in[i]);
    }
    if (padded > columns)
      std::memset(out + static_cast<size_t>(columns) * sizeof(Element), 0,
                  static_cast<size_t>(padded - columns) * sizeof(Element));
  }
}

/** to[count] = units of two rows of bf16; count is a multiple of the vectors' lanes. */
HWY_INLINE void interleave_rows(const uint16_t* even, const uint16_t* odd, int64_t count, float* to) {
  const FloatTag d;
  const hn::RebindToUnsigned<FloatTag> du;
  const hn::Rebind<uint16_t, FloatTag> dh;
  for (int64_t i = 0; i < count; i += static_cast<int64_t>(hn::Lanes(d))) {
    const auto low = hn::PromoteTo(du, hn::LoadU(dh, even + i));
    const auto high = hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(dh, odd + i)));
    hn::StoreU(hn::BitCast(d, hn::Or(low, high)), d, to + i);
  }
}

/** [rows, padded] bf16 to units of two rows, [rows / 2, padded]. */
HWY_INLINE void pair_rows(const float* from, int64_t rows, int64_t padded, float* to) {
  const auto* even = reinterpret_cast<const uint16_t*>(from);
  for (int64_t r = 0; r < rows / 2; ++r, even += 2 * padded)
    interleave_rows(even, even + padded, padded, to + r * padded);
}

/** The type as which values of type T are stored: with kPairs the processor rounds to bf16 itself. */
template <class T, bool kPairs>
using Stored = std::conditional_t<kPairs, NativeBf16, T>;

/** Writes one row of `count` values, times scale. */
template <class T>
HWY_INLINE void write_row(const float* from, float scale, int64_t count, T* to) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Float factor = hn::Set(d, scale);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) store_lanes(d, hn::Mul(hn::LoadU(d, from + i), factor), to + i);
  for (; i < count; ++i) from_float(from[i] * scale, to + i);
}

/** Rows [first, last) of a tile. */
struct Rows {
  int64_t first, last;
  int64_t count() const { return last - first; }
  bool empty() const { return first >= last; }
};

/** The queries of one block: their segments and positions and the oldest keys in their windows, filled up with padding, and
 * the ranges of each strip. */
struct BlockQueries {
  HWY_ALIGN int32_t segments[kBlock];
  HWY_ALIGN int32_t positions[kBlock];
  HWY_ALIGN int32_t oldest[kBlock];
  BlockRange strips[kBlock / kStrip];
  int64_t window;
  bool prefixes;

  BlockQueries(const AttentionPlan& plan, int64_t batch, int64_t block, int64_t count)
      : window(plan.window()), prefixes(plan.prefixes()) {
    for (int64_t i = 0; i < kBlock; ++i) {
      segments[i] = i < count ? plan.query_segments(batch, block)[i] : 0;
      positions[i] = i < count ? plan.query_positions(batch, block)[i] : 0;
      oldest[i] = static_cast<int32_t>(std::max<int64_t>(0, positions[i] - window + 1));
      if (segments[i] != 0) strips[i / kStrip].add(segments[i], positions[i], prefixes);
    }
  }

  /** Keys of a tile that any query of the strip may see, widened to a multiple of 4. */
  Rows seen(int64_t strip, const int32_t* key_segments, int64_t valid, int64_t first_key) const {
    const BlockRange& range = strips[strip];
    const auto may_see = [&](int64_t row) { return key_segments[row] != 0 && range.may_see(key_segments[row]); };
    Rows rows{std::max<int64_t>(0, range.first - window + 1 - first_key),
              std::min<int64_t>(valid, range.last - first_key + 1)};
    while (!rows.empty() && !may_see(rows.first)) ++rows.first;
    while (!rows.empty() && !may_see(rows.last - 1)) --rows.last;
    if (rows.empty()) return {0, 0};
    return {rows.first / 4 * 4, round_up(rows.last, 4)};
  }
};

/** Which keys of a tile its queries see: all of them, those of their own segment and past, or of these the ones in the
 * window. A type for each, so that no tile pays for what it does not need. */
enum class Sight : uint8_t { kAll, kPast, kWindow };
template <Sight kSight>
using SightOf = std::integral_constant<Sight, kSight>;

/** f with the type of a tile's sight. */
template <class F>
HWY_INLINE auto with_sight(bool all, bool windowed, const F& f) {
  if (all) return f(SightOf<Sight::kAll>());
  if (windowed) return f(SightOf<Sight::kWindow>());
  return f(SightOf<Sight::kPast>());
}

/** Which of the queries from `column` on, one a lane, see the key at `position` of `segment` (not 0). */
template <Sight kSight>
HWY_INLINE hn::Mask<FloatTag> sees(FloatTag d, const BlockQueries& queries, int64_t column, int32_t segment,
                                   int32_t position) {
  const hn::RebindToSigned<FloatTag> di;
  // A prefix is seen by all of its group, whose numbers differ from it in their last bits.
  const int32_t bits = queries.prefixes && segment == prefix_of(segment) ? ~(kSegmentGroup - 1) : ~0;
  const auto same = hn::Eq(hn::And(hn::LoadU(di, queries.segments + column), hn::Set(di, bits)), hn::Set(di, segment));
  auto seen = hn::And(same, hn::Gt(hn::LoadU(di, queries.positions + column), hn::Set(di, position - 1)));
  if constexpr (kSight == Sight::kWindow)
    seen = hn::And(seen, hn::Gt(hn::Set(di, position + 1), hn::LoadU(di, queries.oldest + column)));
  return hn::RebindMask(d, seen);
}

/** Soft-capped scores in units of the cap: tile[rows, columns] = tanh(scale tile). Columns are a multiple of 16. */
inline HWY_NOINLINE void bend_tile(float* tile, int64_t leading, int64_t rows, int64_t columns, float scale) {
  const FloatTag d;
  const Float factor = hn::Set(d, scale);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; c += static_cast<int64_t>(hn::Lanes(d)))
      hn::StoreU(tanh_lanes(d, hn::Mul(hn::LoadU(d, tile + r * leading + c), factor)), d, tile + r * leading + c);
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

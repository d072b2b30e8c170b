// Copying weights into panels (panels.h), compiled for every instruction set (Highway's "targets"). Weights come from
// memory, and the copy costs about as much as reading them: they are read in the order in which they lie, and asked for
// early.
#if defined(GAVEL_KERNELS_PACKING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GAVEL_KERNELS_PACKING_INL_H_
#undef GAVEL_KERNELS_PACKING_INL_H_
#else
#define GAVEL_KERNELS_PACKING_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "kernels/attention_tiles-inl.h"
#include "kernels/dequantise-inl.h"
#include "kernels/panels.h"
#include "kernels/read_ahead.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

// A panel is as wide as the vectors that are multiplied at once, so that it is read without gaps.
inline constexpr int64_t kWidth = kVectorsAtOnce * static_cast<int64_t>(hn::MaxLanes(FloatTag()));
static_assert(kPanelColumns % kWidth == 0);

// So many rows become columns together, so many units of them at a time: one line of bf16 or of bytes.
inline constexpr int64_t kBlockRows = std::min<int64_t>(16, kWidth), kTileUnits = 16, kCodeTileUnits = 32;
static_assert(kWidth % kBlockRows == 0);

/** As copy_block, from (row, column) of a weight whose rows have `length`, which may be quantised, and asks for as much
 * of what comes later. */
inline void copy_weight(const PanelSource& b, int64_t length, int64_t row, int64_t column, DType type, void* to,
                        int64_t to_leading, int64_t rows, int64_t columns, ReadAhead& ahead) {
  const Part part{length, row, column, rows, columns};
  if (b.w.group != 0 && type == DType::kBF16)
    return dequantise_block(b.w, part, static_cast<uint16_t*>(to), to_leading, ahead);
  if (b.w.group != 0) return dequantise_block(b.w, part, static_cast<float*>(to), to_leading, ahead);
  ahead.ask(rows * bytes_of(b.w, columns));
  copy_block(b.w.dtype, element(b.w, row * length + column), length, type, to, to_leading, rows, columns, b.scale);
}

#if HWY_TARGET == HWY_AVX3
/** columns[i] = the i-th 32 bits of each row. */
HWY_INLINE void transpose_16(__m512i (&rows)[16], __m512i (&columns)[16]) {
  __m512i pairs[16], quads[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  // The quarter q of quads[4 r + c] is column 4 q + c of the rows from 4 r on.
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
    quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  constexpr int kEven = 0x88, kOdd = 0xdd;
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i low_even = _mm512_shuffle_i32x4(quads[c], quads[4 + c], kEven);
    const __m512i low_odd = _mm512_shuffle_i32x4(quads[c], quads[4 + c], kOdd);
    const __m512i high_even = _mm512_shuffle_i32x4(quads[8 + c], quads[12 + c], kEven);
    const __m512i high_odd = _mm512_shuffle_i32x4(quads[8 + c], quads[12 + c], kOdd);
    columns[c] = _mm512_shuffle_i32x4(low_even, high_even, kEven);
    columns[4 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, kEven);
    columns[8 + c] = _mm512_shuffle_i32x4(low_even, high_even, kOdd);
    columns[12 + c] = _mm512_shuffle_i32x4(low_odd, high_odd, kOdd);
  }
}

/** Rounded to bf16, those of `even` in the lower half of each lane, those of `odd` in the upper. */
HWY_INLINE __m512i bf16_pairs(__m512 even, __m512 odd) {
  const __m512i places = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                          21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  __m512i halves;  // Highway 1.0.3 has no function for this instruction.
  asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(halves) : "v"(even), "v"(odd));
  return _mm512_permutexvar_epi16(places, halves);
}

/** 64 codes in bytes of a row, and what the 4 in 32 bits mean. */
struct ByteTile {
  static constexpr int kBytes = 64, kInFour = 4;
  HWY_INLINE __m512i load(const char* from) const { return _mm512_loadu_si512(from); }
  HWY_INLINE __m512 number(__m512i four, int i) const {
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(four, 24 - 8 * i), 24));
  }
};
/** The same of codes of four bits, the first of two in the upper half of its byte. */
struct FourBitTile {
  static constexpr int kBytes = 32, kInFour = 8;
  __m512 values;
  HWY_INLINE __m512i load(const char* from) const {
    return _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  HWY_INLINE __m512 number(__m512i four, int i) const {  // the table is asked with the lowest four bits alone
    return _mm512_permutexvar_ps(_mm512_srli_epi32(four, 4 * (i ^ 1)), values);
  }
};

/** to[u, r] = the numbers 2 u and 2 u + 1 of row r in bf16: of kBlockRows rows of 2 kCodeTileUnits codes from `from`
 * on, each times the row's factor. Rows are `stride` bytes apart, those of `to` kWidth units. */
template <class Tile>
HWY_INLINE void code_tile(const Tile& tile, const char* from, int64_t stride, const float* factors, float* to) {
  __m512i rows[16], columns[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) rows[r] = tile.load(from + r * stride);
  transpose_16(rows, columns);
  const __m512 factor = _mm512_load_ps(factors);
#pragma GCC unroll 16
  for (int c = 0; c < Tile::kBytes / 4; ++c)
#pragma GCC unroll 4
    for (int i = 0; i < Tile::kInFour; i += 2, to += kWidth)
      _mm512_storeu_si512(to, bf16_pairs(_mm512_mul_ps(tile.number(columns[c], i), factor),
                                         _mm512_mul_ps(tile.number(columns[c], i + 1), factor)));
}

/** As code_tile, of as many whole tiles as the weight's rows have (`length` codes), kBlockRows of them from `row` on.
 * Returns the units. The numbers have dequantise_part's bits. */
template <class Tile, class T>
int64_t tiles_of_rows(const Tile& tile, const FrozenWeight& w, const T* scales, int64_t length, int64_t row, float* to,
                      ReadAhead& ahead) {
  constexpr int64_t kCodes = 2 * kCodeTileUnits;
  const int64_t groups = length / w.group;
  const char* from = code(w, row * length);
  scales += row * groups;
  const T* later = scales + kBlockRows * groups;
  int64_t left = w.group;
  for (int64_t done = 0; done + kCodes <= length; done += kCodes, from += Tile::kBytes) {
    HWY_ALIGN float factors[kBlockRows];
    for (int64_t i = 0; i < kBlockRows; ++i) factors[i] = to_float(scales[i * groups]);
    hwy::Prefetch(later);
    later += kBlockRows;
    ahead.ask(kBlockRows * Tile::kBytes);
    code_tile(tile, from, bytes_of(w, length), factors, to);
    to += kCodeTileUnits * kWidth;
    left -= kCodes;
    if (left == 0) ++scales, left = w.group;
  }
  return length / kCodes * kCodeTileUnits;
}

/** Whether code_tiles knows the weight: its groups are whole tiles. */
inline bool has_code_tiles(const FrozenWeight& w) {
  return w.group != 0 && w.group % (2 * kCodeTileUnits) == 0 && !w.in_blocks();
}
/** tiles_of_rows of a weight with has_code_tiles. */
inline int64_t code_tiles(const FrozenWeight& w, int64_t length, int64_t row, float* to, ReadAhead& ahead) {
  const auto with = [&](const auto& tile) {
    if (w.scales.dtype == DType::kBF16)
      return tiles_of_rows(tile, w, static_cast<const uint16_t*>(w.scales.data), length, row, to, ahead);
    return tiles_of_rows(tile, w, static_cast<const float*>(w.scales.data), length, row, to, ahead);
  };
  if (w.dtype == DType::kI8) return with(ByteTile());
  return with(FourBitTile{_mm512_loadu_ps(four_bits_of(w).values.data())});
}
#endif

/** to[u, r] = from[r, u] of kBlockRows rows of kTileUnits, `leading` units apart; the rows of `to` are to_leading
 * apart. */
HWY_INLINE void turn_tile(const float* from, int64_t leading, float* to, int64_t to_leading) {
#if HWY_TARGET == HWY_AVX3
  __m512i rows[16], columns[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; ++r) rows[r] = _mm512_loadu_si512(from + r * leading);
  transpose_16(rows, columns);
#pragma GCC unroll 16
  for (int c = 0; c < 16; ++c) _mm512_storeu_si512(to + c * to_leading, columns[c]);
#else
  transpose_units(from, leading, kBlockRows, kTileUnits, to, to_leading);
#endif
}

/** w[n, k]: rows [first, last) of w become columns of panels, of which `to` is that of row `first`. */
inline void pack_transposed(DType type, int64_t k, int64_t n, const PanelSource& b, int64_t first, int64_t last,
                            float* to) {
  const int64_t per = type == DType::kBF16 ? 2 : 1, units = k / per;
  const bool as_it_is = b.w.group == 0 && b.w.dtype == type && b.scale == 1;
  HWY_ALIGN float tile[kBlockRows * kCodeTileUnits];
  HWY_ALIGN float turned[kBlockRows * kCodeTileUnits];
  const int64_t tile_units = b.w.group != 0 ? kCodeTileUnits : kTileUnits;
  ReadAhead ahead(place_of(b.w, first * k), place_of(b.w, last * k));
  ahead.ask(bytes_of(b.w, kBlockRows * k));
  for (int64_t row = first; row < last || row % kWidth != 0; row += kBlockRows) {
    const int64_t rows = std::clamp<int64_t>(n - row, 0, kBlockRows);
    float* columns = to + (row - first) / kWidth * kWidth * units + row % kWidth;
    int64_t unit = 0;
    for (; rows == 0 && unit < units; ++unit) std::memset(columns + unit * kWidth, 0, kBlockRows * sizeof(float));
#if HWY_TARGET == HWY_AVX3
    if (rows == kBlockRows && type == DType::kBF16 && has_code_tiles(b.w))
      unit = code_tiles(b.w, k, row, columns, ahead);
#endif
    for (; unit < units; unit += tile_units) {
      const int64_t some = std::min(tile_units, units - unit);
      const bool whole = rows == kBlockRows && some == tile_units;
      float* target = columns + unit * kWidth;
      if (whole && as_it_is) {
        ahead.ask(kBlockRows * kTileUnits * sizeof(float));
        turn_tile(reinterpret_cast<const float*>(element(b.w, row * k + unit * per)), units, target, kWidth);
        continue;
      }
      if (!whole) std::memset(tile, 0, sizeof(tile));
      copy_weight(b, k, row, unit * per, type, tile, tile_units * per, rows, some * per, ahead);
      for (int64_t u = 0; u < some; u += kTileUnits) {
        if (u + kTileUnits <= some) {
          turn_tile(tile + u, tile_units, target + u * kWidth, kWidth);
          continue;
        }
        turn_tile(tile + u, tile_units, turned, kBlockRows);
        for (int64_t i = 0; i < some - u; ++i)
          std::memcpy(target + (u + i) * kWidth, turned + i * kBlockRows, kBlockRows * sizeof(float));
      }
    }
  }
}

/** w[k, n]: rows [first, last) of w, as they lie; in bf16 two rows are interleaved. */
inline void pack_rows(DType type, int64_t k, int64_t n, const PanelSource& b, int64_t first, int64_t last, float* to) {
  constexpr int64_t kColumns = 16 * kWidth, kAhead = 4096;  // columns that are converted together; bytes
  const int64_t per = type == DType::kBF16 ? 2 : 1, units = k / per;
  const bool as_it_is = b.w.group == 0 && b.w.dtype == type && b.scale == 1;
  HWY_ALIGN float tile[kColumns];  // of one unit: one row of float32, or two of bf16
  ReadAhead ahead(place_of(b.w, first * n), place_of(b.w, last * n));
  ahead.ask(kAhead);
  for (int64_t row = first; row < last; row += per)
    for (int64_t column = 0; column < n; column += kColumns) {
      const int64_t some = std::min(kColumns, n - column);
      const char* from = reinterpret_cast<const char*>(tile);
      int64_t stride = kColumns * 2;
      if (as_it_is && some % kWidth == 0) {
        from = element(b.w, row * n + column);
        stride = n * 2;
        ahead.ask(per * bytes_of(b.w, some));
      } else {
        if (some % kWidth != 0) std::memset(tile, 0, sizeof(tile));
        copy_weight(b, n, row, column, type, tile, kColumns, per, some, ahead);
      }
      float* target = to + column * units + row / per * kWidth;
      for (int64_t i = 0; i < some; i += kWidth, target += kWidth * units) {
        if (per == 1)
          std::memcpy(target, from + i * 4, kWidth * sizeof(float));
        else
          interleave_rows(reinterpret_cast<const uint16_t*>(from + i * 2),
                          reinterpret_cast<const uint16_t*>(from + i * 2 + stride), kWidth, target);
      }
    }
}

/** Rows [first, last) of w, into the panels of all. */
inline void pack(DType type, int64_t k, int64_t n, const PanelSource& b, int64_t first, int64_t last, float* to) {
  if (b.transposed)
    pack_transposed(type, k, n, b, first, last, to + first * (type == DType::kBF16 ? k / 2 : k));
  else
    pack_rows(type, k, n, b, first, last, to);
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

#include "kernels/tiles.h"

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <type_traits>

#include "kernels/convert.h"

// The functions that use wider registers than the rest of the program say so here; only machines that have them get there.
#define GAVEL_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

// Of the eight tile registers 0 to 3 are sums (rows 0 and 1 by columns 0 and 1), 4 and 5 rows of a, 6 and 7 columns of b.
// Written as assembly, since the compilers' own functions do not tell that they read memory. AT&T order: b, a, sums.
#define GAVEL_TILE_LOAD(tile, base, stride) \
  asm volatile("tileloadd (%0,%1,1), %%tmm" #tile ::"r"(base), "r"(static_cast<int64_t>(stride)) : "memory")
#define GAVEL_TILE_STORE(tile, base, stride) \
  asm volatile("tilestored %%tmm" #tile ", (%0,%1,1)" ::"r"(base), "r"(static_cast<int64_t>(stride)) : "memory")
#define GAVEL_TILE_PRODUCT(sums, a, b) asm volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sums ::: "memory")
#define GAVEL_TILE_ZERO(tile) asm volatile("tilezero %%tmm" #tile ::: "memory")

namespace gavel {
namespace {

constexpr int64_t kTileDepth = 32;       // bf16 that one instruction multiplies
constexpr int64_t kColumns = 2 * kTile;  // that are multiplied together

bool ask_for_tiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return has_native_bf16() && __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("amx-tile") &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

/** The shapes of the tiles, as the instruction ldtilecfg reads them. */
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

/** For 1 to kTileRows rows of a. */
TileShapes shapes_for(int64_t rows) {
  TileShapes shapes;
  auto set = [&](int tile, int64_t height) {
    shapes.rows[tile] = static_cast<uint8_t>(height);
    shapes.bytes[tile] = height == 0 ? 0 : 64;
  };
  const int64_t first = std::min(kTile, rows), second = rows - first;
  for (int tile : {0, 1, 4}) set(tile, first);
  for (int tile : {2, 3, 5}) set(tile, second);
  for (int tile : {6, 7}) set(tile, kTile);
  return shapes;
}

/** sums += a[rows, steps * kTileDepth] b; strides in bytes. */
template <bool kTwoRows, bool kTwoColumns>
inline void add_steps(int64_t steps, const uint16_t* a, int64_t a_stride, const float* b, int64_t b_stride) {
  const uint16_t* below = a + kTile * a_stride / static_cast<int64_t>(sizeof(uint16_t));
  const int64_t b_step = kTile * b_stride / static_cast<int64_t>(sizeof(float));
  for (int64_t step = 0; step < steps; ++step) {
    GAVEL_TILE_LOAD(6, b, b_stride);
    GAVEL_TILE_LOAD(4, a, a_stride);
    GAVEL_TILE_PRODUCT(0, 4, 6);
    if constexpr (kTwoColumns) {
      GAVEL_TILE_LOAD(7, b + kTile, b_stride);
      GAVEL_TILE_PRODUCT(1, 4, 7);
    }
    if constexpr (kTwoRows) {
      GAVEL_TILE_LOAD(5, below, a_stride);
      GAVEL_TILE_PRODUCT(2, 5, 6);
      if constexpr (kTwoColumns) GAVEL_TILE_PRODUCT(3, 5, 7);
    }
    a += kTileDepth;
    below += kTileDepth;
    b += b_step;
  }
}

/** Memory for what does not fill a tile, and for sums on their way out. */
struct Scratch {
  alignas(64) uint16_t a[kTileRows * kTileDepth];
  alignas(64) float b[kTile * kColumns];
  alignas(64) float sums[kTileRows * kColumns];
};

/** The last k % kTileDepth of a and of b with zeros behind them. `b`: the first of the units that are left. */
GAVEL_AVX512 void fill_tails(int64_t rows, int64_t left, const uint16_t* a, int64_t a_leading, const float* b,
                             Scratch& scratch) {
  const auto mask = static_cast<__mmask32>((uint64_t{1} << left) - 1);
  for (int64_t r = 0; r < rows; ++r)
    _mm512_store_si512(scratch.a + r * kTileDepth, _mm512_maskz_loadu_epi16(mask, a + r * a_leading));
  for (int64_t unit = 0; unit < kTile; ++unit)
    for (int64_t column = 0; column < kColumns; column += kTile)
      _mm512_store_ps(scratch.b + unit * kColumns + column,
                      2 * unit < left ? _mm512_loadu_ps(b + unit * kPanelColumns + column) : _mm512_setzero_ps());
}

template <bool kTwoRows, bool kTwoColumns>
void add_terms(std::span<const PanelTerm> terms, int64_t row, int64_t rows, int64_t column, Scratch& scratch) {
  for (const PanelTerm& term : terms) {
    const int64_t inside = column % kPanelColumns, whole = term.k / kTileDepth, left = term.k % kTileDepth;
    const auto* a = static_cast<const uint16_t*>(term.a) + row * term.leading;
    const float* b = static_cast<const float*>(term.panels) + (column - inside) * (term.k / 2) + inside;
    add_steps<kTwoRows, kTwoColumns>(whole, a, 2 * term.leading, b, kPanelColumns * 4);
    if (left == 0) continue;
    fill_tails(rows, left, a + whole * kTileDepth, term.leading, b + whole * kTile * kPanelColumns, scratch);
    add_steps<kTwoRows, kTwoColumns>(1, scratch.a, 2 * kTileDepth, scratch.b, kColumns * 4);
  }
}

/** c = sums + bias + addend for [rows, columns] from (row, column) on. */
template <class T>
GAVEL_AVX512 void store_sums(int64_t row, int64_t rows, int64_t column, int64_t columns, const float* sums,
                             const PanelTarget& target) {
  constexpr bool kWide = sizeof(T) == sizeof(float);
  for (int64_t first = 0; first < columns; first += kTile) {
    const auto mask = static_cast<__mmask16>(columns - first >= kTile ? 0xffff : (1 << (columns - first)) - 1);
    const __m512 bias = target.bias ? _mm512_maskz_loadu_ps(mask, target.bias + column + first) : _mm512_setzero_ps();
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = (row + r) * target.leading + column + first;
      __m512 sum = _mm512_load_ps(sums + r * kColumns + first);
      if (target.bias) sum = _mm512_add_ps(sum, bias);
      if (target.addend.data) {
        const T* from = static_cast<const T*>(target.addend.data) + at;
        if constexpr (kWide)
          sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, from));
        else
          sum = _mm512_add_ps(
              sum, _mm512_castsi512_ps(_mm512_maskz_slli_epi32(
                       0xffff, _mm512_maskz_cvtepu16_epi32(mask, _mm256_maskz_loadu_epi16(mask, from)), 16)));
      }
      T* to = static_cast<T*>(target.c.data) + at;
      if constexpr (kWide)
        _mm512_mask_storeu_ps(to, mask, sum);
      else
        _mm256_mask_storeu_epi16(to, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(sum)));
    }
  }
}

/** Calls body(two_rows, two_columns) with std::true_type or std::false_type for each. */
template <class Body>
void with_counts(bool two_rows, bool two_columns, const Body& body) {
  const auto with_columns = [&](auto rows) {
    if (two_columns)
      body(rows, std::true_type());
    else
      body(rows, std::false_type());
  };
  if (two_rows)
    with_columns(std::true_type());
  else
    with_columns(std::false_type());
}

template <bool kTwoRows, bool kTwoColumns>
inline void zero_sums() {
  GAVEL_TILE_ZERO(0);
  if constexpr (kTwoColumns) GAVEL_TILE_ZERO(1);
  if constexpr (kTwoRows) GAVEL_TILE_ZERO(2);
  if constexpr (kTwoRows && kTwoColumns) GAVEL_TILE_ZERO(3);
}

template <bool kTwoRows, bool kTwoColumns>
inline void write_sums(float* c, int64_t c_leading) {
  const int64_t stride = c_leading * 4;
  float* below = c + kTile * c_leading;
  GAVEL_TILE_STORE(0, c, stride);
  if constexpr (kTwoColumns) GAVEL_TILE_STORE(1, c + kTile, stride);
  if constexpr (kTwoRows) GAVEL_TILE_STORE(2, below, stride);
  if constexpr (kTwoRows && kTwoColumns) GAVEL_TILE_STORE(3, below + kTile, stride);
}

template <bool kTwoRows, bool kTwoColumns>
inline void read_sums(const float* c, int64_t c_leading) {
  const int64_t stride = c_leading * 4;
  const float* below = c + kTile * c_leading;
  GAVEL_TILE_LOAD(0, c, stride);
  if constexpr (kTwoColumns) GAVEL_TILE_LOAD(1, c + kTile, stride);
  if constexpr (kTwoRows) GAVEL_TILE_LOAD(2, below, stride);
  if constexpr (kTwoRows && kTwoColumns) GAVEL_TILE_LOAD(3, below + kTile, stride);
}

void multiply(std::span<const PanelTerm> terms, int64_t row, int64_t rows, int64_t column, int64_t columns,
              const PanelTarget& target, Scratch& scratch) {
  with_counts(rows > kTile, columns > kTile, [&](auto two_rows, auto two_columns) {
    zero_sums<two_rows, two_columns>();
    add_terms<two_rows, two_columns>(terms, row, rows, column, scratch);
    write_sums<two_rows, two_columns>(scratch.sums, kColumns);
  });
  if (target.c.dtype == DType::kBF16)
    store_sums<uint16_t>(row, rows, column, columns, scratch.sums, target);
  else
    store_sums<float>(row, rows, column, columns, scratch.sums, target);
}

}  // namespace

bool has_tiles() {
  static const bool tiles = ask_for_tiles();
  return tiles;
}

Tiles::~Tiles() {
  if (rows_ != 0) asm volatile("tilerelease" ::: "memory");
}

void Tiles::shape(int64_t rows) {
  if (rows == rows_ || !has_tiles()) return;
  rows_ = rows;
  const TileShapes shapes = shapes_for(rows);
  asm volatile("ldtilecfg %0" ::"m"(shapes) : "memory");
}

void whole_tile_product(int64_t m, int64_t n, int64_t depth, const float* a, int64_t a_leading, const float* b,
                        int64_t b_leading, float* c, int64_t c_leading, bool accumulate) {
  for (int64_t column = 0; column < n; column += kColumns)
    for (int64_t row = 0; row < m; row += kTileRows) {
      float* to = c + row * c_leading + column;
      with_counts(m - row > kTile, n - column > kTile, [&](auto two_rows, auto two_columns) {
        if (accumulate)
          read_sums<two_rows, two_columns>(to, c_leading);
        else
          zero_sums<two_rows, two_columns>();
        add_steps<two_rows, two_columns>(depth / kTile, reinterpret_cast<const uint16_t*>(a + row * a_leading),
                                         a_leading * 4, b + column, b_leading * 4);
        write_sums<two_rows, two_columns>(to, c_leading);
      });
    }
}

void tile_product_of_panels(int64_t m, int64_t n, std::span<const PanelTerm> terms, const PanelTarget& target) {
  Tiles tiles;
  Scratch scratch;
  // Panel by panel, so that one stays in the second-level cache while all rows pass.
  for (int64_t panel = 0; panel < n; panel += kPanelColumns)
    for (int64_t row = 0; row < m; row += kTileRows) {
      const int64_t rows = std::min(kTileRows, m - row);
      tiles.shape(rows);
      for (int64_t column = panel; column < std::min(n, panel + kPanelColumns); column += kColumns)
        multiply(terms, row, rows, column, std::min(kColumns, n - column), target, scratch);
    }
}

}  // namespace gavel

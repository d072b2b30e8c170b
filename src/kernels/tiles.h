#pragma once
#include <cstdint>
#include <span>

#include "kernels/panels.h"

// Products by the processor's matrix tiles (Intel AMX: 16 rows by 16 columns by 32 bf16 in one instruction), which read
// panels of 64 columns as panels.h packs them. For this folder alone.
namespace gavel {

/** Rows or columns of a tile, and units (pairs of bf16) of its depth. */
inline constexpr int64_t kTile = 16;
/** Rows that are multiplied together: two tiles. */
inline constexpr int64_t kTileRows = 32;

/** Whether the processor has tiles for bf16 and the system lets this process use them, which is asked for at the first call. */
bool has_tiles();

/** panel_product for bf16, where has_tiles(). Sums start at zero, take the terms in order, then bias and addend. */
void tile_product_of_panels(int64_t m, int64_t n, std::span<const PanelTerm> terms, const PanelTarget& target);

/** The calling thread's tiles, shaped for some rows of a. Free again at the end, so that threads that never multiply with
 * them do not carry their state. */
class Tiles {
 public:
  Tiles() = default;
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
  ~Tiles();
  /** For 1 to kTileRows rows; nothing where there are no tiles. Sums are lost when it is another number than before. */
  void shape(int64_t rows);

 private:
  int64_t rows_ = 0;
};

/** c[m, n] = a[m, depth] b[depth, n], added to c with `accumulate`: a and b in units (pairs of bf16 along depth), c float32;
 * m, n and depth multiples of kTile. While this thread's Tiles are shaped for kTileRows. */
void whole_tile_product(int64_t m, int64_t n, int64_t depth, const float* a, int64_t a_leading, const float* b,
                        int64_t b_leading, float* c, int64_t c_leading, bool accumulate);

}  // namespace gavel

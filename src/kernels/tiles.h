#pragma once
#include <cstdint>
#include <span>

#include "kernels/panels.h"

// Products by the processor's matrix tiles (Intel AMX: 16 rows by 16 columns by 32 bf16 in one instruction), which read
// panels of 64 columns as panels.h packs them. For this folder alone.
namespace gavel {

/** Rows that are multiplied together: two tiles. */
inline constexpr int64_t kTileRows = 32;

/** Whether the processor has tiles for bf16 and the system lets this process use them, which is asked for at the first call. */
bool has_tiles();

/** panel_product for bf16, where has_tiles(). Sums start at zero, take the terms in order, then bias and addend. */
void tile_product_of_panels(int64_t m, int64_t n, std::span<const PanelTerm> terms, const PanelTarget& target);

}  // namespace gavel

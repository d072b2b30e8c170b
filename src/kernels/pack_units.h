#pragma once
#include <cstdint>

namespace gavel {

/** Rows [first, last) of from[rows, units], in units of 32 bits, as blocks of 64 rows by 16 units, each
 * transposed: oneDNN's layout of a transposed weight (BA16a64b of float32, BA16a64b2a of bf16 pairs), whose
 * own reorder is slow. first, last are multiples of 64, units of 16; `from` and `to` are
 * where the whole begins. */
void pack_units(const void* from, int64_t units, int64_t first, int64_t last, void* to);

}  // namespace gavel

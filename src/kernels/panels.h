#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/linear.h"

// Matrix products whose right side was copied into panels, by an inner loop of our own: groups of columns, so arranged
// that the loop reads memory without gaps. With AVX-512 BF16 it reaches 97 % of the products that the processor can do,
// oneDNN 91 % (docs/decisions.md).
namespace gavel {

/** A multiple of a panel's width on every processor: a weight may be packed, or multiplied, from any column on that is
 * a multiple of these. */
inline constexpr int64_t kPanelColumns = 64;

/** Whether b[k, n] of `type` can be packed: float32 always, bf16 where the processor multiplies it (has_native_bf16)
 * and k is even, since two rows make a pair. pack_panels and panel_product throw Error otherwise. */
bool packs_into_panels(DType type, int64_t k);

/** The bytes of b[k, n] in panels. A panel is [k, columns] in float32 and [k / 2, columns] pairs of rows in bf16, as
 * wide as the processor's inner loop (64 columns with AVX-512, 16 with AVX2); columns past n are zeros. */
size_t panel_bytes(DType type, int64_t k, int64_t n);

/** What is packed: b[k, n] is w[k, n], or w[n, k] transposed, times scale (other than 1 only from float32). Groups of a
 * quantised weight are along its own rows in both cases. */
struct PanelSource {
  FrozenWeight w;
  bool transposed = false;
  float scale = 1;
};
/** In so many parts a weight b[k, n] can be packed, each by any thread: 64 rows each of w as it lies in memory. */
int64_t panel_parts(int64_t k, int64_t n, bool transposed);
/** Packs all of b, or `count` parts from `first` on, as `type`, rounded where it has to be. `to` (64-byte aligned) is
 * where the whole begins. */
void pack_panels(DType type, int64_t k, int64_t n, const PanelSource& b, void* to);
void pack_panels(DType type, int64_t k, int64_t n, const PanelSource& b, void* to, int64_t first, int64_t count);

/** Packs kPanelColumns columns from index * kPanelColumns on of a transposed b by themselves, to where `to` is. */
void pack_panel(DType type, int64_t k, int64_t n, const PanelSource& b, int64_t index, void* to);

/** a[m, k] times panels of b[k, n]; rows of a are `leading` elements apart (an even number in bf16). */
struct PanelTerm {
  int64_t k = 0;
  const void* a = nullptr;
  int64_t leading = 0;
  const void* panels = nullptr;
};
/** Where a product goes. */
struct PanelTarget {
  Matrix c;  // [m, n], float32 or bf16
  int64_t leading = 0;
  const float* bias = nullptr;  // [n]
  ConstMatrix addend;           // of c's type and shape, or null; may be c itself
};
/** c[m, n] = the sum of the terms, all of `type` (+ bias + addend), on the calling thread. Sums are float32, over the
 * terms in order, and rounded once; a row's result is the same in whatever block of rows it is computed. */
void panel_product(DType type, int64_t m, int64_t n, std::span<const PanelTerm> terms, const PanelTarget& target);

/** Whether b[k, n] of `type` has so few columns, as LoRA's matrices do, that a panel would be mostly zeros: at most 8,
 * of bf16 that the processor multiplies itself, and k a multiple of 32. Such a weight is kept as the rows of its
 * transpose, and a product with it is dot products of rows. */
bool is_narrow(DType type, int64_t k, int64_t n);
/** The bytes of a narrow weight, which is always bf16. */
size_t narrow_bytes(int64_t k, int64_t n);
void pack_narrow(int64_t k, int64_t n, const PanelSource& b, void* to);
/** c[m, n] = a[m, k] b, on the calling thread; a is bf16 without gaps. */
void narrow_product(int64_t m, int64_t k, int64_t n, const void* a, const void* b, float* c);

}  // namespace gavel

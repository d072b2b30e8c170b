#pragma once
#include "base/tensor.h"
#include "spec/base_storage.h"

namespace gavel {

/** A weight [out, in] as codes and scales, of the types that Quantisation states. */
struct QuantisedWeight {
  HostTensor codes;   // [out, in], or [out, in / 2] where two are in a byte
  HostTensor scales;  // [out, in / group], in blocks [out, in / block, BlockScales::count()]
};

/** Quantises a float32 weight [out, in], a pure function of its numbers:
 *   int8: the scale is the group's largest magnitude / 127, rounded up to the scales' type, so that nothing is cut off; a
 *         code is weight / scale, rounded to nearest (ties to even).
 *   nf4:  the scale is the largest magnitude; a code is that of the number of kNf4Values nearest to weight * (1 / scale),
 *         the lower one of two at the same distance.
 *   in blocks: nothing is quantised so, files hold it (gguf_blocks.h).
 * Groups of no number of at least 2^-126 (int8: whose scale would be smaller) become zeros. Throws Error when the weight is no
 * float32 matrix, or groups do not divide its rows. */
QuantisedWeight quantise(const HostTensor& weight, const Quantisation& how);

/** The weight as float32 [out, in]: code's value times scale, rounded once (int8 in bfloat16 scales: exact), less its
 * minimum. */
HostTensor dequantise(const QuantisedWeight& weight, const Quantisation& how);

}  // namespace gavel

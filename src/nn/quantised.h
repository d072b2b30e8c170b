#pragma once
#include "nn/layer_calls.h"

namespace gavel {

/** The numbers of a quantised weight as `type`, by graph ops: codes int8 [out, in], or ui8 [out, in / 2] with two of NF4 in a
 * byte, the first in its upper half; scales [out, in / group] in bfloat16 or float32. Or weights in blocks
 * (base/block_scales.h): codes int8, or ui8 with two of four bits in a byte, and scales float16 [out, in / block, numbers of
 * each]. What comes of both is rounded once, to `type`. For compilers that put it into the product that reads it (docs/decisions.md). */
Value dequantised(const Value& codes, const Value& scales, DType type);

/** The weight of a call as numbers of `type`: dequantised, or converted. */
Value weight_numbers(const Value& weight, const Value& scales, DType type);

}  // namespace gavel

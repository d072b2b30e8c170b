#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "base/block_scales.h"
#include "base/dtype.h"

namespace gavel {

/** How a weight is held in fewer bits than numbers of its own have: a code for each, and a scale for each group of
 * neighbours along the input dimension; a weight is its code's value times its group's scale, less the group's minimum where
 * there is one. */
struct Quantisation {
  enum class Codes : uint8_t {
    kInt8,   // whole numbers from -127 to 127 (of GGUF's types from -128), one a byte
    kNf4,    // numbers of kNf4Values (base/nf4.h), two a byte, the first in the upper half
    kInt4,   // whole numbers from -8 to 7, held 8 higher, two a byte as those of NF4
    kUint4,  // whole numbers from 0 to 15, in the same way
  };
  Codes codes = Codes::kInt8;
  int64_t group = 64;
  /** Neighbours that share what their groups' scales are multiples of (base/block_scales.h): one or an even number of groups.
   * 0: groups have scales of their own. kInt4 and kUint4 have blocks, the latter with a minimum. */
  int64_t block = 0;
  bool minimum = false;

  bool operator==(const Quantisation&) const = default;

  DType codes_type() const { return codes == Codes::kInt8 ? DType::kI8 : DType::kU8; }
  /** bfloat16 of int8, so that a product of code and scale is exact in float32 and cheap in bfloat16; float32 of NF4, as
   * bitsandbytes has it, and of groups of 32, whose scales GGUF's Q8_0 holds in float16; float16 in blocks. */
  DType scales_type() const {
    if (block != 0) return DType::kF16;
    return codes == Codes::kInt8 && group > 32 ? DType::kBF16 : DType::kF32;
  }
  int64_t codes_in_a_byte() const { return codes == Codes::kInt8 ? 1 : 2; }
  /** Of weights in blocks. */
  BlockScales block_scales() const { return {block / group, minimum}; }
  /** What has to divide a weight's inputs. */
  int64_t unit() const { return block != 0 ? block : group; }
};

/** How a GGUF file holds a tensor, all layers' in one way that says each exactly. Neither of both: there is no such way here. */
struct FileStorage {
  std::optional<Quantisation> quantisation;
  std::optional<DType> numbers;
  /** The file's types, for messages: "Q4_K", of layers that differ "Q4_K, Q6_K". */
  std::string types;
};

}  // namespace gavel

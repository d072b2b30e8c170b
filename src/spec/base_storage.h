#pragma once
#include <optional>
#include <string>
#include <vector>

#include "spec/decoder_spec.h"

namespace gavel {

/** How the weights of linears are held in fewer bits than numbers of their own have: a code for each, and a scale for each
 * group of neighbours along the input dimension; a weight is its code's value times its group's scale. */
struct Quantisation {
  enum class Codes : uint8_t {
    kInt8,  // whole numbers from -127 to 127, one a byte
    kNf4,   // numbers of kNf4Values (base/nf4.h), two a byte, the first in the upper half
  };
  Codes codes = Codes::kInt8;
  int64_t group = 64;

  bool operator==(const Quantisation&) const = default;

  DType codes_type() const { return codes == Codes::kInt8 ? DType::kI8 : DType::kU8; }
  /** bfloat16 of int8, so that a product of code and scale is exact in float32 and cheap in bfloat16; float32 of NF4, as
   * bitsandbytes has it, and of groups of 32, whose scales GGUF's Q8_0 holds in float16. */
  DType scales_type() const { return codes == Codes::kInt8 && group > 32 ? DType::kBF16 : DType::kF32; }
  int64_t codes_in_a_byte() const { return codes == Codes::kInt8 ? 1 : 2; }
};

/** "int8" or "nf4". */
std::string_view codes_name(Quantisation::Codes codes);

/** How the frozen base is held: linears' weights quantised, if anything is, and all else in `dtype`. */
struct BaseStorage {
  DType dtype = DType::kF32;
  std::optional<Quantisation> quantisation;

  bool operator==(const BaseStorage&) const = default;
  /** Whether a tensor of the base is quantised: the weights of the layers' linears are. */
  bool quantises(const TensorSpec& tensor) const {
    return quantisation && tensor.role == TensorRole::kLinear && tensor.in_layers();
  }
  /** For people: "bfloat16", or "int8 in groups of 64". */
  std::string describe() const;
};

/** What a held tensor is of the model's tensor. */
enum class HeldPart : uint8_t { kValues, kCodes, kScales };

/** One of the tensors that a model's tensor is held as. */
struct HeldTensor {
  /** Name and shape are those of what is held; the codes have the weight's own name. */
  TensorSpec spec;
  DType dtype = DType::kF32;
  HeldPart part = HeldPart::kValues;
};

/** A tensor as it is held: itself, or codes and behind them scales [out, in / group]. Throws Error naming the tensor where
 * groups do not divide its input dimension. */
std::vector<HeldTensor> held_as(const TensorSpec& tensor, const BaseStorage& storage);

/** The name of the scales beside the codes of a weight. */
std::string scales_name(std::string_view weight);

/** All that a layer of the kind is held as, in the order of BlockSpec::tensors. */
std::vector<HeldTensor> held_tensors(const BlockSpec& block, const BaseStorage& storage);

}  // namespace gavel

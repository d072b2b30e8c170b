#pragma once
#include <optional>
#include <string>
#include <vector>

#include "spec/decoder_spec.h"

namespace gavel {

/** "int8", "nf4", … */
std::string_view codes_name(Quantisation::Codes codes);

/** How the frozen base is held: linears' weights quantised, if anything is, and all else in `dtype`. */
struct BaseStorage {
  DType dtype = DType::kF32;
  std::optional<Quantisation> quantisation = {};
  /** Linears' weights as the base's GGUF file holds them (TensorSpec::in_file). */
  bool as_file = false;

  bool operator==(const BaseStorage&) const = default;
  /** Whether weights are, or may be, held in less than numbers of their own. */
  bool is_narrow() const { return as_file || quantisation.has_value(); }
  /** How a tensor of the base is quantised, if it is: the weights of the layers' linears are. Throws Error naming the tensor
   * where its file holds it in a way that `as_file` can't take over, or there is no such file. */
  std::optional<Quantisation> quantisation_of(const TensorSpec& tensor) const;
  bool quantises(const TensorSpec& tensor) const { return quantisation_of(tensor).has_value(); }
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
  /** Of the model's tensor, if it is quantised. */
  std::optional<Quantisation> quantisation = {};
};

/** A tensor as it is held: itself, or codes and behind them scales [out, in / group], in blocks [out, in / block,
 * BlockScales::count()]. Throws Error naming the tensor where groups do not divide its input dimension, and as
 * BaseStorage::quantisation_of does. */
std::vector<HeldTensor> held_as(const TensorSpec& tensor, const BaseStorage& storage);

/** The name of the scales beside the codes of a weight. */
std::string scales_name(std::string_view weight);

/** All that a layer of the kind is held as, in the order of BlockSpec::tensors. */
std::vector<HeldTensor> held_tensors(const BlockSpec& block, const BaseStorage& storage);

}  // namespace gavel

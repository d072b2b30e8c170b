#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.h"
#include "spec/quantisation.h"

namespace gavel {

/** What a dimension of a tensor counts. Shardings are chosen by it. */
enum class Dimension : uint8_t {
  kVocabulary,
  kHidden,         // hidden_size
  kQueryHeads,     // num_attention_heads * head_dim
  kKeyValueHeads,  // num_key_value_heads * head_dim
  kHeadDim,
  kIntermediate,  // intermediate_size
  kRank,          // of an adapter
  kLabels,        // outputs of the head
  kOfBlock,       // the numbers beside a block of codes (spec/quantisation.h)
};

/** What a tensor is in a model. */
enum class TensorRole : uint8_t {
  kEmbedding,
  kNorm,
  kLinear,
  kBias,
  kLanguageModelHead,
  kAdapterA,
  kAdapterB,
  kAdapterMagnitude,
  kHead,
  kTie,        // the logit of ties, a number
  kAuxiliary,  // a head beside the head, for training alone
};

/** The type that a tensor's numbers are held in. */
enum class Storage : uint8_t {
  kModelType,  // as the recipe's model.dtype says: the frozen base
  kFloat32,    // what is trained
};

/** The order of a tensor's rows in a GGUF file, against Hugging Face's. */
enum class GgufRows : uint8_t {
  kSame,
  /** Within each head the rows 0, D/2, 1, D/2 + 1, …, for rotary embeddings that turn neighbours. */
  kRotaryPairs,
};

/** One tensor of a model, or one of each layer: then its names have '*' in place of the layer's number. */
struct TensorSpec {
  std::string name;                   // Hugging Face's: "model.layers.*.self_attn.q_proj.weight"
  Shape shape;                        // of one layer
  std::vector<Dimension> dimensions;  // one for each of the shape
  TensorRole role = TensorRole::kLinear;
  Storage storage = Storage::kModelType;
  std::string gguf_name;  // "blk.*.attn_q.weight"; empty for what GGUF does not hold
  GgufRows gguf_rows = GgufRows::kSame;
  /** What a GGUF file's numbers are above Hugging Face's. */
  float gguf_offset = 0;
  /** Of a linear's weight in a model that was opened from a GGUF file. */
  std::optional<FileStorage> in_file = {};

  bool in_layers() const { return name.find('*') != std::string::npos; }
  /** Whether a dimension counts the features of attention heads, which must stay together. */
  bool has_heads() const;
  DType dtype(DType model_type) const { return storage == Storage::kModelType ? model_type : DType::kF32; }
};

/** A name of TensorSpec with the layer's number in place of '*'. */
std::string name_in_layer(std::string_view name, int64_t layer);

/** y = x W^T + bias, W [out, in]. */
struct LinearSpec {
  std::string name;  // "q_proj", as lora.target_modules has it
  std::string path;  // within the layer: "self_attn.q_proj"
  TensorSpec weight;
  std::vector<TensorSpec> bias;  // one or none

  int64_t out_features() const { return weight.shape[0]; }
  int64_t in_features() const { return weight.shape[1]; }
  Dimension out_dimension() const { return weight.dimensions[0]; }
  Dimension in_dimension() const { return weight.dimensions[1]; }
  bool has_bias() const { return !bias.empty(); }
};

}  // namespace gavel

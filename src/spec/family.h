#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "spec/config_keys.h"
#include "spec/decoder_spec.h"
#include "spec/model_config.h"

namespace gavel {

/** A kind of decoder that Gavel opens. Each is one file of src/spec/families, listed in family.cpp. */
struct Family {
  std::string_view model_type;         // of config.json
  std::string_view architecture;       // of a classifier's config.json
  std::string_view gguf_architecture;  // general.architecture of a GGUF file
  std::string_view hidden_act;         // as config.json spells the activation
  DecoderSpec (*describe)(const ModelConfig& config);
  /** Keys of config.json that other families do not have, if any. */
  void (*read)(const ConfigKeys& keys, ModelConfig& config) = nullptr;
  void (*write)(const ModelConfig& config, nlohmann::ordered_json& json) = nullptr;
};

const std::vector<Family>& families();
/** Throws Error that says which there are; `name` stands for the file. */
const Family& family_of(std::string_view model_type, const std::string& name);
const Family& family_of_gguf(std::string_view gguf_architecture, const std::string& name);

/** What the model is. The config must have been checked. */
DecoderSpec decoder_spec(const ModelConfig& config);

/** Names of the linears of any family, in the order of BlockSpec::linears. */
std::vector<std::string> all_linear_names();

/** Tensors as most families name and shape them. */
namespace standard {
TensorSpec norm(std::string name, std::string gguf_name, int64_t size);
/** `path` within the layer: "self_attn.q_proj"; `gguf`: "attn_q". */
LinearSpec linear(const std::string& path, const std::string& gguf, int64_t out, Dimension out_dimension, int64_t in,
                  Dimension in_dimension, bool bias, GgufRows rows = GgufRows::kSame);
TensorSpec matrix(std::string name, std::string gguf_name, TensorRole role, const ModelConfig& config);
/** A decoder of one kind of block: pre-norms, attention and gated feed-forward, with the config's biases. */
DecoderSpec decoder(const ModelConfig& config, GgufRows query_rows);
}  // namespace standard

}  // namespace gavel

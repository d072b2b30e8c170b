#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "spec/config_keys.h"
#include "spec/decoder_spec.h"
#include "spec/model_config.h"

namespace gavel {

/** A kind of decoder that Gavel opens. Each has a file in src/spec/families and a line in families() (family.cpp). */
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
/** The family of a model_type or of a GGUF file's architecture. Throws Error that lists the known ones; `name` stands
 * for the file in it. */
const Family& family_of(std::string_view model_type, const std::string& name);
const Family& family_of_gguf(std::string_view gguf_architecture, const std::string& name);

/** The config's model as its family describes it. The config must have passed ModelConfig::check. */
DecoderSpec decoder_spec(const ModelConfig& config);

/** Names of the linears of all families, each once, in the order of BlockSpec::linears. */
std::vector<std::string> all_linear_names();

/** Tensors as most families name and shape them. */
namespace standard {
/** A norm's weight [size]. */
TensorSpec norm(std::string name, std::string gguf_name, int64_t size);
/** A linear of each layer, weight [out, in]. `path`: its name within the layer, "self_attn.q_proj"; `gguf`:
 * "attn_q". */
LinearSpec linear(const std::string& path, const std::string& gguf, int64_t out, Dimension out_dimension, int64_t in,
                  Dimension in_dimension, bool bias, GgufRows rows = GgufRows::kSame);
/** Embeddings or a language model's head, [vocab_size, hidden_size]. */
TensorSpec matrix(std::string name, std::string gguf_name, TensorRole role, const ModelConfig& config);
/** A decoder of one kind of block: norms before each part, attention and gated feed-forward, with the config's biases.
 * `query_rows`: the order of q_proj's and k_proj's rows in GGUF files. */
DecoderSpec decoder(const ModelConfig& config, GgufRows query_rows);
}  // namespace standard

}  // namespace gavel

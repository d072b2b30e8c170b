#pragma once
#include <algorithm>
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
  std::string_view activation;         // as config.json spells it
  DecoderSpec (*describe)(const ModelConfig& config);
  /** Keys of config.json that other families do not have, and what the family does not have whatever the file says, if
   * any. */
  void (*read)(const ConfigKeys& keys, ModelConfig& config) = nullptr;
  void (*write)(const ModelConfig& config, nlohmann::ordered_json& json) = nullptr;
  std::string_view activation_key = "hidden_act";
  /** Whether `read` reads the ropes, of which each kind of layer has one. */
  bool ropes_by_layer_type = false;
  /** Keys of a GGUF file that other families do not have, behind "ARCHITECTURE.", and the keys of config.json that mean
   * the same. */
  std::vector<std::pair<std::string, std::string>> gguf_keys = {};
  /** Adds keys of config.json that GGUF files leave out, as llama.cpp knows them. */
  void (*complete_gguf)(nlohmann::ordered_json& config) = nullptr;
};

const std::vector<Family>& families();
/** The family of a model_type or of a GGUF file's architecture. Throws Error that lists the known ones; `name` stands
 * for the file in it. */
const Family& family_of(std::string_view model_type, std::string_view name);
const Family& family_of_gguf(std::string_view gguf_architecture, std::string_view name);

/** The key layer_types; empty when it is not there. */
std::vector<LayerType> listed_layer_types(const ConfigKeys& keys, int64_t num_hidden_layers);
/** Sets layer_types: as the key of that name lists them, else as `slides` says of each layer's number. Throws Error for a
 * list of another length or with other names than full_attention and sliding_attention. */
template <class Slides>
void read_layer_types(const ConfigKeys& keys, ModelConfig& config, Slides slides) {
  config.layer_types = listed_layer_types(keys, config.num_hidden_layers);
  if (!config.layer_types.empty()) return;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
    config.layer_types.push_back(slides(layer) ? LayerType::kSlidingAttention : LayerType::kFullAttention);
}
nlohmann::ordered_json layer_types_json(const ModelConfig& config);
/** The key sliding_window: none where it is null, and transformers' default of 4,096 where it is not there. */
std::optional<int64_t> read_sliding_window(const ConfigKeys& keys);
/** The number, or null where there is none. */
template <class Number>
nlohmann::ordered_json number_or_null(const std::optional<Number>& number) {
  return number ? nlohmann::ordered_json(*number) : nlohmann::ordered_json(nullptr);
}

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
 * `query_rows`: the order of q_proj's and k_proj's rows in GGUF files. Layers have the config's window and ropes by its
 * layer_types only when by_layer_types() has added them. */
DecoderSpec decoder(const ModelConfig& config, GgufRows query_rows);
/** Norms of each head of queries and keys. */
void add_head_norms(const ModelConfig& config, BlockSpec& block);
/** The least number of layers after which `kinds`, of each layer, come again; 1 for an empty list. */
template <class Kind>
size_t period_of(const std::vector<Kind>& kinds) {
  for (size_t period = 1;; ++period)
    if (period >= kinds.size() ||
        std::equal(kinds.begin() + static_cast<std::ptrdiff_t>(period), kinds.end(), kinds.begin()))
      return period;
}
/** Makes of the one block as many kinds as the period of layer_types has, with windows and ropes. */
void by_layer_types(const ModelConfig& config, DecoderSpec& spec);
}  // namespace standard

}  // namespace gavel

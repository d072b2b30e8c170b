#include <algorithm>

#include "spec/families/families.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

void read_window(const ConfigKeys& keys, ModelConfig& config) {
  // transformers would take 32, whatever the number of heads; no real file leaves it out.
  config.num_key_value_heads = keys.integer("num_key_value_heads");
  if (keys.boolean("use_sliding_window", false)) config.sliding_window = read_sliding_window(keys);
  const int64_t first = keys.integer("max_window_layers", 28);
  read_layer_types(keys, config, [&](int64_t layer) { return config.sliding_window && layer >= first; });
}

void write_window(const ModelConfig& config, Json& json) {
  json["use_sliding_window"] = config.sliding_window.has_value();
  json["sliding_window"] = number_or_null(config.sliding_window);
  // Older versions of transformers have this key in place of the list, which says more.
  const auto window = std::find(config.layer_types.begin(), config.layer_types.end(), LayerType::kSlidingAttention);
  json["max_window_layers"] = window - config.layer_types.begin();
  json["layer_types"] = layer_types_json(config);
}

DecoderSpec describe_qwen2(const ModelConfig& config) {
  DecoderSpec spec = standard::decoder(config, GgufRows::kSame);
  for (BlockSpec& block : spec.blocks) block.attention.o_proj.bias.clear();
  standard::by_layer_types(config, spec);
  return spec;
}

void read_qwen2(const ConfigKeys& keys, ModelConfig& config) {
  read_window(keys, config);
  config.attention_bias = true;
  config.mlp_bias = false;
}

DecoderSpec describe_qwen3(const ModelConfig& config) {
  DecoderSpec spec = standard::decoder(config, GgufRows::kSame);
  standard::add_head_norms(config, spec.blocks.front());
  standard::by_layer_types(config, spec);
  return spec;
}

void read_qwen3(const ConfigKeys& keys, ModelConfig& config) {
  read_window(keys, config);
  config.head_dim = keys.integer("head_dim", 128);  // transformers' default
  config.mlp_bias = false;
}

}  // namespace

Family qwen2_family() {
  return {"qwen2", "Qwen2ForSequenceClassification", "qwen2", "silu", describe_qwen2, read_qwen2, write_window};
}

Family qwen3_family() {
  return {"qwen3", "Qwen3ForSequenceClassification", "qwen3", "silu", describe_qwen3, read_qwen3, write_window};
}

}  // namespace gavel

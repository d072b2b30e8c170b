#include <limits>
#include <utility>

#include "base/error.h"
#include "spec/families/families.h"
#include "spec/rope_keys.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

void read_smollm3(const ConfigKeys& keys, ModelConfig& config) {
  config.num_key_value_heads = keys.integer("num_key_value_heads");  // transformers' 4 fits few numbers of heads
  config.tie_word_embeddings = keys.boolean("tie_word_embeddings", true);
  config.rope = read_rope(keys, 2e6);
  const auto layers = static_cast<size_t>(std::max<int64_t>(0, config.num_hidden_layers));
  if (keys.has("no_rope_layers")) {
    config.no_rope_layers = keys.integers("no_rope_layers");
    if (config.no_rope_layers.size() < layers)
      fail("{}: 'no_rope_layers' lists {} layers, 'num_hidden_layers' is {}", keys.name(), config.no_rope_layers.size(),
           layers);
    config.no_rope_layers.resize(layers);
  } else {
    const int64_t interval = keys.integer("no_rope_layer_interval", 4);
    if (interval < 1) fail("{}: 'no_rope_layer_interval' is {}", keys.name(), interval);
    for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer)
      config.no_rope_layers.push_back((layer + 1) % interval != 0 ? 1 : 0);
  }
  if (keys.boolean("use_sliding_window", false) && keys.has("sliding_window"))
    config.sliding_window = keys.integer("sliding_window");
  read_layer_types(keys, config, [&](int64_t layer) {
    return config.sliding_window && config.no_rope_layers[static_cast<size_t>(layer)] == 0;
  });
}

void write_smollm3(const ModelConfig& config, Json& json) {
  json["no_rope_layers"] = config.no_rope_layers;
  json["use_sliding_window"] = config.sliding_window.has_value();
  json["sliding_window"] = number_or_null(config.sliding_window);
  json["layer_types"] = layer_types_json(config);
}

DecoderSpec describe_smollm3(const ModelConfig& config) {
  DecoderSpec spec = standard::decoder(config, GgufRows::kRotaryPairs);
  RopeSpec no_positions;
  no_positions.freq_factors.assign(static_cast<size_t>(config.head_dim / 2), std::numeric_limits<float>::infinity());
  spec.ropes.push_back(no_positions);
  std::vector<std::pair<int64_t, LayerType>> kinds;
  for (size_t layer = 0; layer < config.no_rope_layers.size(); ++layer)
    kinds.emplace_back(config.no_rope_layers[layer], config.layer_types[layer]);
  spec.blocks.resize(standard::period_of(kinds), spec.blocks.front());
  for (size_t kind = 0; kind < spec.blocks.size() && kind < kinds.size(); ++kind) {
    AttentionSpec& attention = spec.blocks[kind].attention;
    if (kinds[kind].first == 0) attention.rope = 1;
    if (kinds[kind].second == LayerType::kSlidingAttention) attention.sliding_window = config.sliding_window;
  }
  return spec;
}

}  // namespace

Family smollm3_family() {
  return {"smollm3",    "SmolLM3ForSequenceClassification", "smollm3", "silu", describe_smollm3, read_smollm3,
          write_smollm3};
}

}  // namespace gavel

#include "spec/families/families.h"

namespace gavel {

namespace {

DecoderSpec describe_mistral(const ModelConfig& config) {
  DecoderSpec spec = standard::decoder(config, GgufRows::kRotaryPairs);
  standard::by_layer_types(config, spec);
  return spec;
}

void read_mistral(const ConfigKeys& keys, ModelConfig& config) {
  // transformers would take 8, whatever the number of heads; no real file leaves it out.
  config.num_key_value_heads = keys.integer("num_key_value_heads");
  config.attention_bias = config.mlp_bias = false;
  config.sliding_window = read_sliding_window(keys);
}

void write_mistral(const ModelConfig& config, nlohmann::ordered_json& json) {
  // Without the key transformers would take a window of 4,096.
  json["sliding_window"] = number_or_null(config.sliding_window);
}

}  // namespace

Family mistral_family() {
  return {"mistral", "MistralForSequenceClassification", "", "silu", describe_mistral, read_mistral, write_mistral};
}

}  // namespace gavel

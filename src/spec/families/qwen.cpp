#include "spec/families/qwen.h"

#include "base/error.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

void read_window(const ConfigKeys& keys, ModelConfig& config) {
  // transformers would take 32, whatever the number of heads; no real file leaves it out.
  config.num_key_value_heads = keys.integer("num_key_value_heads");
  if (!keys.boolean("use_sliding_window", false)) return;
  config.sliding_window = keys.integer("sliding_window", 4096);
  config.max_window_layers = keys.integer("max_window_layers", 28);
  if (config.max_window_layers < 0) fail("{}: 'max_window_layers' is {}", keys.name(), config.max_window_layers);
}

void write_window(const ModelConfig& config, Json& json) {
  json["use_sliding_window"] = config.sliding_window.has_value();
  json["sliding_window"] = config.sliding_window ? Json(*config.sliding_window) : Json(nullptr);
  json["max_window_layers"] = config.sliding_window ? config.max_window_layers : config.num_hidden_layers;
}

/** Layers from max_window_layers on see a window alone: then each layer is a kind of its own. */
void add_windows(const ModelConfig& config, DecoderSpec& spec) {
  if (!config.sliding_window || config.max_window_layers >= config.num_hidden_layers) return;
  spec.blocks.resize(static_cast<size_t>(config.num_hidden_layers), spec.blocks.front());
  for (auto layer = static_cast<size_t>(config.max_window_layers); layer < spec.blocks.size(); ++layer)
    spec.blocks[layer].attention.sliding_window = config.sliding_window;
}

DecoderSpec describe_qwen2(const ModelConfig& given) {
  ModelConfig config = given;
  config.attention_bias = true;
  config.mlp_bias = false;
  DecoderSpec spec = standard::decoder(config, GgufRows::kSame);
  for (BlockSpec& block : spec.blocks) block.attention.o_proj.bias.clear();
  add_windows(config, spec);
  return spec;
}

DecoderSpec describe_qwen3(const ModelConfig& config) {
  DecoderSpec spec = standard::decoder(config, GgufRows::kSame);
  for (BlockSpec& block : spec.blocks) {
    auto head_norm = [&](const char* name, const char* gguf_name) {
      TensorSpec norm = standard::norm(name, gguf_name, config.head_dim);
      norm.dimensions = {Dimension::kHeadDim};
      return std::vector<TensorSpec>{norm};
    };
    block.attention.q_norm = head_norm("model.layers.*.self_attn.q_norm.weight", "blk.*.attn_q_norm.weight");
    block.attention.k_norm = head_norm("model.layers.*.self_attn.k_norm.weight", "blk.*.attn_k_norm.weight");
  }
  add_windows(config, spec);
  return spec;
}

void read_qwen3(const ConfigKeys& keys, ModelConfig& config) {
  read_window(keys, config);
  config.head_dim = keys.integer("head_dim", 128);  // transformers' default
}

}  // namespace

Family qwen2_family() {
  return {"qwen2", "Qwen2ForSequenceClassification", "qwen2", "silu", describe_qwen2, read_window, write_window};
}

Family qwen3_family() {
  return {"qwen3", "Qwen3ForSequenceClassification", "qwen3", "silu", describe_qwen3, read_qwen3, write_window};
}

}  // namespace gavel

#include <cmath>

#include "base/error.h"
#include "spec/families/families.h"
#include "spec/rope_keys.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

void read_gemma(const ConfigKeys& keys, ModelConfig& config, bool (*slides)(const ConfigKeys& keys, int64_t layer)) {
  // transformers would take 4, whatever the number of heads; no real file leaves it out.
  config.num_key_value_heads = keys.integer("num_key_value_heads");
  config.head_dim = keys.integer("head_dim", 256);
  config.mlp_bias = false;
  config.tie_word_embeddings = keys.boolean("tie_word_embeddings", true);
  config.query_pre_attn_scalar = keys.integer("query_pre_attn_scalar", 256);
  config.sliding_window = read_sliding_window(keys);
  read_layer_types(keys, config, [&](int64_t layer) { return slides(keys, layer); });
}

void read_gemma2(const ConfigKeys& keys, ModelConfig& config) {
  read_gemma(keys, config, [](const ConfigKeys&, int64_t layer) { return layer % 2 == 0; });
  if (!keys.mentions("attn_logit_softcapping"))
    config.attn_logit_softcapping = 50;  // transformers' default
  else if (keys.has("attn_logit_softcapping"))
    config.attn_logit_softcapping = keys.number("attn_logit_softcapping", 50);
}

void read_gemma3(const ConfigKeys& keys, ModelConfig& config) {
  read_gemma(keys, config, [](const ConfigKeys& all, int64_t layer) {
    const int64_t pattern = all.integer("sliding_window_pattern", 6);
    if (pattern < 1) fail("{}: 'sliding_window_pattern' is {}", all.name(), pattern);
    return (layer + 1) % pattern != 0;
  });
  // Two ropes; rope_theta and rope_scaling at top level are of the layers without a window.
  const Json none = Json::object();
  const ConfigKeys empty(none, keys.name());
  const auto parameters = keys.object("rope_parameters");
  auto of = [&](const char* type) { return parameters ? parameters->object(type) : std::nullopt; };
  const auto full = of("full_attention"), sliding = of("sliding_attention"), scaling = keys.object("rope_scaling");
  if (parameters && !full && !sliding && !parameters->empty())
    fail("{}: expected a rope for each of full_attention and sliding_attention", parameters->name());
  if (full && scaling && !scaling->empty())
    fail("{}: there are both 'rope_parameters' with a rope of full_attention and 'rope_scaling'; remove one",
         keys.name());
  config.rope = read_rope_parameters(keys, full ? *full : scaling ? *scaling : empty, 1e6);
  const double local = keys.number("rope_local_base_freq", 1e4);
  config.sliding_rope = read_rope_parameters(empty, sliding ? *sliding : empty, local);
}

void write_gemma(const ModelConfig& config, Json& json) {
  json["query_pre_attn_scalar"] = config.query_pre_attn_scalar.value_or(config.head_dim);
  json["sliding_window"] = number_or_null(config.sliding_window);
  json["attn_logit_softcapping"] = number_or_null(config.attn_logit_softcapping);
  json["layer_types"] = layer_types_json(config);
}

void write_gemma3(const ModelConfig& config, Json& json) {
  write_gemma(config, json);
  // transformers 5 reads the first, older versions the others.
  const RopeSpec& local = config.sliding_rope ? *config.sliding_rope : config.rope;
  json["rope_parameters"] = {{"full_attention", rope_json(config.rope)}, {"sliding_attention", rope_json(local)}};
  json.erase("rope_scaling");
  json["rope_local_base_freq"] = local.rope_theta;
}

DecoderSpec describe_gemma(const ModelConfig& config, bool head_norms) {
  DecoderSpec spec = standard::decoder(config, GgufRows::kSame);
  spec.embedding_scale = std::sqrt(static_cast<double>(config.hidden_size));
  spec.norm.offset = 1;
  BlockSpec& block = spec.blocks.front();
  block.feed_forward.activation = Activation::kGeluTanh;
  auto norm = [&](const char* name, const char* gguf_name) {
    return standard::norm(std::string("model.layers.*.") + name, std::string("blk.*.") + gguf_name, config.hidden_size);
  };
  block.attention_output_norm = {norm("post_attention_layernorm.weight", "post_attention_norm.weight")};
  block.feed_forward_norm = norm("pre_feedforward_layernorm.weight", "ffn_norm.weight");
  block.feed_forward_output_norm = {norm("post_feedforward_layernorm.weight", "post_ffw_norm.weight")};
  if (head_norms) standard::add_head_norms(config, block);
  // GGUF's norms have the 1 in them.
  spec.final_norm.gguf_offset = 1;
  for (TensorSpec* tensor : block.norms()) tensor->gguf_offset = 1;
  standard::by_layer_types(config, spec);
  return spec;
}

/** The largest model of either family, which alone divides scores by the square root of another number than head_dim. */
void complete_gguf(Json& config, int64_t layers_of_27b) {
  const auto heads = config["num_attention_heads"].get<int64_t>(), hidden = config["hidden_size"].get<int64_t>();
  const bool large = config["num_hidden_layers"] == layers_of_27b && heads > 0;
  config["query_pre_attn_scalar"] = large ? Json(hidden / heads) : config["head_dim"];
}

}  // namespace

Family gemma2_family() {
  Family family{"gemma2", "Gemma2ForSequenceClassification", "gemma2", "gelu_pytorch_tanh"};
  family.describe = [](const ModelConfig& config) { return describe_gemma(config, false); };
  family.read = read_gemma2;
  family.write = write_gemma;
  family.activation_key = "hidden_activation";
  family.gguf_keys = {{"attention.sliding_window", "sliding_window"},
                      {"attn_logit_softcapping", "attn_logit_softcapping"}};
  family.complete_gguf = [](Json& config) { complete_gguf(config, 46); };
  return family;
}

Family gemma3_family() {
  Family family{"gemma3_text", "Gemma3TextForSequenceClassification", "gemma3", "gelu_pytorch_tanh"};
  family.describe = [](const ModelConfig& config) { return describe_gemma(config, true); };
  family.read = read_gemma3;
  family.write = write_gemma3;
  family.activation_key = "hidden_activation";
  family.ropes_by_layer_type = true;
  family.gguf_keys = {{"attention.sliding_window", "sliding_window"},
                      {"attention.sliding_window_pattern", "sliding_window_pattern"},
                      {"rope.freq_base_swa", "rope_local_base_freq"}};
  family.complete_gguf = [](Json& config) { complete_gguf(config, 62); };
  return family;
}

}  // namespace gavel

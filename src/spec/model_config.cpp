#include "spec/model_config.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json_text.h"
#include "spec/config_keys.h"
#include "spec/family.h"
#include "spec/known_keys.h"
#include "spec/rope_keys.h"

namespace gavel {

using Json = nlohmann::ordered_json;

namespace {

/** The activation that a name of transformers' ACT2FN means, by the name that families use. */
std::string_view activation_of(std::string_view name) {
  if (name == "swish") return "silu";
  for (const char* same : {"gelu_new", "gelu_fast", "gelu_accurate", "gelu_python_tanh"})
    if (name == same) return "gelu_pytorch_tanh";
  return name;
}

}  // namespace

ModelConfig ModelConfig::from_file(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  refuse_lfs_pointer(file->text(), path);
  return from_json(file->text(), path.string());
}

ModelConfig ModelConfig::from_json(std::string_view text, const std::string& name) {
  Json json;
  try {
    json = Json::parse(within_json_depth(text, name), nullptr, false);
    if (json.is_discarded()) json = Json::parse(quote_python_numbers(text));
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON: {}", name, error.what());
  }
  if (!json.is_object()) fail("{}: expected a JSON object", name);
  return config_of(ConfigKeys(json, name));
}

ModelConfig config_of(const ConfigKeys& keys) {
  const std::string& name = keys.name();
  refuse_quantised(keys);
  ModelConfig c;
  c.model_type = keys.text("model_type", c.model_type);
  const Family& family = family_of(c.model_type, name);
  const std::string activation_key(family.activation_key);
  if (std::string act = keys.text(activation_key.c_str(), std::string(family.activation));
      activation_of(act) != family.activation)
    fail("{}: {} is '{}'; only {} is supported", name, activation_key, act, family.activation);
  c.unknown_keys = check_known_keys(known_config_keys(), keys.json(), "", c.model_type, name);
  c.vocab_size = keys.integer("vocab_size");
  c.hidden_size = keys.integer("hidden_size");
  c.intermediate_size = keys.integer("intermediate_size");
  c.num_hidden_layers = keys.integer("num_hidden_layers");
  c.num_attention_heads = keys.integer("num_attention_heads");
  c.num_key_value_heads = keys.integer("num_key_value_heads", c.num_attention_heads);
  c.head_dim = keys.integer("head_dim", c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
  c.max_position_embeddings = keys.integer("max_position_embeddings", 2048);
  c.rms_norm_eps = keys.number("rms_norm_eps", 1e-6);
  if (!family.ropes_by_layer_type) c.rope = read_rope(keys, 10000);
  c.attention_bias = keys.boolean("attention_bias", false);
  c.mlp_bias = keys.boolean("mlp_bias", false);
  c.tie_word_embeddings = keys.boolean("tie_word_embeddings", false);
  c.initializer_range = keys.number("initializer_range", 0.02);
  c.bos_token_id = keys.token("bos_token_id");
  c.eos_token_id = keys.token("eos_token_id");
  c.pad_token_id = keys.token("pad_token_id");
  if (family.read != nullptr) family.read(keys, c);
  c.check(name);
  return c;
}

void ModelConfig::check(const std::string& name) const {
  constexpr int64_t kLimit = int64_t{1} << 31, kMaxLayers = 10000;
  auto positive = [&](const char* key, int64_t value) {
    if (value < 1 || value >= kLimit) fail("{}: '{}' is {}, expected a positive number", name, key, value);
  };
  positive("vocab_size", vocab_size);
  positive("hidden_size", hidden_size);
  positive("intermediate_size", intermediate_size);
  positive("num_hidden_layers", num_hidden_layers);
  if (num_hidden_layers > kMaxLayers)
    fail("{}: 'num_hidden_layers' is {}, at most {} are supported", name, num_hidden_layers, kMaxLayers);
  positive("num_attention_heads", num_attention_heads);
  positive("num_key_value_heads", num_key_value_heads);
  positive("head_dim", head_dim);
  positive("max_position_embeddings", max_position_embeddings);
  if (sliding_window) positive("sliding_window", *sliding_window);
  if (query_pre_attn_scalar) positive("query_pre_attn_scalar", *query_pre_attn_scalar);
  const bool windows =
      std::find(layer_types.begin(), layer_types.end(), LayerType::kSlidingAttention) != layer_types.end();
  if (windows && !sliding_window)
    fail("{}: 'layer_types' has sliding_attention, and there is no 'sliding_window'", name);
  if (pad_token_id && (*pad_token_id < 0 || *pad_token_id >= vocab_size))
    fail("{}: pad_token_id {} is outside the vocabulary of {}", name, *pad_token_id, vocab_size);
  if (!(initializer_range >= 0) || !std::isfinite(initializer_range))
    fail("{}: initializer_range is {}, expected a number from 0", name, initializer_range);
  if (num_attention_heads % num_key_value_heads != 0)
    fail("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", name, num_attention_heads,
         num_key_value_heads);
  if (head_dim % 2 != 0) fail("{}: head_dim is {}, expected an even number", name, head_dim);
  if (!(rms_norm_eps >= 0) || !std::isfinite(rms_norm_eps))
    fail("{}: rms_norm_eps is {}, expected a number from 0", name, rms_norm_eps);
  if (attn_logit_softcapping && (!(*attn_logit_softcapping > 0) || !std::isfinite(*attn_logit_softcapping)))
    fail("{}: 'attn_logit_softcapping' is {}, expected a positive number", name, *attn_logit_softcapping);
  check_rope(rope, head_dim, name);
  if (sliding_rope) check_rope(*sliding_rope, head_dim, name);
}

std::string label_name(int64_t num_labels, int64_t label) {
  constexpr const char* kOutcomes[] = {"A", "B", "tie"};
  if (num_labels == 2 || num_labels == 3) return kOutcomes[label];
  return fmt::format("LABEL_{}", label);
}

std::string ModelConfig::to_json(int64_t num_labels, std::string_view dtype) const {
  Json json;
  const Family& family = family_of(model_type, "config");
  json["architectures"] = {std::string(family.architecture)};
  json["model_type"] = model_type;
  json["attention_bias"] = attention_bias;
  json["attention_dropout"] = 0.0;
  auto token = [&](const char* key, const std::optional<int64_t>& id) { json[key] = id ? Json(*id) : Json(nullptr); };
  token("bos_token_id", bos_token_id);
  token("eos_token_id", eos_token_id);
  token("pad_token_id", pad_token_id);
  json["head_dim"] = head_dim;
  json[std::string(family.activation_key)] = std::string(family.activation);
  json["hidden_size"] = hidden_size;
  Json ids = Json::object(), labels = Json::object();
  for (int64_t i = 0; i < num_labels; ++i) {
    const std::string label = label_name(num_labels, i);
    ids[std::to_string(i)] = label;
    labels[label] = i;
  }
  json["id2label"] = ids;
  json["label2id"] = labels;
  json["initializer_range"] = initializer_range;
  json["intermediate_size"] = intermediate_size;
  json["max_position_embeddings"] = max_position_embeddings;
  json["mlp_bias"] = mlp_bias;
  json["num_attention_heads"] = num_attention_heads;
  json["num_hidden_layers"] = num_hidden_layers;
  json["num_key_value_heads"] = num_key_value_heads;
  json["rms_norm_eps"] = rms_norm_eps;
  // Both spellings: older transformers read rope_theta and rope_scaling, newer ones rope_parameters.
  Json rotary = rope_json(rope);
  json["rope_parameters"] = rotary;
  rotary.erase("rope_theta");
  json["rope_theta"] = rope.rope_theta;
  json["rope_scaling"] = rope.scaling.type == "default" ? Json(nullptr) : rotary;
  json["tie_word_embeddings"] = tie_word_embeddings;
  if (family.write != nullptr) family.write(*this, json);
  json["torch_dtype"] = std::string(dtype);
  json["vocab_size"] = vocab_size;
  return json.dump(2) + "\n";
}

}  // namespace gavel

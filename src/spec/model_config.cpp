#include "spec/model_config.h"

#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "spec/config_keys.h"
#include "spec/family.h"

namespace gavel {

using Json = nlohmann::ordered_json;

namespace {

void read_rope(const ConfigKeys& rope, ModelConfig& config) {
  RopeScaling& scaling = config.rope.scaling;
  scaling.type = rope.text("rope_type", rope.text("type", "default"));
  config.rope.rope_theta = rope.number("rope_theta", config.rope.rope_theta);
  if (scaling.type != "default" && scaling.type != "linear" && scaling.type != "llama3")
    fail("{}: rope type '{}' is not supported; expected default, linear or llama3", rope.name(), scaling.type);
  auto need = [&](const char* key) {
    if (!rope.has(key)) fail("{}: key '{}' is missing, rope type '{}' needs it", rope.name(), key, scaling.type);
  };
  if (scaling.type != "default") need("factor");
  if (scaling.type == "llama3")
    for (const char* key : {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) need(key);
  scaling.factor = rope.number("factor", 1);
  scaling.low_freq_factor = rope.number("low_freq_factor", 1);
  scaling.high_freq_factor = rope.number("high_freq_factor", 4);
  scaling.original_max_position_embeddings = rope.integer("original_max_position_embeddings", 8192);
}

}  // namespace

ModelConfig ModelConfig::from_file(const std::filesystem::path& path) {
  return from_json(MappedFile::open(path)->text(), path.string());
}

ModelConfig ModelConfig::from_json(std::string_view text, const std::string& name) {
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON: {}", name, error.what());
  }
  if (!json.is_object()) fail("{}: expected a JSON object", name);
  ConfigKeys keys(json, name);
  ModelConfig c;
  c.model_type = keys.text("model_type", c.model_type);
  const Family& family = family_of(c.model_type, name);
  if (std::string act = keys.text("hidden_act", std::string(family.hidden_act)); act != family.hidden_act)
    fail("{}: hidden_act is '{}'; only {} is supported", name, act, family.hidden_act);
  c.vocab_size = keys.integer("vocab_size");
  c.hidden_size = keys.integer("hidden_size");
  c.intermediate_size = keys.integer("intermediate_size");
  c.num_hidden_layers = keys.integer("num_hidden_layers");
  c.num_attention_heads = keys.integer("num_attention_heads");
  c.num_key_value_heads = keys.integer("num_key_value_heads", c.num_attention_heads);
  c.head_dim = keys.integer("head_dim", c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
  c.max_position_embeddings = keys.integer("max_position_embeddings", 2048);
  c.rms_norm_eps = keys.number("rms_norm_eps", 1e-6);
  c.rope.rope_theta = keys.number("rope_theta", 10000);
  if (auto rope = keys.object("rope_scaling")) read_rope(*rope, c);
  if (auto rope = keys.object("rope_parameters")) read_rope(*rope, c);
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
  positive("original_max_position_embeddings", rope.scaling.original_max_position_embeddings);
  if (pad_token_id && (*pad_token_id < 0 || *pad_token_id >= vocab_size))
    fail("{}: pad_token_id {} is outside the vocabulary of {}", name, *pad_token_id, vocab_size);
  if (!(initializer_range >= 0) || !std::isfinite(initializer_range))
    fail("{}: initializer_range is {}, expected a number from 0", name, initializer_range);
  if (num_attention_heads % num_key_value_heads != 0)
    fail("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", name, num_attention_heads,
         num_key_value_heads);
  if (head_dim % 2 != 0) fail("{}: head_dim is {}, expected an even number", name, head_dim);
  if (!(rms_norm_eps >= 0) || !std::isfinite(rms_norm_eps) || !(rope.rope_theta > 0) || !std::isfinite(rope.rope_theta))
    fail("{}: rms_norm_eps {} and rope_theta {} must be positive", name, rms_norm_eps, rope.rope_theta);
  if (!(rope.scaling.factor > 0) || !std::isfinite(rope.scaling.factor))
    fail("{}: the rope factor is {}, expected a positive number", name, rope.scaling.factor);
  if (rope.scaling.type == "llama3" &&
      !(rope.scaling.high_freq_factor > rope.scaling.low_freq_factor && rope.scaling.low_freq_factor > 0))
    fail("{}: rope low_freq_factor {} must be positive and below high_freq_factor {}", name,
         rope.scaling.low_freq_factor, rope.scaling.high_freq_factor);
  if (!rope.freq_factors.empty() && static_cast<int64_t>(rope.freq_factors.size()) != head_dim / 2)
    fail("{}: {} rope factors for head_dim {}", name, rope.freq_factors.size(), head_dim);
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
  json["hidden_act"] = std::string(family.hidden_act);
  json["hidden_size"] = hidden_size;
  Json ids = Json::object(), labels = Json::object();
  for (int64_t i = 0; i < num_labels; ++i) {
    ids[std::to_string(i)] = fmt::format("LABEL_{}", i);
    labels[fmt::format("LABEL_{}", i)] = i;
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
  Json rotary = {{"rope_type", rope.scaling.type}};
  if (rope.scaling.type != "default") rotary["factor"] = rope.scaling.factor;
  if (rope.scaling.type == "llama3") {
    rotary["low_freq_factor"] = rope.scaling.low_freq_factor;
    rotary["high_freq_factor"] = rope.scaling.high_freq_factor;
    rotary["original_max_position_embeddings"] = rope.scaling.original_max_position_embeddings;
  }
  json["rope_theta"] = rope.rope_theta;
  json["rope_scaling"] = rope.scaling.type == "default" ? Json(nullptr) : rotary;
  rotary["rope_theta"] = rope.rope_theta;
  json["rope_parameters"] = rotary;
  json["tie_word_embeddings"] = tie_word_embeddings;
  if (family.write != nullptr) family.write(*this, json);
  json["torch_dtype"] = std::string(dtype);
  json["vocab_size"] = vocab_size;
  return json.dump(2) + "\n";
}

namespace {

ModelConfig shape(int64_t vocab, int64_t hidden, int64_t intermediate, int64_t layers, int64_t heads, int64_t kv,
                  double theta, double eps, bool tied) {
  ModelConfig c;
  c.vocab_size = vocab;
  c.hidden_size = hidden;
  c.intermediate_size = intermediate;
  c.num_hidden_layers = layers;
  c.num_attention_heads = heads;
  c.num_key_value_heads = kv;
  c.head_dim = hidden / heads;
  c.rope.rope_theta = theta;
  c.rms_norm_eps = eps;
  c.tie_word_embeddings = tied;
  c.max_position_embeddings = 8192;
  return c;
}

ModelConfig with_llama3_scaling(ModelConfig c, double factor) {
  c.rope.scaling = {"llama3", factor, 1, 4, 8192};
  c.max_position_embeddings = 131072;
  return c;
}

const std::map<std::string, ModelConfig, std::less<>>& shapes() {
  static const std::map<std::string, ModelConfig, std::less<>> known = {
      {"smollm2-135m", shape(49152, 576, 1536, 30, 9, 3, 100000, 1e-5, true)},
      {"smollm2-360m", shape(49152, 960, 2560, 32, 15, 5, 100000, 1e-5, true)},
      {"smollm2-1.7b", shape(49152, 2048, 8192, 24, 32, 32, 130000, 1e-5, true)},
      {"llama-2-7b", shape(32000, 4096, 11008, 32, 32, 32, 10000, 1e-5, false)},
      {"llama-2-13b", shape(32000, 5120, 13824, 40, 40, 40, 10000, 1e-5, false)},
      {"llama-3-8b", shape(128256, 4096, 14336, 32, 32, 8, 500000, 1e-5, false)},
      {"llama-3-70b", shape(128256, 8192, 28672, 80, 64, 8, 500000, 1e-5, false)},
      {"llama-3.1-8b", with_llama3_scaling(shape(128256, 4096, 14336, 32, 32, 8, 500000, 1e-5, false), 8)},
      {"llama-3.2-1b", with_llama3_scaling(shape(128256, 2048, 8192, 16, 32, 8, 500000, 1e-5, true), 32)},
      {"llama-3.2-3b", with_llama3_scaling(shape(128256, 3072, 8192, 28, 24, 8, 500000, 1e-5, true), 32)},
  };
  return known;
}

}  // namespace

std::vector<std::string> built_in_shapes() {
  std::vector<std::string> names;
  for (const auto& [name, config] : shapes()) names.push_back(name);
  return names;
}

ModelConfig built_in_shape(std::string_view name) {
  auto found = shapes().find(name);
  if (found == shapes().end()) fail("'{}' is no built-in shape{}", name, did_you_mean(name, built_in_shapes()));
  return found->second;
}

}  // namespace gavel

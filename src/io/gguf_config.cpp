#include "io/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>

#include "spec/family.h"
#include "spec/known_keys.h"

namespace gavel {

using Json = nlohmann::ordered_json;

namespace {

/** The converter wrote out what config.json says in five numbers; these are the published models' numbers. */
void recognise_llama3(ModelConfig& config) {
  if (config.rope.freq_factors.empty() || config.rope.scaling.type != "default") return;
  for (double factor : {8.0, 32.0}) {
    RopeScaling scaling{"llama3", factor, 1, 4, 8192};
    auto expected = frequency_divisors({config.rope.rope_theta, scaling, {}}, config.head_dim);
    bool equal = true;
    for (size_t i = 0; i < expected.size(); ++i)
      equal = equal && std::abs(config.rope.freq_factors[i] - expected[i]) <= 1e-5 * expected[i];
    if (!equal) continue;
    config.rope.scaling = scaling;
    config.rope.freq_factors.clear();
    return;
  }
}

/** GGUF has numbers as float32; the decimal number that was meant is the shortest one that rounds to it. */
double as_written(double value) {
  return std::strtod(fmt::format("{}", static_cast<float>(value)).c_str(), nullptr);
}

/** What only the tensors tell. */
struct TensorTraits {
  int64_t vocab_size = 0;
  bool tie_word_embeddings = false, attention_bias = false, mlp_bias = false;
};
TensorTraits traits_of_tensors(const GgufFile& file, const Family& family) {
  ModelConfig names;  // the file's numbers are not checked yet
  names.model_type = family.model_type;
  names.attention_bias = names.mlp_bias = true;
  const DecoderSpec spec = family.describe(names);
  auto has = [&](const std::string& name) { return file.tensors().contains(name); };
  auto has_bias = [&](std::span<const LinearSpec* const> linears) {
    return std::any_of(linears.begin(), linears.end(), [&](const LinearSpec* linear) {
      return linear->has_bias() && has(name_in_layer(linear->bias.front().gguf_name, 0));
    });
  };
  const std::string& table = spec.embeddings.gguf_name;
  if (!has(table) || file.tensors().at(table).shape.size() != 2)
    fail("{}: tensor '{}' is missing or not a matrix", file.path().string(), table);
  // Attention's four linears come first, the feed-forward block's last. One bias says that there are biases: llama.cpp
  // asks for each by itself, and those that are not there count as zero.
  const auto linears = spec.blocks.front().linears();
  const std::span<const LinearSpec* const> all = linears;
  return {file.tensors().at(table).shape[0], !has(spec.language_model_head.gguf_name), has_bias(all.first(4)),
          has_bias(all.subspan(4))};
}

/** The metadata behind "ARCHITECTURE." as JSON, for check_known_keys. */
Json keys_of(const GgufFile& file, const std::string& prefix) {
  Json keys = Json::object();
  for (const auto& [name, value] : file.metadata()) {
    if (!name.starts_with(prefix)) continue;
    keys[name] = std::visit(
        [](const auto& held) {
          using Held = std::decay_t<decltype(held)>;
          if constexpr (std::is_same_v<Held, GgufNested>)
            return Json::array({Json::array()});
          else
            return Json(held);
        },
        value);
  }
  return keys;
}

/** A whole number, or a list with one for each layer, which must be equal. */
int64_t integer_of_layers(const GgufFile& file, const std::string& key) {
  if (!file.has(key) || !std::holds_alternative<std::vector<int64_t>>(file.metadata().at(key)))
    return file.integer(key);
  const auto& values = file.integers(key);
  for (int64_t value : values)
    if (value != values.front())
      fail("{}: '{}' is {} for one layer and {} for another; only layers alike are supported", file.path().string(),
           key, values.front(), value);
  if (values.empty()) fail("{}: '{}' is an empty list", file.path().string(), key);
  return values.front();
}

/** A number as config.json would have it. */
Json number(const GgufFile& file, const std::string& key) {
  if (std::holds_alternative<int64_t>(file.metadata().at(key))) return file.integer(key);
  return as_written(file.number(key));
}

/** The rope's keys, with the same defaults as llama.cpp: a factor without a type is linear, and has an older name too. */
template <class Key>
void add_rope(const GgufFile& file, const Key& key, Json& config) {
  if (file.has(key("rope.freq_base"))) config["rope_theta"] = as_written(file.number(key("rope.freq_base")));
  const std::string type_key = key("rope.scaling.type");
  std::string type = file.has(type_key) ? file.text(type_key) : "linear";
  double factor = 0;
  for (const char* name : {"rope.scaling.factor", "rope.scale_linear"})
    if (factor == 0 && file.has(key(name))) factor = as_written(file.number(key(name)));
  // Below 0 it is the type's own.
  if (const std::string ext = key("rope.scaling.yarn_ext_factor");
      file.has(ext) && file.number(ext) >= 0 && file.number(ext) != (type == "yarn" ? 1 : 0))
    fail("{}: '{}' is {} and the rope is {}; only yarn in its full strength is supported", file.path().string(), ext,
         file.number(ext), type);
  if (type == "none" || (type == "linear" && factor == 0)) return;
  if (type != "linear" && type != "yarn")
    fail("{}: {} is '{}'; expected none, linear or yarn", file.path().string(), type_key, type);
  if (factor == 0)
    fail("{}: {} is missing, and {} is '{}'", file.path().string(), key("rope.scaling.factor"), type_key, type);
  Json rope = {{"rope_type", type}, {"factor", factor}};
  if (type == "yarn") {
    const std::string original = key("rope.scaling.original_context_length");
    if (file.has(original)) rope["original_max_position_embeddings"] = file.integer(original);
    for (const auto& [gguf, meaning] : std::initializer_list<std::pair<const char*, const char*>>{
             {"rope.scaling.yarn_beta_fast", "beta_fast"}, {"rope.scaling.yarn_beta_slow", "beta_slow"}})
      if (file.has(key(gguf))) rope[meaning] = as_written(file.number(key(gguf)));
  }
  config["rope_scaling"] = rope;
}

}  // namespace

ModelConfig gguf_config(const GgufFile& file) {
  const std::string name = file.path().string();
  if (file.has("general.type") && file.text("general.type") != "model")
    fail("{}: general.type is '{}', expected a model; give the file of the model itself", name,
         file.text("general.type"));
  const std::string& architecture = file.text("general.architecture");
  const Family& family = family_of_gguf(architecture, name);
  auto key = [&](std::string_view rest) { return fmt::format("{}.{}", architecture, rest); };
  auto integer_or = [&](std::string_view rest, int64_t fallback) {
    return file.has(key(rest)) ? file.integer(key(rest)) : fallback;
  };
  auto unknown = check_known_keys(known_gguf_keys(), keys_of(file, architecture + "."), architecture + ".",
                                  family.model_type, name);
  // Said in config.json's keys, so that a family reads them once, whatever the file.
  const int64_t heads = integer_of_layers(file, key("attention.head_count")),
                hidden = file.integer(key("embedding_length"));
  const int64_t head_dim = integer_or("attention.key_length", heads > 0 ? hidden / heads : 0);
  Json config = {
      {"model_type", std::string(family.model_type)},
      {"hidden_size", hidden},
      {"intermediate_size", integer_of_layers(file, key("feed_forward_length"))},
      {"num_hidden_layers", file.integer(key("block_count"))},
      {"num_attention_heads", heads},
      {"num_key_value_heads",
       file.has(key("attention.head_count_kv")) ? integer_of_layers(file, key("attention.head_count_kv")) : heads},
      {"head_dim", head_dim},
      {"max_position_embeddings", integer_or("context_length", 2048)},
      {"rms_norm_eps", as_written(file.number(key("attention.layer_norm_rms_epsilon")))}};
  add_rope(file, key, config);
  for (const char* length : {"rope.dimension_count", "rope.dimension_count_swa", "attention.key_length_swa",
                             "attention.value_length", "attention.value_length_swa"})
    if (int64_t found = integer_or(length, head_dim); found != head_dim)
      fail("{}: '{}' is {} and keys have {} dimensions; only equal ones are supported", name, key(length), found,
           head_dim);
  for (const auto& [gguf, meaning] : family.gguf_keys)
    if (file.has(key(gguf))) config[meaning] = number(file, key(gguf));
  if (const char* window = "attention.sliding_window"; integer_or(window, 0) != 0 && !config.contains("sliding_window"))
    fail("{}: {} is {}; {} models have no window", name, key(window), integer_or(window, 0), family.model_type);
  for (const auto& [token, meaning] :
       std::initializer_list<std::pair<const char*, const char*>>{{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                                                  {"tokenizer.ggml.eos_token_id", "eos_token_id"},
                                                                  {"tokenizer.ggml.padding_token_id", "pad_token_id"}})
    if (file.has(token)) config[meaning] = file.integer(token);
  const TensorTraits traits = traits_of_tensors(file, family);
  config["vocab_size"] = traits.vocab_size;
  config["tie_word_embeddings"] = traits.tie_word_embeddings;
  config["attention_bias"] = traits.attention_bias;
  config["mlp_bias"] = traits.mlp_bias;
  if (family.complete_gguf != nullptr) family.complete_gguf(config);
  ModelConfig c = config_of(ConfigKeys(config, name));
  c.unknown_keys = std::move(unknown);
  if (file.tensors().contains(kRopeFactors)) {
    HostTensor factors = file.read(kRopeFactors);
    c.rope.freq_factors.assign(factors.as<float>().begin(), factors.as<float>().end());
    for (float factor : c.rope.freq_factors)
      if (!(factor > 0) || !std::isfinite(factor))
        fail("{}: tensor '{}' holds {}, expected positive numbers", name, kRopeFactors, factor);
    c.check(name);
    recognise_llama3(c);
  }
  return c;
}

}  // namespace gavel

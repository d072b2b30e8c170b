#include "spec/rope_keys.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace gavel {

namespace {

constexpr std::array<std::string_view, 6> kTypes = {"default", "linear", "dynamic", "yarn", "longrope", "llama3"};

bool has_original_length(const std::string& type) {
  return type == "yarn" || type == "longrope" || type == "llama3";
}

void check_whole(const ConfigKeys& keys) {
  if (double part = keys.number("partial_rotary_factor", 1); part != 1)
    fail("{}: 'partial_rotary_factor' is {}; ropes that turn a part of the features are not supported", keys.name(),
         part);
}

/** transformers fails at a theta that is null, rather than take the default. */
double theta_of(const ConfigKeys& config, double default_theta) {
  if (config.mentions("rope_theta") && !config.has("rope_theta"))
    fail("{}: key 'rope_theta' is null; give the model's number, or leave the key out for {}", config.name(),
         default_theta);
  return config.number("rope_theta", default_theta);
}

}  // namespace

RopeSpec read_rope(const ConfigKeys& config, double default_theta) {
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if (auto parameters = config.object(key); parameters && !parameters->empty()) {
      for (const char* kind : {"full_attention", "sliding_attention"})
        if (parameters->has(kind))
          fail("{}: there are ropes by kind of layer ('{}'), which models of this family do not have",
               parameters->name(), kind);
      return read_rope_parameters(config, *parameters, default_theta);
    }
  check_whole(config);
  RopeSpec plain;
  plain.rope_theta = theta_of(config, default_theta);
  return plain;
}

RopeSpec read_rope_parameters(const ConfigKeys& config, const ConfigKeys& keys, double default_theta) {
  RopeSpec rope;
  RopeScaling& scaling = rope.scaling;
  scaling.type = keys.text("rope_type", keys.text("type", "default"));
  rope.rope_theta = keys.has("rope_theta") ? keys.number("rope_theta", 0) : theta_of(config, default_theta);
  if (std::find(kTypes.begin(), kTypes.end(), scaling.type) == kTypes.end())
    fail("{}: rope type '{}' is not supported; expected default, linear, dynamic, yarn, longrope or llama3",
         keys.name(), scaling.type);
  for (const ConfigKeys* where : {&keys, &config}) check_whole(*where);
  if (keys.has("mrope_section"))
    fail("{}: 'mrope_section' is there; ropes of several axes are not supported", keys.name());
  if (scaling.type == "default") return rope;
  auto need = [&](const char* key) {
    if (!keys.has(key)) fail("{}: key '{}' is missing, rope type '{}' needs it", keys.name(), key, scaling.type);
  };
  // The default depends on the family, and no real file leaves it out.
  auto longest = [&] { return config.integer("max_position_embeddings"); };
  if (scaling.type == "dynamic") longest();
  if (has_original_length(scaling.type)) {
    // transformers: what stands at top level comes first (Phi-3 has it there), and the model's length is the default.
    const char* key = "original_max_position_embeddings";
    scaling.original_max_position_embeddings = config.has(key) ? config.integer(key)
                                               : keys.has(key) ? keys.integer(key)
                                                               : longest();
    if (scaling.original_max_position_embeddings < 1 || scaling.original_max_position_embeddings > INT32_MAX)
      fail("{}: '{}' is {}, expected a positive number", keys.name(), key, scaling.original_max_position_embeddings);
  }
  const bool by_length = scaling.type == "yarn" || scaling.type == "longrope";
  if (!by_length) need("factor");
  scaling.factor = keys.has("factor")
                       ? keys.number("factor", 1)
                       : static_cast<double>(longest()) / static_cast<double>(scaling.original_max_position_embeddings);
  if (scaling.type == "llama3") {
    need("low_freq_factor");
    need("high_freq_factor");
    scaling.low_freq_factor = keys.number("low_freq_factor", 1);
    scaling.high_freq_factor = keys.number("high_freq_factor", 4);
  }
  if (by_length && keys.has("attention_factor")) scaling.attention_factor = keys.number("attention_factor", 1);
  if (scaling.type == "yarn") {
    // transformers takes 0 for "not there".
    auto unless_zero = [&](const char* key, double fallback) {
      const double value = keys.number(key, fallback);
      return value == 0 ? fallback : value;
    };
    scaling.beta_fast = unless_zero("beta_fast", 32);
    scaling.beta_slow = unless_zero("beta_slow", 1);
    scaling.truncate = keys.boolean("truncate", true);
    if (keys.has("mscale")) scaling.mscale = keys.number("mscale", 0);
    if (keys.has("mscale_all_dim")) scaling.mscale_all_dim = keys.number("mscale_all_dim", 0);
  }
  if (scaling.type == "longrope") {
    need("short_factor");
    need("long_factor");
    scaling.short_factor = keys.numbers("short_factor");
    scaling.long_factor = keys.numbers("long_factor");
  }
  return rope;
}

ConfigKeys::Json rope_json(const RopeSpec& rope) {
  const RopeScaling& scaling = rope.scaling;
  ConfigKeys::Json json = {{"rope_type", scaling.type}};
  if (scaling.type != "default") json["factor"] = scaling.factor;
  if (scaling.type == "llama3") {
    json["low_freq_factor"] = scaling.low_freq_factor;
    json["high_freq_factor"] = scaling.high_freq_factor;
  }
  if (has_original_length(scaling.type))
    json["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
  if (scaling.attention_factor) json["attention_factor"] = *scaling.attention_factor;
  if (scaling.type == "yarn") {
    json["beta_fast"] = scaling.beta_fast;
    json["beta_slow"] = scaling.beta_slow;
    json["truncate"] = scaling.truncate;
    if (scaling.mscale) json["mscale"] = *scaling.mscale;
    if (scaling.mscale_all_dim) json["mscale_all_dim"] = *scaling.mscale_all_dim;
  }
  if (scaling.type == "longrope") {
    json["short_factor"] = scaling.short_factor;
    json["long_factor"] = scaling.long_factor;
  }
  json["rope_theta"] = rope.rope_theta;
  return json;
}

void check_rope(const RopeSpec& rope, int64_t head_dim, const std::string& name) {
  const RopeScaling& scaling = rope.scaling;
  auto positive = [&](const char* key, double value) {
    if (!(value > 0) || !std::isfinite(value))
      fail("{}: rope '{}' is {}, expected a positive number", name, key, value);
  };
  positive("rope_theta", rope.rope_theta);
  positive("factor", scaling.factor);
  positive("beta_fast", scaling.beta_fast);
  positive("beta_slow", scaling.beta_slow);
  if (scaling.attention_factor) positive("attention_factor", *scaling.attention_factor);
  if (scaling.type == "yarn") positive("attention factor by mscale", rotary_scale(scaling));
  if (scaling.type == "llama3" && !(scaling.high_freq_factor > scaling.low_freq_factor && scaling.low_freq_factor > 0))
    fail("{}: rope low_freq_factor {} must be positive and below high_freq_factor {}", name, scaling.low_freq_factor,
         scaling.high_freq_factor);
  auto of_each_pair = [&](const char* key, const std::vector<double>& factors) {
    if (static_cast<int64_t>(factors.size()) != head_dim / 2)
      fail("{}: rope '{}' has {} numbers, head_dim {} calls for {}", name, key, factors.size(), head_dim, head_dim / 2);
    for (double factor : factors) positive(key, factor);
  };
  if (scaling.type == "longrope") {
    of_each_pair("short_factor", scaling.short_factor);
    of_each_pair("long_factor", scaling.long_factor);
  }
  if (!rope.freq_factors.empty() && static_cast<int64_t>(rope.freq_factors.size()) != head_dim / 2)
    fail("{}: {} rope factors for head_dim {}", name, rope.freq_factors.size(), head_dim);
}

}  // namespace gavel

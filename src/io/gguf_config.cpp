#include "io/gguf_config.h"

#include <cmath>
#include <cstdlib>
#include <numbers>

namespace gavel {

std::vector<double> llama3_factors(double rope_theta, int64_t head_dim, const RopeScaling& scaling) {
  auto original = static_cast<double>(scaling.original_max_position_embeddings);
  double low = original / scaling.low_freq_factor, high = original / scaling.high_freq_factor;
  std::vector<double> factors;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    double exponent = static_cast<double>(2 * i) / static_cast<double>(head_dim);
    double wavelength = 2 * std::numbers::pi * std::pow(rope_theta, exponent);
    double smooth = (original / wavelength - scaling.low_freq_factor) /
                    (scaling.high_freq_factor - scaling.low_freq_factor);
    if (wavelength > low)
      factors.push_back(scaling.factor);
    else if (wavelength < high)
      factors.push_back(1);
    else
      factors.push_back(1 / ((1 - smooth) / scaling.factor + smooth));
  }
  return factors;
}

namespace {

/** The converter wrote out what config.json says in five numbers; these are the published models' numbers. */
void recognise_llama3(LlamaConfig& config) {
  if (config.rope_freq_factors.empty() || config.rope_scaling.type != "default") return;
  for (double factor : {8.0, 32.0}) {
    RopeScaling scaling{"llama3", factor, 1, 4, 8192};
    auto expected = llama3_factors(config.rope_theta, config.head_dim, scaling);
    bool equal = true;
    for (size_t i = 0; i < expected.size(); ++i)
      equal = equal && std::abs(config.rope_freq_factors[i] - expected[i]) <= 1e-5 * expected[i];
    if (!equal) continue;
    config.rope_scaling = scaling;
    config.rope_freq_factors.clear();
    return;
  }
}

/** GGUF has numbers as float32; the decimal number that was meant is the shortest one that rounds to it. */
double as_written(double value) {
  return std::strtod(fmt::format("{}", static_cast<float>(value)).c_str(), nullptr);
}

}  // namespace

LlamaConfig gguf_config(const GgufFile& file) {
  std::string name = file.path().string();
  if (const std::string& architecture = file.text("general.architecture"); architecture != "llama")
    fail("{}: general.architecture is '{}'; only llama models are supported", name, architecture);
  auto integer_or = [&](const std::string& key, int64_t fallback) {
    return file.has(key) ? file.integer(key) : fallback;
  };
  LlamaConfig c;
  c.hidden_size = file.integer("llama.embedding_length");
  c.intermediate_size = file.integer("llama.feed_forward_length");
  c.num_hidden_layers = file.integer("llama.block_count");
  c.num_attention_heads = file.integer("llama.attention.head_count");
  c.num_key_value_heads = integer_or("llama.attention.head_count_kv", c.num_attention_heads);
  c.head_dim = integer_or("llama.attention.key_length",
                          c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
  c.max_position_embeddings = integer_or("llama.context_length", 2048);
  c.rms_norm_eps = as_written(file.number("llama.attention.layer_norm_rms_epsilon"));
  if (file.has("llama.rope.freq_base")) c.rope_theta = as_written(file.number("llama.rope.freq_base"));
  if (int64_t turned = integer_or("llama.rope.dimension_count", c.head_dim); turned != c.head_dim)
    fail(
        "{}: llama.rope.dimension_count is {} and heads have {} dimensions; partial rotation is not "
        "supported",
        name, turned, c.head_dim);
  if (int64_t experts = integer_or("llama.expert_count", 0); experts != 0)
    fail("{}: llama.expert_count is {}; mixtures of experts are not supported", name, experts);
  if (file.has("llama.rope.scaling.type") && file.text("llama.rope.scaling.type") != "none") {
    c.rope_scaling.type = file.text("llama.rope.scaling.type");
    if (c.rope_scaling.type != "linear")
      fail("{}: llama.rope.scaling.type '{}' is not supported; expected none or linear", name,
           c.rope_scaling.type);
    c.rope_scaling.factor = as_written(file.number("llama.rope.scaling.factor"));
  }
  if (file.tensors().contains("rope_freqs.weight")) {
    HostTensor factors = file.read("rope_freqs.weight");
    c.rope_freq_factors.assign(factors.as<float>().begin(), factors.as<float>().end());
    for (float factor : c.rope_freq_factors)
      if (!(factor > 0) || !std::isfinite(factor))
        fail("{}: tensor 'rope_freqs.weight' holds {}, expected positive numbers", name, factor);
  }
  auto token = [&](const std::string& key) {
    return file.has(key) ? std::optional<int64_t>(file.integer(key)) : std::nullopt;
  };
  c.bos_token_id = token("tokenizer.ggml.bos_token_id");
  c.eos_token_id = token("tokenizer.ggml.eos_token_id");
  c.pad_token_id = token("tokenizer.ggml.padding_token_id");
  auto embeddings = file.tensors().find("token_embd.weight");
  if (embeddings == file.tensors().end() || embeddings->second.shape.size() != 2)
    fail("{}: tensor 'token_embd.weight' is missing or not a matrix", name);
  c.vocab_size = embeddings->second.shape[0];
  c.tie_word_embeddings = !file.tensors().contains("output.weight");
  c.attention_bias = file.tensors().contains("blk.0.attn_q.bias");
  c.mlp_bias = file.tensors().contains("blk.0.ffn_up.bias");
  c.check(name);
  recognise_llama3(c);
  return c;
}

}  // namespace gavel

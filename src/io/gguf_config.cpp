#include "io/gguf_config.h"

#include <cmath>
#include <cstdlib>

#include "spec/family.h"

namespace gavel {

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

/** What only the tensors tell: the vocabulary, whether the head is the embeddings, and which linears have biases. */
void read_traits_of_tensors(const GgufFile& file, const Family& family, ModelConfig& c) {
  ModelConfig names;  // the file's numbers are not checked yet
  names.model_type = family.model_type;
  names.attention_bias = names.mlp_bias = true;
  const DecoderSpec spec = family.describe(names);
  auto has = [&](const std::string& name) { return file.tensors().contains(name); };
  auto has_bias = [&](const LinearSpec* linear) {
    return linear->has_bias() && has(name_in_layer(linear->bias.front().gguf_name, 0));
  };
  const std::string& table = spec.embeddings.gguf_name;
  if (!has(table) || file.tensors().at(table).shape.size() != 2)
    fail("{}: tensor '{}' is missing or not a matrix", file.path().string(), table);
  c.vocab_size = file.tensors().at(table).shape[0];
  c.tie_word_embeddings = !has(spec.language_model_head.gguf_name);
  // Attention's linears come first, the feed-forward block's last.
  const auto linears = spec.blocks.front().linears();
  c.attention_bias = has_bias(linears.front());
  c.mlp_bias = has_bias(linears.back());
}

}  // namespace

ModelConfig gguf_config(const GgufFile& file) {
  std::string name = file.path().string();
  const std::string& architecture = file.text("general.architecture");
  const Family& family = family_of_gguf(architecture, name);
  auto key = [&](std::string_view rest) { return fmt::format("{}.{}", architecture, rest); };
  auto integer_or = [&](const std::string& name_of_key, int64_t fallback) {
    return file.has(name_of_key) ? file.integer(name_of_key) : fallback;
  };
  ModelConfig c;
  c.model_type = family.model_type;
  c.hidden_size = file.integer(key("embedding_length"));
  c.intermediate_size = file.integer(key("feed_forward_length"));
  c.num_hidden_layers = file.integer(key("block_count"));
  c.num_attention_heads = file.integer(key("attention.head_count"));
  c.num_key_value_heads = integer_or(key("attention.head_count_kv"), c.num_attention_heads);
  c.head_dim =
      integer_or(key("attention.key_length"), c.num_attention_heads > 0 ? c.hidden_size / c.num_attention_heads : 0);
  c.max_position_embeddings = integer_or(key("context_length"), 2048);
  c.rms_norm_eps = as_written(file.number(key("attention.layer_norm_rms_epsilon")));
  if (file.has(key("rope.freq_base"))) c.rope.rope_theta = as_written(file.number(key("rope.freq_base")));
  if (int64_t turned = integer_or(key("rope.dimension_count"), c.head_dim); turned != c.head_dim)
    fail(
        "{}: {} is {} and heads have {} dimensions; partial rotation is not "
        "supported",
        name, key("rope.dimension_count"), turned, c.head_dim);
  if (int64_t window = integer_or(key("attention.sliding_window"), 0); window != 0)
    fail("{}: {} is {}; windows are read from Hugging Face folders alone", name, key("attention.sliding_window"),
         window);
  if (int64_t experts = integer_or(key("expert_count"), 0); experts != 0)
    fail("{}: {} is {}; mixtures of experts are not supported", name, key("expert_count"), experts);
  if (file.has(key("rope.scaling.type")) && file.text(key("rope.scaling.type")) != "none") {
    c.rope.scaling.type = file.text(key("rope.scaling.type"));
    if (c.rope.scaling.type != "linear")
      fail("{}: {} '{}' is not supported; expected none or linear", name, key("rope.scaling.type"),
           c.rope.scaling.type);
    c.rope.scaling.factor = as_written(file.number(key("rope.scaling.factor")));
  }
  if (file.tensors().contains(kRopeFactors)) {
    HostTensor factors = file.read(kRopeFactors);
    c.rope.freq_factors.assign(factors.as<float>().begin(), factors.as<float>().end());
    for (float factor : c.rope.freq_factors)
      if (!(factor > 0) || !std::isfinite(factor))
        fail("{}: tensor '{}' holds {}, expected positive numbers", name, kRopeFactors, factor);
  }
  auto token = [&](const std::string& name_of_key) {
    return file.has(name_of_key) ? std::optional<int64_t>(file.integer(name_of_key)) : std::nullopt;
  };
  c.bos_token_id = token("tokenizer.ggml.bos_token_id");
  c.eos_token_id = token("tokenizer.ggml.eos_token_id");
  c.pad_token_id = token("tokenizer.ggml.padding_token_id");
  read_traits_of_tensors(file, family, c);
  c.check(name);
  recognise_llama3(c);
  return c;
}

}  // namespace gavel

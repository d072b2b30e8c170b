#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** How rotary frequencies are stretched for longer texts; Hugging Face's rope_parameters (older:
 * rope_scaling). */
struct RopeScaling {
  std::string type = "default";  // default | linear | llama3
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;
};

/** The shape of a Llama-family model, with Hugging Face's names. */
struct LlamaConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  /** GGUF keeps Llama-3.1 scaling as divisors of the frequencies [head_dim / 2]; empty when there are none.
   */
  std::vector<float> rope_freq_factors;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> eos_token_id;  // the first, where the file lists several
  std::optional<int64_t> pad_token_id;

  /** Reads a config.json of model_type llama. Throws Error naming the file and the key that is missing, of a
   * wrong type, or impossible (heads that do not divide, an unknown rope type, another architecture or
   * activation). */
  static LlamaConfig from_file(const std::filesystem::path& path);
  static LlamaConfig from_json(std::string_view text, const std::string& name);
  /** Checks that all numbers fit each other; `name` stands in the message. */
  void check(const std::string& name) const;
  /** A config.json of LlamaForSequenceClassification that transformers opens. `dtype`: "float32" |
   * "bfloat16". */
  std::string to_json(int64_t num_labels, std::string_view dtype) const;
};

/** Shapes known by name, for runs without files: "llama-3-8b", "smollm2-135m", … */
std::vector<std::string> built_in_shapes();
/** Throws Error with the nearest name. */
LlamaConfig built_in_shape(std::string_view name);

}  // namespace gavel

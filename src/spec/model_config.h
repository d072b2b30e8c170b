#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/config_keys.h"
#include "spec/rope.h"

namespace gavel {

/** Which keys a layer's queries see: all before them, or those within the window. */
enum class LayerType : uint8_t { kFullAttention, kSlidingAttention };

/** The numbers of a model's config.json, with Hugging Face's names. decoder_spec() (family.h) makes a DecoderSpec of
 * them. */
struct ModelConfig {
  std::string model_type = "llama";
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position_embeddings = 2048;
  double rms_norm_eps = 1e-6;
  RopeSpec rope;
  /** The rope of layers with the window, where it is another one (Gemma 3). */
  std::optional<RopeSpec> sliding_rope;
  /** Tokens that a query sees, itself included; none = all before it. */
  std::optional<int64_t> sliding_window;
  /** Of each layer; empty = all layers alike, with the window if there is one. */
  std::vector<LayerType> layer_types;
  /** SmolLM3: 0 for each layer without positions, else 1. */
  std::vector<int64_t> no_rope_layers;
  /** Gemma: scores are divided by its square root; none = head_dim. */
  std::optional<int64_t> query_pre_attn_scalar;
  /** Gemma 2: scores are cap * tanh(scores / cap). */
  std::optional<double> attn_logit_softcapping;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  double initializer_range = 0.02;
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> eos_token_id;  // the first, where the file lists several
  std::optional<int64_t> pad_token_id;
  /** Keys of the file that neither Gavel nor the family's class knows (known_keys.h), for a word to the user. */
  std::vector<std::string> unknown_keys;

  /** Reads and checks a config.json of one of families(). Throws Error naming the file and the key that is missing, of
   * a wrong type, or impossible (heads that do not divide, an unknown rope type, another model_type or activation). */
  static ModelConfig from_file(const std::filesystem::path& path);
  /** The same for a text; `name` stands for the file in messages. */
  static ModelConfig from_json(std::string_view text, const std::string& name);
  /** Throws Error when numbers are out of range or do not fit each other; `name` stands for the file in it. */
  void check(const std::string& name) const;
  /** A config.json of the family's …ForSequenceClassification that transformers opens, with its labels by label_name().
   * `dtype`: "float32" | "bfloat16". */
  std::string to_json(int64_t num_labels, std::string_view dtype) const;
};

/** What a head of so many labels says with one of them: A, B and tie, or A and B, of a judge; of others, a reward's one label
 * too, LABEL_0, …, which is transformers' word for a label without a name (its pipelines and TRL's rewards have it). */
std::string label_name(int64_t num_labels, int64_t label);

/** The config of a config.json's keys; checked. */
ModelConfig config_of(const ConfigKeys& keys);

/** Names of the models whose config is built in, for runs without files: "llama-3-8b", "smollm2-135m", … */
std::vector<std::string> built_in_shapes();
/** The config of that name. Throws Error with the nearest name when there is none. */
ModelConfig built_in_shape(std::string_view name);

}  // namespace gavel

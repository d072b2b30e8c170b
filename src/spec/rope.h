#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace gavel {

/** How rotary frequencies are stretched for longer texts; Hugging Face's rope_parameters (older: rope_scaling), with its
 * names. Which numbers count depends on the type. */
struct RopeScaling {
  std::string type = "default";  // default | linear | dynamic | yarn | longrope | llama3
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  /** Positions that the model was first trained on: of yarn, longrope and llama3. */
  int64_t original_max_position_embeddings = 8192;
  /** Of yarn and longrope: what cos and sin are multiplied by; none = by the rule of the type. */
  std::optional<double> attention_factor;
  /** Of yarn. */
  double beta_fast = 32;
  double beta_slow = 1;
  bool truncate = true;
  std::optional<double> mscale, mscale_all_dim;
  /** Of longrope, [head_dim / 2]: divisors up to original_max_position_embeddings, and beyond. */
  std::vector<double> short_factor, long_factor;
};

/** Rotary position embeddings of one kind of layer (Su et al., "RoFormer", 2021). */
struct RopeSpec {
  double rope_theta = 10000;
  RopeScaling scaling;
  /** More divisors of the frequencies, [head_dim / 2]: as a GGUF file lists them, in place of the llama3 rule; infinite
   * ones for layers without positions. Empty when there are none. */
  std::vector<float> freq_factors;
};

/** What positions are multiplied by to give the rotary angles, [head_dim / 2]: float32 values, computed as transformers
 * does. Types: Chen et al., "Position Interpolation", 2023 (linear); Peng et al., "YaRN", 2023; Ding et al., "LongRoPE",
 * 2024 (its short divisors); Llama 3.1's. A dynamic rope is the plain one up to longest_text(). */
std::vector<double> inverse_frequencies(const RopeSpec& rope, int64_t head_dim);

/** What the scaling divides the frequencies by, [head_dim / 2]. */
std::vector<double> frequency_divisors(const RopeSpec& rope, int64_t head_dim);

/** What cos and sin are multiplied by: 1 but for yarn and longrope. */
double rotary_scale(const RopeScaling& scaling);

/** The number of tokens of a text above which frequencies would depend on its length, which Gavel does not compute; none
 * for most types. `max_position_embeddings`: the model's. */
std::optional<int64_t> longest_text(const RopeScaling& scaling, int64_t max_position_embeddings);

}  // namespace gavel

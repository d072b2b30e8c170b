#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace gavel {

/** How rotary frequencies are stretched for longer texts; Hugging Face's rope_parameters (older: rope_scaling). */
struct RopeScaling {
  std::string type = "default";  // default | linear | llama3
  double factor = 1;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 8192;
};

/** Rotary position embeddings of one kind of layer (Su et al., "RoFormer", 2021). */
struct RopeSpec {
  double rope_theta = 10000;
  RopeScaling scaling;
  /** Divisors of the frequencies [head_dim / 2] as a GGUF file lists them, in place of the llama3 rule; empty when
   * there are none. */
  std::vector<float> freq_factors;
};

/** What positions are multiplied by to give the rotary angles, [head_dim / 2]: float32 values, computed as transformers
 * does. */
std::vector<double> inverse_frequencies(const RopeSpec& rope, int64_t head_dim);

/** What the scaling divides the frequencies by, [head_dim / 2]. */
std::vector<double> frequency_divisors(const RopeSpec& rope, int64_t head_dim);

}  // namespace gavel

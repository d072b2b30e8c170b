#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>
namespace gavel {
struct RopeScaling { std::string type = "default"; double factor = 1, low_freq_factor = 1, high_freq_factor = 4; int64_t original_max_position_embeddings = 8192; };
struct LlamaConfig {
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0, num_attention_heads = 0,
          num_key_value_heads = 0, head_dim = 0;
  double rms_norm_eps = 1e-5, rope_theta = 10000, initializer_range = 0.02;
  RopeScaling rope_scaling;
  std::vector<float> rope_freq_factors;
  bool attention_bias = false, mlp_bias = false;
  std::optional<int64_t> pad_token_id;
};
}

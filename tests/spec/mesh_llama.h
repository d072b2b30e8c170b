#pragma once
#include "spec/model_config.h"

namespace gavel {

/** A small Llama that meshes of eight devices divide: 8 heads, 4 of keys. */
inline ModelConfig mesh_llama(int64_t num_hidden_layers) {
  ModelConfig config;
  config.vocab_size = 64;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.num_hidden_layers = num_hidden_layers;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 4;
  config.head_dim = 8;
  return config;
}

}  // namespace gavel

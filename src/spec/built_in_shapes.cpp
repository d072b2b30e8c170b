#include <map>

#include "base/error.h"
#include "spec/model_config.h"

namespace gavel {

namespace {

/** By name, what counts of the published config.json. */
const std::map<std::string, std::string, std::less<>>& shapes() {
  auto config = [](const char* model_type, int64_t vocab_size, int64_t hidden_size, int64_t intermediate_size,
                   int64_t num_hidden_layers, int64_t num_attention_heads, int64_t num_key_value_heads,
                   const char* more) {
    return fmt::format(
        R"({{"model_type":"{}","vocab_size":{},"hidden_size":{},"intermediate_size":{},"num_hidden_layers":{},)"
        R"("num_attention_heads":{},"num_key_value_heads":{},{}}})",
        model_type, vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads,
        num_key_value_heads, more);
  };
  auto llama = [&](int64_t vocab, int64_t hidden, int64_t intermediate, int64_t layers, int64_t heads, int64_t kv,
                   double theta, bool tied, double llama3_factor = 0) {
    std::string more = fmt::format(R"("rms_norm_eps":1e-5,"rope_theta":{},"tie_word_embeddings":{},)", theta, tied);
    if (llama3_factor == 0)
      more += R"("max_position_embeddings":8192)";
    else
      more += fmt::format(
          R"("max_position_embeddings":131072,"rope_scaling":{{"rope_type":"llama3","factor":{},"low_freq_factor":1,)"
          R"("high_freq_factor":4,"original_max_position_embeddings":8192}})",
          llama3_factor);
    return config("llama", vocab, hidden, intermediate, layers, heads, kv, more.c_str());
  };
  constexpr const char* kQwen = R"("rope_theta":1e6,"max_position_embeddings":32768,"tie_word_embeddings":false)";
  constexpr const char* kQwenTied = R"("rope_theta":1e6,"max_position_embeddings":32768,"tie_word_embeddings":true)";
  constexpr const char* kGemma2 = R"("head_dim":256,"query_pre_attn_scalar":256,"max_position_embeddings":8192)";
  constexpr const char* kGemma3 = R"("query_pre_attn_scalar":256,"sliding_window":512,"max_position_embeddings":32768)";
  static const std::map<std::string, std::string, std::less<>> known = {
      {"smollm2-135m", llama(49152, 576, 1536, 30, 9, 3, 100000, true)},
      {"smollm2-360m", llama(49152, 960, 2560, 32, 15, 5, 100000, true)},
      {"smollm2-1.7b", llama(49152, 2048, 8192, 24, 32, 32, 130000, true)},
      {"llama-2-7b", llama(32000, 4096, 11008, 32, 32, 32, 10000, false)},
      {"llama-2-13b", llama(32000, 5120, 13824, 40, 40, 40, 10000, false)},
      {"llama-3-8b", llama(128256, 4096, 14336, 32, 32, 8, 500000, false)},
      {"llama-3-70b", llama(128256, 8192, 28672, 80, 64, 8, 500000, false)},
      {"llama-3.1-8b", llama(128256, 4096, 14336, 32, 32, 8, 500000, false, 8)},
      {"llama-3.2-1b", llama(128256, 2048, 8192, 16, 32, 8, 500000, true, 32)},
      {"llama-3.2-3b", llama(128256, 3072, 8192, 28, 24, 8, 500000, true, 32)},
      // Version 0.3, which has no window.
      {"mistral-7b",
       config("mistral", 32768, 4096, 14336, 32, 32, 8,
              R"("rms_norm_eps":1e-5,"rope_theta":1e6,"sliding_window":null,"max_position_embeddings":32768)")},
      {"qwen2.5-0.5b", config("qwen2", 151936, 896, 4864, 24, 14, 2, kQwenTied)},
      {"qwen2.5-7b", config("qwen2", 152064, 3584, 18944, 28, 28, 4, kQwen)},
      {"qwen3-0.6b", config("qwen3", 151936, 1024, 3072, 28, 16, 8, kQwenTied)},
      {"qwen3-4b", config("qwen3", 151936, 2560, 9728, 36, 32, 8, kQwenTied)},
      {"qwen3-8b", config("qwen3", 151936, 4096, 12288, 36, 32, 8, kQwen)},
      {"gemma-2-2b", config("gemma2", 256000, 2304, 9216, 26, 8, 4, kGemma2)},
      {"gemma-2-9b", config("gemma2", 256000, 3584, 14336, 42, 16, 8, kGemma2)},
      {"gemma-3-270m", config("gemma3_text", 262144, 640, 2048, 18, 4, 1, kGemma3)},
      {"gemma-3-1b", config("gemma3_text", 262144, 1152, 6912, 26, 4, 1, kGemma3)},
      {"gemma-3-4b", config("gemma3_text", 262208, 2560, 10240, 34, 8, 4,
                            R"("query_pre_attn_scalar":256,"sliding_window":1024,"max_position_embeddings":131072,)"
                            R"("rope_scaling":{"rope_type":"linear","factor":8})")},
  };
  return known;
}

}  // namespace

std::vector<std::string> built_in_shapes() {
  std::vector<std::string> names;
  for (const auto& [name, config] : shapes()) names.push_back(name);
  return names;
}

ModelConfig built_in_shape(std::string_view name) {
  auto found = shapes().find(name);
  if (found == shapes().end()) fail("'{}' is no built-in shape{}", name, did_you_mean(name, built_in_shapes()));
  return ModelConfig::from_json(found->second, found->first);
}

}  // namespace gavel

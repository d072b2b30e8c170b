#include "model/lora.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/random.h"

namespace gavel {

double LoraConfig::scaling() const {
  auto rank = static_cast<double>(r);
  return lora_alpha / (use_rslora ? std::sqrt(rank) : rank);
}

bool LoraConfig::targets(std::string_view module) const {
  return std::find(target_modules.begin(), target_modules.end(), module) != target_modules.end();
}

std::vector<LinearModule> linear_modules(const LlamaConfig& c) {
  int64_t query = c.num_attention_heads * c.head_dim;
  int64_t key = c.num_key_value_heads * c.head_dim;
  return {
      {"q_proj", "self_attn.q_proj", c.hidden_size, query, c.attention_bias},
      {"k_proj", "self_attn.k_proj", c.hidden_size, key, c.attention_bias},
      {"v_proj", "self_attn.v_proj", c.hidden_size, key, c.attention_bias},
      {"o_proj", "self_attn.o_proj", query, c.hidden_size, c.attention_bias},
      {"gate_proj", "mlp.gate_proj", c.hidden_size, c.intermediate_size, c.mlp_bias},
      {"up_proj", "mlp.up_proj", c.hidden_size, c.intermediate_size, c.mlp_bias},
      {"down_proj", "mlp.down_proj", c.intermediate_size, c.hidden_size, c.mlp_bias},
  };
}

std::vector<std::string> linear_module_names() {
  return {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
}

std::vector<TrainableParameter> trainable_parameters(const LlamaConfig& config, const LoraConfig& lora,
                                                     int64_t num_labels) {
  auto names = linear_module_names();
  for (const std::string& target : lora.target_modules)
    if (std::find(names.begin(), names.end(), target) == names.end())
      fail("lora.target_modules: '{}' is not a linear of a Llama layer{}", target,
           did_you_mean(target, names));
  if (lora.r < 1 && !lora.target_modules.empty()) fail("lora.r: expected a positive rank, found {}", lora.r);

  std::vector<TrainableParameter> parameters;
  int64_t layers = config.num_hidden_layers;
  for (const LinearModule& module : linear_modules(config)) {
    if (!lora.targets(module.name)) continue;
    for (bool is_a : {true, false}) {
      std::string_view half = is_a ? "lora_A" : "lora_B";
      TrainableParameter p;
      p.name = fmt::format("layers.*.{}.{}", module.path, half);
      p.shape = is_a ? Shape{layers, lora.r, module.in_features} : Shape{layers, module.out_features, lora.r};
      p.stacked = true;
      p.kind = is_a ? TrainableParameter::Kind::kLoraA : TrainableParameter::Kind::kLoraB;
      for (int64_t layer = 0; layer < layers; ++layer)
        p.peft_names.push_back(
            fmt::format("base_model.model.model.layers.{}.{}.{}.weight", layer, module.path, half));
      parameters.push_back(std::move(p));
    }
  }
  parameters.push_back({"score",
                        {num_labels, config.hidden_size},
                        false,
                        {"base_model.model.score.weight"},
                        TrainableParameter::Kind::kScore});
  return parameters;
}

HostTensor initial_value(const TrainableParameter& parameter, double initializer_range, uint64_t seed) {
  HostTensor out(DType::kF32, parameter.shape);
  auto values = out.as_mutable<float>();
  uint64_t stream = seed;
  for (char c : parameter.name) stream = mix64(stream ^ static_cast<unsigned char>(c));
  switch (parameter.kind) {
    case TrainableParameter::Kind::kLoraA: {
      double bound = 1.0 / std::sqrt(static_cast<double>(parameter.shape.back()));
      for (size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(bound * (2 * random_uniform(stream, i) - 1));
      break;
    }
    case TrainableParameter::Kind::kLoraB:
      break;
    case TrainableParameter::Kind::kScore:
      // Box-Muller, one of the pair.
      for (size_t i = 0; i < values.size(); ++i) {
        double u = 1.0 - random_uniform(stream, 2 * i), v = random_uniform(stream, 2 * i + 1);
        double normal = std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
        values[i] = static_cast<float>(initializer_range * normal);
      }
      break;
  }
  return out;
}

}  // namespace gavel

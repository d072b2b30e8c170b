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

namespace {

TrainableParameter adapter_half(const DecoderSpec& spec, const LinearSpec& linear, int64_t r, TensorRole role) {
  const bool is_a = role == TensorRole::kAdapterA;
  const std::string half = is_a ? "lora_A" : "lora_B";
  TrainableParameter p;
  p.name = fmt::format("layers.*.{}.{}", linear.path, half);
  p.tensor.name = fmt::format("{}layers.*.{}.{}.weight", kBasePrefix, linear.path, half);
  p.tensor.shape = is_a ? Shape{r, linear.in_features()} : Shape{linear.out_features(), r};
  p.tensor.dimensions = is_a ? std::vector{Dimension::kRank, linear.in_dimension()}
                             : std::vector{linear.out_dimension(), Dimension::kRank};
  p.tensor.role = role;
  p.tensor.storage = Storage::kFloat32;
  p.stacked = true;
  p.shape = p.tensor.shape;
  p.shape.insert(p.shape.begin(), spec.num_hidden_layers);
  for (int64_t layer = 0; layer < spec.num_hidden_layers; ++layer)
    p.peft_names.push_back("base_model.model." + name_in_layer(p.tensor.name, layer));
  return p;
}

}  // namespace

TrainableLayout trainable_layout(const DecoderSpec& spec, const LoraConfig& lora, int64_t num_labels) {
  auto names = spec.linear_names();
  for (const std::string& target : lora.target_modules)
    if (std::find(names.begin(), names.end(), target) == names.end())
      fail("lora.target_modules: '{}' is not a linear of a {} layer{}", target, spec.model_type,
           did_you_mean(target, names));
  if (lora.r < 1 && !lora.target_modules.empty()) fail("lora.r: expected a positive rank, found {}", lora.r);

  TrainableLayout layout;
  auto add = [&](TrainableParameter parameter) {
    layout.parameters.push_back(std::move(parameter));
    return layout.parameters.size() - 1;
  };
  for (const LinearSpec* linear : spec.blocks.front().linears()) {
    if (!lora.targets(linear->name)) continue;
    const size_t a = add(adapter_half(spec, *linear, lora.r, TensorRole::kAdapterA));
    layout.adapters.push_back(
        {linear->name, linear->weight, a, add(adapter_half(spec, *linear, lora.r, TensorRole::kAdapterB))});
  }
  TensorSpec head = head_spec(spec, num_labels);
  layout.head = add({"score", head, false, head.shape, {"base_model.model." + head.name}});
  return layout;
}

HostTensor initial_value(const TrainableParameter& parameter, double initializer_range, uint64_t seed) {
  HostTensor out(DType::kF32, parameter.shape);
  auto values = out.as_mutable<float>();
  uint64_t stream = seed;
  for (char c : parameter.name) stream = mix64(stream ^ static_cast<unsigned char>(c));
  switch (parameter.tensor.role) {
    case TensorRole::kAdapterA: {
      double bound = 1.0 / std::sqrt(static_cast<double>(parameter.shape.back()));
      for (size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<float>(bound * (2 * random_uniform(stream, i) - 1));
      break;
    }
    case TensorRole::kAdapterB:
      break;
    case TensorRole::kHead:
      // Box-Muller, one of the pair.
      for (size_t i = 0; i < values.size(); ++i) {
        double u = 1.0 - random_uniform(stream, 2 * i), v = random_uniform(stream, 2 * i + 1);
        double normal = std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
        values[i] = static_cast<float>(initializer_range * normal);
      }
      break;
    default:
      fail("{}: not a tensor that training starts anew", parameter.name);
  }
  return out;
}

}  // namespace gavel

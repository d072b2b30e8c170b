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

bool LoraConfig::adapts(int64_t layer) const {
  return layers_to_transform.empty() ||
         std::binary_search(layers_to_transform.begin(), layers_to_transform.end(), layer);
}

namespace {

/** `part`: "lora_A", "lora_B" or "lora_magnitude_vector", which PEFT writes without ".weight". */
TrainableParameter adapter_part(const DecoderSpec& spec, const LinearSpec& linear, std::string_view part, int64_t r,
                                TensorRole role) {
  TrainableParameter p;
  p.name = fmt::format("layers.*.{}.{}", linear.path, part);
  p.tensor.name = fmt::format("{}{}{}", kBasePrefix, p.name, role == TensorRole::kAdapterMagnitude ? "" : ".weight");
  switch (role) {
    case TensorRole::kAdapterA:
      p.tensor.shape = {r, linear.in_features()};
      p.tensor.dimensions = {Dimension::kRank, linear.in_dimension()};
      break;
    case TensorRole::kAdapterB:
      p.tensor.shape = {linear.out_features(), r};
      p.tensor.dimensions = {linear.out_dimension(), Dimension::kRank};
      break;
    default:
      p.tensor.shape = {linear.out_features()};
      p.tensor.dimensions = {linear.out_dimension()};
      break;
  }
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

TrainableLayout trainable_layout(const DecoderSpec& spec, const LoraConfig& lora, int64_t num_labels, bool learns_tie,
                                 int64_t auxiliary_outputs) {
  auto names = spec.linear_names();
  for (const std::string& target : lora.target_modules)
    if (std::find(names.begin(), names.end(), target) == names.end())
      fail("lora.target_modules: '{}' is not a linear of a {} layer{}", target, spec.model_type,
           did_you_mean(target, names));
  if (lora.r < 1 && !lora.target_modules.empty()) fail("lora.r: expected a positive rank, found {}", lora.r);
  for (int64_t layer : lora.layers_to_transform)
    if (layer >= spec.num_hidden_layers)
      fail("lora.layers_to_transform: there is no layer {}: the model has the layers 0 to {}", layer,
           spec.num_hidden_layers - 1);

  TrainableLayout layout;
  auto add = [&](TrainableParameter parameter) {
    layout.parameters.push_back(std::move(parameter));
    return layout.parameters.size() - 1;
  };
  for (const LinearSpec* linear : spec.blocks.front().linears()) {
    if (!lora.targets(linear->name)) continue;
    TrainableLayout::Adapter& adapter = layout.adapters.emplace_back();
    adapter.linear = linear->name;
    adapter.weight = linear->weight;
    adapter.a = add(adapter_part(spec, *linear, "lora_A", lora.r, TensorRole::kAdapterA));
    adapter.b = add(adapter_part(spec, *linear, "lora_B", lora.r, TensorRole::kAdapterB));
    if (lora.use_dora)
      adapter.magnitude =
          add(adapter_part(spec, *linear, "lora_magnitude_vector", lora.r, TensorRole::kAdapterMagnitude));
  }
  TensorSpec head = head_spec(spec, num_labels);
  layout.head = add({"score", head, false, head.shape, {"base_model.model." + head.name}});
  if (learns_tie) {
    // No file of PEFT's has it: reward.json does.
    TensorSpec tie{"tie", {1}, {Dimension::kLabels}, TensorRole::kTie, Storage::kFloat32};
    layout.tie = add({"tie", tie, false, tie.shape, {}});
  }
  if (auxiliary_outputs > 0) {
    TensorSpec auxiliary = head_spec(spec, auxiliary_outputs);
    auxiliary.name = "auxiliary";
    auxiliary.role = TensorRole::kAuxiliary;
    layout.auxiliary = add({"auxiliary", auxiliary, false, auxiliary.shape, {}});
  }
  return layout;
}

int64_t movable_elements(const TrainableParameter& parameter, const LoraConfig& lora) {
  if (!parameter.stacked || lora.layers_to_transform.empty()) return num_elements(parameter.shape);
  return num_elements(parameter.tensor.shape) * static_cast<int64_t>(lora.layers_to_transform.size());
}

HostTensor initial_value(const TrainableParameter& parameter, const LoraConfig& lora, double initializer_range,
                         uint64_t seed) {
  HostTensor out(DType::kF32, parameter.shape);
  auto values = out.as_mutable<float>();
  uint64_t stream = seed;
  for (char c : parameter.name) stream = mix64(stream ^ static_cast<unsigned char>(c));
  switch (parameter.tensor.role) {
    case TensorRole::kAdapterA: {
      double bound = 1.0 / std::sqrt(static_cast<double>(parameter.shape.back()));
      const auto of_layer = static_cast<size_t>(num_elements(parameter.tensor.shape));
      for (size_t i = 0; i < values.size(); ++i)
        if (lora.adapts(static_cast<int64_t>(i / of_layer)))
          values[i] = static_cast<float>(bound * (2 * random_uniform(stream, i) - 1));
      break;
    }
    case TensorRole::kAdapterB:
    case TensorRole::kTie:
    case TensorRole::kAuxiliary:
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

HostTensor row_lengths(const HostTensor& weight) {
  const HostTensor wide = weight.to(DType::kF32);
  const auto rows = static_cast<size_t>(wide.shape().at(0));
  auto values = wide.as<float>();
  const size_t columns = values.size() / rows;
  HostTensor lengths(DType::kF32, {wide.shape().at(0)});
  auto out = lengths.as_mutable<float>();
  for (size_t row = 0; row < rows; ++row) {
    double sum = 0;
    for (float value : values.subspan(row * columns, columns)) sum += static_cast<double>(value) * value;
    out[row] = static_cast<float>(std::sqrt(sum));
  }
  return lengths;
}

}  // namespace gavel

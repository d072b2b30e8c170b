#include "engine/rates.h"

#include <cmath>

namespace gavel {

RateTable::RateTable(const RateOptions& options, const std::vector<TrainableParameter>& parameters) {
  for (const TrainableParameter& parameter : parameters) {
    const TensorRole role = parameter.tensor.role;
    const bool adapter = role != TensorRole::kHead && role != TensorRole::kTie && role != TensorRole::kAuxiliary;
    const double factor = !adapter ? options.head : role == TensorRole::kAdapterB ? options.lora_b : 1;
    Entry entry{{factor}, adapter ? options.head_only_steps : 0, size_};
    if (adapter && options.layer_decay != 1) {
      const int64_t layers = parameter.shape.front();
      entry.factors.clear();
      for (int64_t layer = 0; layer < layers; ++layer)
        entry.factors.push_back(factor * std::pow(options.layer_decay, static_cast<double>(layers - 1 - layer)));
    }
    size_ += 2 * static_cast<int64_t>(entry.factors.size()) + 1;
    entries_.push_back(std::move(entry));
  }
}

HostTensor RateTable::values(const AdamW& adam, int64_t step, double learning_rate) const {
  std::vector<float> values;
  for (const Entry& entry : entries_) {
    const bool held = step < entry.first_step;
    const StepScalars scalars = step_scalars(adam, held ? 0 : step - entry.first_step, held ? 0 : learning_rate, 1);
    for (double factor : entry.factors) values.push_back(static_cast<float>(factor * scalars.learning_rate));
    for (double factor : entry.factors)
      values.push_back(static_cast<float>(factor * scalars.learning_rate / scalars.bias_correction1));
    values.push_back(static_cast<float>(std::sqrt(scalars.bias_correction2)));
  }
  return HostTensor::from<float>(values, {size_});
}

std::vector<UpdateRates> RateTable::update_rates(const AdamW& adam, const Value& argument) const {
  auto part = [&](int64_t from, int64_t elements) {
    Value values = slice_dim(argument, 0, from, from + elements);
    return elements == 1 ? reshape(values, {}) : values;
  };
  std::vector<UpdateRates> rates;
  for (const Entry& entry : entries_) {
    const auto count = static_cast<int64_t>(entry.factors.size());
    Value shrink = mul(part(entry.start, count), adam.weight_decay);
    rates.push_back(
        {sub(full_like(shrink, 1), shrink), part(entry.start + count, count), part(entry.start + 2 * count, 1)});
  }
  return rates;
}

}  // namespace gavel

#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "graph/ops.h"

namespace gavel {

StepScalars step_scalars(const AdamW& adam, int64_t step, double learning_rate, double total_weight) {
  auto t = static_cast<double>(step + 1);
  return {learning_rate, 1 - std::pow(adam.beta1, t), 1 - std::pow(adam.beta2, t), total_weight};
}

HostTensor to_tensor(const StepScalars& s) {
  std::vector<float> values(static_cast<size_t>(StepScalar::kCount));
  auto set = [&](StepScalar which, double value) { values[static_cast<size_t>(which)] = static_cast<float>(value); };
  set(StepScalar::kLearningRate, s.learning_rate);
  set(StepScalar::kStepSize, s.learning_rate / s.bias_correction1);
  set(StepScalar::kRootCorrection, std::sqrt(s.bias_correction2));
  set(StepScalar::kInverseWeight, 1 / s.total_weight);
  return HostTensor::from<float>(values, {static_cast<int64_t>(values.size())});
}

UpdateRates update_rates(const AdamW& adam, const Value& scalars) {
  Value shrink = mul(element(scalars, StepScalar::kLearningRate), adam.weight_decay);
  Value decay = sub(full(scalars.graph(), DType::kF32, {}, 1), shrink);
  return {decay, element(scalars, StepScalar::kStepSize), element(scalars, StepScalar::kRootCorrection)};
}

AdamState adamw_update(const AdamW& adam, const AdamState& state, const std::vector<Value>& gradients,
                       const std::vector<UpdateRates>& rates) {
  AdamState next;
  for (size_t i = 0; i < gradients.size(); ++i) {
    const Value& g = gradients[i];
    auto spread = [&](const Value& s) {
      return s.rank() == 0 ? broadcast_scalar(s, g.shape()) : broadcast(s, g.shape(), {0});
    };
    const auto& [decay, step_size, root_correction] = rates.size() == 1 ? rates.front() : rates.at(i);
    Value m = add(mul(state.m[i], adam.beta1), mul(g, 1 - adam.beta1));
    Value v = add(mul(state.v[i], adam.beta2), mul(mul(g, g), 1 - adam.beta2));
    Value denominator = add(div(sqrt(v), spread(root_correction)), adam.epsilon);
    Value decayed = mul(state.parameters[i], spread(decay));
    next.parameters.push_back(sub(decayed, mul(div(m, denominator), spread(step_size))));
    next.m.push_back(m);
    next.v.push_back(v);
  }
  return next;
}

Value global_norm(const std::vector<Value>& gradients) {
  Value sum;
  for (const Value& g : gradients) {
    std::vector<int64_t> all;
    for (int64_t d = 0; d < g.rank(); ++d) all.push_back(d);
    Value squares = reduce_sum(mul(g, g), all);
    sum = sum ? add(sum, squares) : squares;
  }
  return sqrt(sum);
}

std::vector<Value> clip_by_norm(const std::vector<Value>& gradients, const Value& norm, double max_norm) {
  Value scale = minimum(div(full_like(norm, max_norm), add(norm, 1e-6)), full_like(norm, 1));
  std::vector<Value> clipped;
  for (const Value& g : gradients) clipped.push_back(mul(g, broadcast_scalar(scale, g.shape())));
  return clipped;
}

double scheduled_learning_rate(const std::string& schedule, double peak, int64_t step, int64_t warmup_steps,
                               int64_t total_steps) {
  if (step < warmup_steps)
    return peak * static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup_steps));
  if (schedule == "constant") return peak;
  double progress =
      static_cast<double>(step - warmup_steps) / static_cast<double>(std::max<int64_t>(1, total_steps - warmup_steps));
  if (schedule == "linear") return peak * std::max(0.0, 1 - progress);
  if (schedule == "cosine") return peak * std::max(0.0, 0.5 * (1 + std::cos(std::numbers::pi * progress)));
  fail("train.schedule: '{}' is not known; use cosine, linear or constant", schedule);
}

}  // namespace gavel

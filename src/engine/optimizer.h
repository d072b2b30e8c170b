#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/ops.h"

namespace gavel {

/** AdamW (Loshchilov & Hutter, 2019) in PyTorch's order of operations; state in float32. */
struct AdamW {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
};

/** The numbers that change from step to step, computed on the host in double precision. A program gets them as one
 * float32 argument with StepScalar's elements (to_tensor). */
struct StepScalars {
  double learning_rate = 0;
  double bias_correction1 = 1;  // 1 - beta1^t
  double bias_correction2 = 1;  // 1 - beta2^t, t counts from 1
  double total_weight = 1;      // rows of the whole optimizer batch
};
/** Elements of that argument. Divisions are made on the host, in double precision. */
enum class StepScalar : int64_t {
  kLearningRate,
  kStepSize,        // learning rate / (1 - beta1^t)
  kRootCorrection,  // sqrt(1 - beta2^t)
  kInverseWeight,   // 1 / total_weight
  kCount,
};
/** One element of a vector as a scalar, by its name: a StepScalar, or a Stat (programs.h). */
template <class Name>
Value element(const Value& vector, Name which) {
  const auto place = static_cast<int64_t>(which);
  return reshape(slice_dim(vector, 0, place, place + 1), {});
}
/** `step` counts from 0. */
StepScalars step_scalars(const AdamW& adam, int64_t step, double learning_rate, double total_weight);
/** float32 [StepScalar::kCount] */
HostTensor to_tensor(const StepScalars& scalars);

struct AdamState {
  std::vector<Value> parameters, m, v;
};

/** What one tensor's update depends on beside its gradient; float32, each a scalar or one number for each layer of a
 * stacked tensor. */
struct UpdateRates {
  Value decay;            // what a weight keeps: 1 - learning rate * weight decay
  Value step_size;        // learning rate / (1 - beta1^t)
  Value root_correction;  // sqrt(1 - beta2^t)
};
/** Of the elements of `scalars`, for all tensors. */
UpdateRates update_rates(const AdamW& adam, const Value& scalars);

/** The state after one step. `rates`: one for each tensor, or one for all. */
AdamState adamw_update(const AdamW& adam, const AdamState& state, const std::vector<Value>& gradients,
                       const std::vector<UpdateRates>& rates);

/** sqrt of the sum of squares over all gradients, a float32 scalar. */
Value global_norm(const std::vector<Value>& gradients);

/** Scales all gradients by min(1, max_norm / (norm + 1e-6)), as torch's clip_grad_norm_ does. */
std::vector<Value> clip_by_norm(const std::vector<Value>& gradients, const Value& norm, double max_norm);

/** The learning rate of step 0, 1, …: linear warm-up from 0 to `peak`, then "cosine" or "linear" down to 0 at
 * total_steps, or "constant", as transformers' get_…_schedule_with_warmup compute it. Throws Error for another
 * schedule. */
double scheduled_learning_rate(const std::string& schedule, double peak, int64_t step, int64_t warmup_steps,
                               int64_t total_steps);

}  // namespace gavel

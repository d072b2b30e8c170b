#include "engine/programs.h"

#include <limits>

#include "graph/gradients.h"
#include "graph/ops.h"
#include "graph/scan.h"
#include "task/outcomes.h"

namespace gavel {

namespace {

/** Of frozen or of trainable parameters. */
template <class Parameter>
std::vector<DimensionAxes> axes_of(const Placement& placement, const std::vector<Parameter>& parameters) {
  std::vector<DimensionAxes> axes;
  for (const Parameter& p : parameters) axes.push_back(placement.parameter(p.name, p.tensor, p.stacked));
  return axes;
}

/** STATS of scalars. */
Value stats_of(const Value& loss_sum, const Value& correct, const Value& gradient_norm, const Value& applied) {
  return stack({loss_sum, correct, gradient_norm, applied});
}

/** The scale of a step's loss, by the STATS of the step before; none where losses are not scaled. */
Value loss_scale(const StepOptions& options, const Value& previous) {
  return options.scales_loss() ? element(previous, Stat::kLossScale) : Value();
}

RateTable table_of(const StepOptions& options) {
  return {options.rates, trainable_layout(options.model).parameters};
}

/** The arguments that a program declares, in the order that programs.h promises. */
class ProgramBuilder {
 public:
  explicit ProgramBuilder(const StepOptions& options) : options_(options) {}

  void declare_frozen() {
    for (const FrozenParameter& p : frozen_parameters(options_.model))
      frozen_.push_back(graph_.parameter(p.dtype, p.shape, p.name));
    declared(frozen_axes(options_.model));
  }

  std::vector<Value> declare_trainable(const std::string& prefix) {
    std::vector<Value> values;
    for (const TrainableParameter& p : trainable_layout(options_.model).parameters)
      values.push_back(graph_.parameter(DType::kF32, p.shape, prefix + p.name));
    declared(trainable_axes(options_.model));
    return values;
  }

  /** The gradients and sums that accumulation starts from. */
  std::vector<Value> no_gradients() {
    std::vector<Value> zeros;
    for (const TrainableParameter& p : trainable_layout(options_.model).parameters)
      zeros.push_back(full(graph_, DType::kF32, p.shape, 0));
    zeros.push_back(full(graph_, DType::kF32, {options_.stat_count()}, 0));
    return zeros;
  }

  Value declare_scalars() { return declare_vector("scalars", static_cast<int64_t>(StepScalar::kCount)); }
  /** The argument of a RateTable; none where all rates are alike. */
  Value declare_rates() {
    return options_.rates.alike() ? Value() : declare_vector("rates", table_of(options_).size());
  }
  Value declare_stats(const char* name) { return declare_vector(name, options_.stat_count()); }

  void declare_batch(const BatchShape& shape, bool training = true) {
    for (const BatchArgument& argument : batch_arguments(options_, shape, training)) {
      Value value = graph_.parameter(argument.dtype, argument.shape, argument.name);
      if (argument.value != nullptr) batch_.*argument.value = value;
      if (argument.source == &Batch::labels) labels_ = value;
      if (argument.source == &Batch::weights) weights_ = value;
      if (argument.source == &Batch::margins) margins_ = value;
      if (argument.source == &Batch::auxiliary) auxiliary_ = value;
      declared({argument.axes});
    }
    dropout_key_ = graph_.parameter(DType::kU32, {}, "dropout_key");
    declared({DimensionAxes(0)});
  }

  /** The task's outputs as logits, and what an auxiliary head gives. */
  HeadValues outputs(const std::vector<Value>& trainable, bool training) {
    ModelOptions model = options_.model;
    model.dropout = training;
    const TrainableLayout layout = trainable_layout(model);
    HeadValues heads = build_heads(model, frozen_, trainable, batch_, dropout_key_);
    heads.logits = options_.task->outputs(heads.logits, layout.tie ? trainable.at(*layout.tie) : Value());
    return heads;
  }

  /** As evaluations state them: without smoothing and margins. */
  Value row_losses(const Value& logits) { return options_.task->row_losses(logits, labels_, 0, Value()); }

  /** Weight of rightly judged rows. */
  Value correct(const Value& logits) { return reduce_sum(mul(options_.task->hits(logits, labels_), weights_), {0}); }

  /** Forward and backward: gradients of the mean loss, times `scale` where there is one, and its parts. */
  struct Backward {
    std::vector<Value> gradients;
    Value loss_sum, logits;
  };
  Backward backward(const std::vector<Value>& trainable, const Value& scalars, const Value& scale = Value()) {
    const auto [out, auxiliary] = outputs(trainable, true);
    Value row_losses = options_.task->row_losses(out, labels_, options_.label_smoothing, margins_);
    Value loss_sum = reduce_sum(mul(row_losses, weights_), {0});
    Value goal = auxiliary ? add(loss_sum, mul(auxiliary_loss(auxiliary), options_.auxiliary_weight)) : loss_sum;
    Value mean = mul(goal, element(scalars, StepScalar::kInverseWeight));
    if (scale) mean = mul(mean, scale);
    return {gradients_of(mean, trainable), loss_sum, out};
  }

  FlopCount flops(const std::vector<Value>& outputs) const { return graph_.count_flops(outputs); }

  /** `groups`: how many times the outputs begin with a list like the trainable parameters; the rest is whole. */
  ProgramText finish(const std::string& name, const std::vector<Value>& outputs, std::vector<Donation> donations,
                     int groups) {
    std::vector<DimensionAxes> results;
    for (int i = 0; i < groups; ++i)
      for (DimensionAxes& axes : trainable_axes(options_.model)) results.push_back(std::move(axes));
    for (size_t i = results.size(); i < outputs.size(); ++i) results.emplace_back(outputs[i].shape().size());
    ModuleOptions module{name, std::move(donations)};
    const Mesh& mesh = options_.model.placement.mesh();
    if (options_.model.placement.split()) module.sharding = ModuleSharding{mesh, axes_, results};
    FlopCount flops = graph_.count_flops(outputs);
    return {name,
            emit_module(graph_, outputs, module),
            total(flops),
            std::move(flops),
            kept_bytes(graph_, outputs),
            axes_,
            std::move(results)};
  }

 private:
  /** Of both answers of all rows, which count as the rows do; what has no class adds nothing. */
  Value auxiliary_loss(const Value& logits) {
    // With one text a row its outputs are A's classes and then B's, with two each text has its own row.
    Value losses = cross_entropy(reshape(logits, auxiliary_.shape()), auxiliary_, 0);
    Value of_rows = mul(reduce_sum(reshape(losses, {weights_.dim(0), 2}), {1}), 0.5);
    return reduce_sum(mul(of_rows, weights_), {0});
  }

  /** Zeros for what is held: the backward pass computes nothing for it, and norms don't count it. */
  std::vector<Value> gradients_of(const Value& mean, const std::vector<Value>& trainable) {
    const std::vector<TrainableParameter> parameters = trainable_layout(options_.model).parameters;
    std::vector<Value> moved;
    for (size_t i = 0; i < trainable.size(); ++i)
      if (!parameters[i].held) moved.push_back(trainable[i]);
    std::vector<Value> all = gradients(mean, moved);
    for (size_t i = 0; i < trainable.size(); ++i)
      if (parameters[i].held) all.insert(all.begin() + static_cast<std::ptrdiff_t>(i), full_like(trainable[i], 0));
    return all;
  }

  /** f32, whole on each device. */
  Value declare_vector(const char* name, int64_t size) {
    declared({DimensionAxes(1)});
    return graph_.parameter(DType::kF32, {size}, name);
  }
  void declared(std::vector<DimensionAxes> axes) {
    for (DimensionAxes& one : axes) axes_.push_back(std::move(one));
  }

  const StepOptions& options_;
  Graph graph_;
  std::vector<DimensionAxes> axes_;  // of the parameters
  std::vector<Value> frozen_;
  BatchValues batch_;
  Value labels_, weights_, margins_, auxiliary_, dropout_key_;
};

void append(std::vector<Value>& to, const std::vector<Value>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

/** Every output takes the memory of the parameter at the same place in `from`. */
std::vector<Donation> donate(const std::vector<Value>& from) {
  std::vector<Donation> donations;
  for (size_t i = 0; i < from.size(); ++i) donations.push_back({static_cast<size_t>(parameter_index(from[i])), i});
  return donations;
}

Value is_finite(const Value& scalar) {
  return compare(Compare::kLe, abs(scalar), full_like(scalar, std::numeric_limits<float>::max()));
}

/** How each trained tensor is updated. `rates`: of declare_rates(). */
std::vector<UpdateRates> update_rates(const StepOptions& options, const Value& scalars, const Value& rates) {
  if (!rates) return {update_rates(options.adam, scalars)};
  return table_of(options).update_rates(options.adam, rates);
}

/** STATS of a step with a loss scale. `sound`: all but its gradients is as it should be. */
Value scaled_stats(const LossScaling& scaling, const Value& loss_sum, const Value& correct, const Value& norm,
                   const Value& sound, const Value& previous) {
  const Value one = full_like(norm, 1), whole = convert(sound, DType::kF32);
  const Value finite = convert(is_finite(norm), DType::kF32);
  const Value good = mul(whole, finite), overflowed = sub(whole, good);
  const Value steps = mul(add(element(previous, Stat::kGoodSteps), good), sub(one, overflowed));
  const Value grown = compare(Compare::kLe, full_like(steps, static_cast<double>(scaling.interval)), steps);
  Value scale = element(previous, Stat::kLossScale);
  scale = select(compare(Compare::kNe, overflowed, full_like(one, 0)), mul(scale, scaling.backoff), scale);
  scale = select(grown, mul(scale, scaling.growth), scale);
  return stack(
      {loss_sum, correct, norm, add(good, mul(overflowed, 2)), scale, select(grown, full_like(steps, 0), steps)});
}

/** Clips if asked, and updates what is not held, unless the step is a bad one: then the old state goes on. Returns the
 * outputs trainable…, m…, v…, STATS. */
std::vector<Value> update(const StepOptions& options, const AdamState& state, std::vector<Value> gradients,
                          const Value& scalars, const Value& rates, const Value& loss_sum, const Value& correct,
                          const Value& previous) {
  if (const Value scale = loss_scale(options, previous)) {
    const Value inverse = div(full_like(scale, 1), scale);
    for (Value& gradient : gradients) gradient = mul(gradient, broadcast_scalar(inverse, gradient.shape()));
  }
  Value norm = global_norm(gradients);
  // With a loss scale, what is sound but for its gradients has overflowed.
  Value good = options.scales_loss() ? is_finite(loss_sum) : bit_and(is_finite(loss_sum), is_finite(norm));
  if (options.max_loss > 0) {
    Value mean = mul(loss_sum, element(scalars, StepScalar::kInverseWeight));
    good = bit_and(good, compare(Compare::kLe, mean, full_like(mean, options.max_loss)));
  }
  // Without skipping, a bad step also holds back those that were sent before the host knew of it.
  if (!options.skip_nonfinite)
    good = bit_and(good, compare(Compare::kNe, element(previous, Stat::kApplied), full_like(norm, 0)));
  const Value sound = good;
  if (options.scales_loss()) good = bit_and(good, is_finite(norm));
  if (options.max_grad_norm > 0) gradients = clip_by_norm(gradients, norm, options.max_grad_norm);
  AdamState next = adamw_update(options.adam, state, gradients, update_rates(options, scalars, rates));
  const std::vector<TrainableParameter> parameters = trainable_layout(options.model).parameters;
  std::vector<Value> outputs;
  auto keep = [&](const std::vector<Value>& fresh, const std::vector<Value>& old) {
    for (size_t i = 0; i < fresh.size(); ++i)
      // AdamW shrinks weights that have no gradient too.
      outputs.push_back(parameters[i].held ? old[i] : select(broadcast_scalar(good, old[i].shape()), fresh[i], old[i]));
  };
  keep(next.parameters, state.parameters);
  keep(next.m, state.m);
  keep(next.v, state.v);
  outputs.push_back(options.scales_loss() ? scaled_stats(options.loss_scaling, loss_sum, correct, norm, sound, previous)
                                          : stats_of(loss_sum, correct, norm, convert(good, DType::kF32)));
  return outputs;
}

std::string sized(const std::string& name, const BatchShape& s) {
  return fmt::format("{}_{}x{}x{}", name, s.sequences, s.length, s.rows);
}

}  // namespace

int64_t auxiliary_outputs_of(const Task& task, int64_t classes) {
  return classes * 2 / task.texts_per_row();
}

std::vector<BatchArgument> batch_arguments(const StepOptions& options, const BatchShape& shape, bool training) {
  const Task& task = *options.task;
  const Shape tokens = {shape.sequences, shape.length}, rows = {shape.rows}, labels = {shape.rows, task.num_targets()};
  const Shape texts = {shape.rows * task.texts_per_row()};
  const DimensionAxes split = options.model.placement.batch(2), whole(1), whole_rows(2);
  std::vector<BatchArgument> arguments = {
      {"input_ids", DType::kI32, tokens, split, &Batch::input_ids, &BatchValues::input_ids},
      {"positions", DType::kI32, tokens, split, &Batch::positions, &BatchValues::positions},
      {"segment_ids", DType::kI32, tokens, split, &Batch::segment_ids, &BatchValues::segment_ids},
      {"dropout_rows", DType::kI32, tokens, split, &Batch::dropout_rows, &BatchValues::dropout_rows},
      {"last_index", DType::kI32, texts, whole, &Batch::last_index, &BatchValues::last_index},
      {"labels", DType::kF32, labels, whole_rows, &Batch::labels, nullptr},
      {"weights", DType::kF32, rows, whole, &Batch::weights, nullptr},
  };
  if (task.has_margins()) arguments.push_back({"margins", DType::kF32, rows, whole, &Batch::margins, nullptr});
  if (const int64_t outputs = options.model.auxiliary_outputs; outputs > 0 && training)
    arguments.push_back({"auxiliary",
                         DType::kF32,
                         {shape.rows * 2, outputs * task.texts_per_row() / 2},
                         whole_rows,
                         &Batch::auxiliary,
                         nullptr});
  return arguments;
}

std::vector<DimensionAxes> frozen_axes(const ModelOptions& model) {
  return axes_of(model.placement, frozen_parameters(model));
}

std::vector<DimensionAxes> trainable_axes(const ModelOptions& model) {
  return axes_of(model.placement, trainable_layout(model).parameters);
}

ProgramText train_step_program(const StepOptions& options, const BatchShape& shape) {
  ProgramBuilder builder(options);
  builder.declare_frozen();
  AdamState state{builder.declare_trainable(""), builder.declare_trainable("m."), builder.declare_trainable("v.")};
  Value previous = builder.declare_stats("previous"), scalars = builder.declare_scalars();
  const Value rates = builder.declare_rates();
  builder.declare_batch(shape);
  auto [gradients, loss_sum, logits] = builder.backward(state.parameters, scalars, loss_scale(options, previous));
  std::vector<Value> outputs =
      update(options, state, gradients, scalars, rates, loss_sum, builder.correct(logits), previous);
  std::vector<Value> donated = state.parameters;
  append(donated, state.m);
  append(donated, state.v);
  outputs.push_back(logits);
  return builder.finish(sized("train_step", shape), outputs, donate(donated), 3);
}

/** Declares the arguments of a program that only makes gradients, and makes them. */
static auto batch_gradients(ProgramBuilder& builder, const BatchShape& shape) {
  builder.declare_frozen();
  std::vector<Value> trainable = builder.declare_trainable("");
  Value scalars = builder.declare_scalars();
  builder.declare_batch(shape);
  return builder.backward(trainable, scalars);
}

FlopCount model_flops(const StepOptions& given, const BatchShape& shape) {
  StepOptions options = given;
  options.model.form = LayerForm::kUnrolled;  // a scan's gradient computes its layers again
  ProgramBuilder builder(options);
  auto [gradients, loss_sum, logits] = batch_gradients(builder, shape);
  gradients.push_back(loss_sum);
  return builder.flops(gradients);
}

ProgramText accumulate_program(const StepOptions& options, const BatchShape& shape) {
  ProgramBuilder builder(options);
  builder.declare_frozen();
  std::vector<Value> trainable = builder.declare_trainable("");
  std::vector<Value> sums = builder.declare_trainable("gradient.");
  Value stats = builder.declare_stats("sums");
  const Value previous = options.scales_loss() ? builder.declare_stats("previous") : Value();
  Value scalars = builder.declare_scalars();
  builder.declare_batch(shape);
  auto [gradients, loss_sum, logits] = builder.backward(trainable, scalars, loss_scale(options, previous));
  std::vector<Value> outputs;
  for (size_t i = 0; i < sums.size(); ++i) outputs.push_back(add(sums[i], gradients[i]));
  Value none = full_like(loss_sum, 0);
  std::vector<Value> found = {loss_sum, builder.correct(logits)};
  found.resize(static_cast<size_t>(options.stat_count()), none);
  append(outputs, {add(stats, stack(found)), logits});
  return builder.finish(sized("accumulate", shape), outputs, donate(sums), 1);
}

ProgramText apply_program(const StepOptions& options) {
  ProgramBuilder builder(options);
  AdamState state{builder.declare_trainable(""), builder.declare_trainable("m."), builder.declare_trainable("v.")};
  std::vector<Value> gradients = builder.declare_trainable("gradient.");
  Value previous = builder.declare_stats("previous"), sums = builder.declare_stats("sums");
  Value scalars = builder.declare_scalars();
  const Value rates = builder.declare_rates();
  Value correct = element(sums, Stat::kCorrect), loss_sum = element(sums, Stat::kLossSum);
  std::vector<Value> outputs = update(options, state, gradients, scalars, rates, loss_sum, correct, previous);
  std::vector<Value> donated = state.parameters;
  append(donated, state.m);
  append(donated, state.v);
  return builder.finish("apply", outputs, donate(donated), 3);
}

ProgramText evaluate_program(const StepOptions& options, const BatchShape& shape) {
  ProgramBuilder builder(options);
  builder.declare_frozen();
  std::vector<Value> trainable = builder.declare_trainable("");
  builder.declare_batch(shape, false);
  Value logits = builder.outputs(trainable, false).logits;
  return builder.finish(sized("evaluate", shape), {logits, builder.row_losses(logits)}, {}, 0);
}

ProgramText gradients_program(const StepOptions& options, const BatchShape& shape) {
  ProgramBuilder builder(options);
  auto [gradients, loss_sum, logits] = batch_gradients(builder, shape);
  std::vector<Value> outputs = gradients;
  outputs.push_back(logits);
  return builder.finish(sized("gradients", shape), outputs, {}, 1);
}

ProgramText zeros_program(const StepOptions& options) {
  ProgramBuilder builder(options);
  return builder.finish("zeros", builder.no_gradients(), {}, 1);
}

ProgramText gather_program(const StepOptions& options) {
  ProgramBuilder builder(options);
  std::vector<Value> trainable = builder.declare_trainable("");
  return builder.finish("gather", trainable, {}, 0);
}

}  // namespace gavel

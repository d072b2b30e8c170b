#include "train/programs.h"

#include <limits>

#include "graph/gradients.h"
#include "graph/ops.h"

namespace gavel {

namespace {

std::vector<DimensionAxes> whole_axes(std::initializer_list<int> ranks) {
  std::vector<DimensionAxes> axes;
  for (int rank : ranks) axes.emplace_back(static_cast<size_t>(rank));
  return axes;
}

/** Element `i` of a vector, as a scalar. */
Value element(const Value& vector, int64_t i) {
  return reshape(slice_dim(vector, 0, i, i + 1), {});
}

/** The arguments that a program declares, in the order that programs.h promises. */
class ProgramBuilder {
 public:
  explicit ProgramBuilder(const StepOptions& options) : options_(options) {}

  void declare_frozen() {
    for (const FrozenParameter& p : frozen_parameters(options_.model))
      frozen_.push_back(graph_.parameter(options_.model.dtype, p.shape, p.name));
    declared(frozen_axes(options_.model));
  }

  std::vector<Value> declare_trainable(const std::string& prefix) {
    std::vector<Value> values;
    const ModelOptions& model = options_.model;
    for (const TrainableParameter& p : trainable_parameters(model.config, model.lora, model.num_labels))
      values.push_back(graph_.parameter(DType::kF32, p.shape, prefix + p.name));
    declared(trainable_axes(model));
    return values;
  }

  Value declare_scalars() { return declare_four("scalars"); }
  Value declare_stats(const char* name) { return declare_four(name); }

  void declare_batch(const BatchShape& shape) {
    auto tokens = [&](const char* name) {
      return graph_.parameter(DType::kI32, {shape.sequences, shape.length}, name);
    };
    batch_.input_ids = tokens("input_ids");
    batch_.positions = tokens("positions");
    batch_.segment_ids = tokens("segment_ids");
    batch_.dropout_rows = tokens("dropout_rows");
    batch_.last_index = graph_.parameter(DType::kI32, {shape.rows}, "last_index");
    labels_ = graph_.parameter(DType::kF32, {shape.rows, options_.model.num_labels}, "labels");
    weights_ = graph_.parameter(DType::kF32, {shape.rows}, "weights");
    dropout_key_ = graph_.parameter(DType::kU32, {}, "dropout_key");
    declared(batch_axes(options_.model.placement));
  }

  Value logits(const std::vector<Value>& trainable, bool training) {
    ModelOptions model = options_.model;
    model.dropout = training;
    return build_logits(model, frozen_, trainable, batch_, dropout_key_);
  }

  /** Cross-entropy of each row with its (soft) label, [rows]. */
  Value row_losses(const Value& logits, double smoothing) {
    Value target = labels_;
    if (smoothing > 0)
      target = add(mul(labels_, 1 - smoothing), smoothing / static_cast<double>(options_.model.num_labels));
    return neg(reduce_sum(mul(target, log_softmax(logits)), {1}));
  }

  /** Weight of rightly judged rows. */
  Value correct(const Value& logits) {
    // Right when the largest logit is at the largest label; ties on either side count as right.
    Value last = reduce_max(logits, {1}), best = reduce_max(labels_, {1});
    auto spread = [&](const Value& v) { return broadcast(v, logits.shape(), {0}); };
    Value hit =
        bit_and(compare(Compare::kEq, logits, spread(last)), compare(Compare::kEq, labels_, spread(best)));
    Value right = reduce_max(convert(hit, DType::kF32), {1});
    return reduce_sum(mul(right, weights_), {0});
  }

  /** Forward and backward: gradients of the mean loss, and its parts. */
  struct Backward {
    std::vector<Value> gradients;
    Value loss_sum, logits;
  };
  Backward backward(const std::vector<Value>& trainable, const Value& scalars) {
    Value out = logits(trainable, true);
    Value loss_sum = reduce_sum(mul(row_losses(out, options_.label_smoothing), weights_), {0});
    Value mean = mul(loss_sum, element(scalars, 3));
    return {gradients(mean, trainable), loss_sum, out};
  }

  /** `groups`: how many times the outputs begin with a list like the trainable parameters; the rest is whole. */
  ProgramText finish(const std::string& name, const std::vector<Value>& outputs, std::vector<Donation> donations,
                     int groups) {
    std::vector<DimensionAxes> results;
    for (int i = 0; i < groups; ++i)
      for (DimensionAxes& axes : trainable_axes(options_.model)) results.push_back(std::move(axes));
    for (size_t i = results.size(); i < outputs.size(); ++i) results.emplace_back(outputs[i].shape().size());
    ModuleOptions module{name, std::move(donations)};
    const Mesh& mesh = options_.model.placement.mesh();
    if (options_.model.placement.split()) {
      auto kernels = [mesh](const std::string& target, const std::vector<TensorType>& in, const std::vector<TensorType>& out) {
        return partition_kernel(mesh, target, in, out);
      };
      module.sharding = ModuleSharding{mesh, axes_, results, kernels};
    }
    FlopCount flops = graph_.count_flops(outputs);
    return {name, emit_module(graph_, outputs, module), total(flops), std::move(flops), axes_, std::move(results)};
  }

 private:
  /** f32 [4], whole on each device. */
  Value declare_four(const char* name) {
    declared(whole_axes({1}));
    return graph_.parameter(DType::kF32, {4}, name);
  }
  void declared(std::vector<DimensionAxes> axes) {
    for (DimensionAxes& one : axes) axes_.push_back(std::move(one));
  }

  const StepOptions& options_;
  Graph graph_;
  std::vector<DimensionAxes> axes_;  // of the parameters
  std::vector<Value> frozen_;
  BatchValues batch_;
  Value labels_, weights_, dropout_key_;
};

void append(std::vector<Value>& to, const std::vector<Value>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

/** Every output takes the memory of the parameter at the same place in `from`. */
std::vector<Donation> donate(const std::vector<Value>& from) {
  std::vector<Donation> donations;
  for (size_t i = 0; i < from.size(); ++i)
    donations.push_back({static_cast<size_t>(parameter_index(from[i])), i});
  return donations;
}

Value is_finite(const Value& scalar) {
  return compare(Compare::kLe, abs(scalar), full_like(scalar, std::numeric_limits<float>::max()));
}

/** Clips if asked, and updates, unless the step is a bad one: then the old state goes on. Returns the outputs
 * trainable…, m…, v…, STATS. */
std::vector<Value> update(const StepOptions& options, const AdamState& state, std::vector<Value> gradients,
                          const Value& scalars, const Value& loss_sum, const Value& correct, const Value& previous) {
  Value norm = global_norm(gradients);
  Value good = bit_and(is_finite(loss_sum), is_finite(norm));
  if (options.max_loss > 0) {
    Value mean = mul(loss_sum, element(scalars, 3));
    good = bit_and(good, compare(Compare::kLe, mean, full_like(mean, options.max_loss)));
  }
  // Without skipping, a bad step also holds back those that were sent before the host knew of it.
  if (!options.skip_nonfinite)
    good = bit_and(good, compare(Compare::kNe, element(previous, 3), full_like(norm, 0)));
  if (options.max_grad_norm > 0) gradients = clip_by_norm(gradients, norm, options.max_grad_norm);
  AdamState next = adamw_update(options.adam, state, gradients, scalars);
  std::vector<Value> outputs;
  auto keep = [&](const std::vector<Value>& fresh, const std::vector<Value>& old) {
    for (size_t i = 0; i < fresh.size(); ++i)
      outputs.push_back(select(broadcast_scalar(good, old[i].shape()), fresh[i], old[i]));
  };
  keep(next.parameters, state.parameters);
  keep(next.m, state.m);
  keep(next.v, state.v);
  outputs.push_back(stack({loss_sum, correct, norm, convert(good, DType::kF32)}));
  return outputs;
}

std::string sized(const std::string& name, const BatchShape& s) {
  return fmt::format("{}_{}x{}x{}", name, s.sequences, s.length, s.rows);
}

}  // namespace

std::vector<DimensionAxes> batch_axes(const Placement& placement) {
  std::vector<DimensionAxes> axes(4, placement.batch(2));  // input_ids, positions, segment_ids, dropout_rows
  for (DimensionAxes& rows : whole_axes({1, 2, 1, 0})) axes.push_back(std::move(rows));
  return axes;
}

std::vector<DimensionAxes> frozen_axes(const ModelOptions& model) {
  std::vector<DimensionAxes> axes;
  for (const FrozenParameter& p : frozen_parameters(model))
    axes.push_back(model.placement.parameter(p.name, p.shape, p.stacked()));
  return axes;
}

std::vector<DimensionAxes> trainable_axes(const ModelOptions& model) {
  std::vector<DimensionAxes> axes;
  for (const TrainableParameter& p : trainable_parameters(model.config, model.lora, model.num_labels))
    axes.push_back(model.placement.parameter(p.name, p.shape, p.stacked));
  return axes;
}

ProgramText train_step_program(const StepOptions& options, const BatchShape& shape) {
  ProgramBuilder builder(options);
  builder.declare_frozen();
  AdamState state{builder.declare_trainable(""), builder.declare_trainable("m."),
                  builder.declare_trainable("v.")};
  Value previous = builder.declare_stats("previous"), scalars = builder.declare_scalars();
  builder.declare_batch(shape);
  auto [gradients, loss_sum, logits] = builder.backward(state.parameters, scalars);
  std::vector<Value> outputs =
      update(options, state, gradients, scalars, loss_sum, builder.correct(logits), previous);
  std::vector<Value> donated = state.parameters;
  append(donated, state.m);
  append(donated, state.v);
  outputs.push_back(logits);
  return builder.finish(sized("train_step", shape), outputs, donate(donated), 3);
}

ProgramText accumulate_program(const StepOptions& options, const BatchShape& shape) {
  ProgramBuilder builder(options);
  builder.declare_frozen();
  std::vector<Value> trainable = builder.declare_trainable("");
  std::vector<Value> sums = builder.declare_trainable("gradient.");
  Value stats = builder.declare_stats("sums"), scalars = builder.declare_scalars();
  builder.declare_batch(shape);
  auto [gradients, loss_sum, logits] = builder.backward(trainable, scalars);
  std::vector<Value> outputs;
  for (size_t i = 0; i < sums.size(); ++i) outputs.push_back(add(sums[i], gradients[i]));
  Value none = full_like(loss_sum, 0);
  append(outputs, {add(stats, stack({loss_sum, builder.correct(logits), none, none})), logits});
  return builder.finish(sized("accumulate", shape), outputs, donate(sums), 1);
}

ProgramText apply_program(const StepOptions& options) {
  ProgramBuilder builder(options);
  AdamState state{builder.declare_trainable(""), builder.declare_trainable("m."),
                  builder.declare_trainable("v.")};
  std::vector<Value> gradients = builder.declare_trainable("gradient.");
  Value previous = builder.declare_stats("previous"), sums = builder.declare_stats("sums");
  Value scalars = builder.declare_scalars();
  std::vector<Value> outputs =
      update(options, state, gradients, scalars, element(sums, 0), element(sums, 1), previous);
  std::vector<Value> donated = state.parameters;
  append(donated, state.m);
  append(donated, state.v);
  return builder.finish("apply", outputs, donate(donated), 3);
}

ProgramText evaluate_program(const StepOptions& options, const BatchShape& shape) {
  ProgramBuilder builder(options);
  builder.declare_frozen();
  std::vector<Value> trainable = builder.declare_trainable("");
  builder.declare_batch(shape);
  Value logits = builder.logits(trainable, false);
  return builder.finish(sized("evaluate", shape), {logits, builder.row_losses(logits, 0)}, {}, 0);
}

ProgramText gradients_program(const StepOptions& options, const BatchShape& shape) {
  ProgramBuilder builder(options);
  builder.declare_frozen();
  std::vector<Value> trainable = builder.declare_trainable("");
  Value scalars = builder.declare_scalars();
  builder.declare_batch(shape);
  auto [gradients, loss_sum, logits] = builder.backward(trainable, scalars);
  std::vector<Value> outputs = gradients;
  outputs.push_back(logits);
  return builder.finish(sized("gradients", shape), outputs, {}, 1);
}

ProgramText gather_program(const StepOptions& options) {
  ProgramBuilder builder(options);
  std::vector<Value> trainable = builder.declare_trainable("");
  return builder.finish("gather", trainable, {}, 0);
}

}  // namespace gavel

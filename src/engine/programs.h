#pragma once
#include <memory>
#include <string>
#include <vector>

#include "data/batcher.h"
#include "emit/module.h"
#include "engine/optimizer.h"
#include "engine/rates.h"
#include "model/decoder.h"
#include "task/task.h"

namespace gavel {

/** A program as StableHLO text, and what is known of it. */
struct ProgramText {
  std::string name;
  std::string text;
  double flops = 0;  // of its matrix products
  FlopCount flops_by_op;
  double kept_bytes = 0;  // of activations that a scan keeps for its gradient (Recompute), over all devices
  /** How each argument and result is split over the mesh. */
  std::vector<DimensionAxes> arguments, results;
};

/** One argument of a batch: its declaration in a program, how it lies on the mesh, and which tensor of the batch fills
 * it. */
struct BatchArgument {
  const char* name;
  DType dtype;
  Shape shape;
  /** Arrays of tokens are split by sequences over dp and fsdp; arrays with a row per judged pair are whole. */
  DimensionAxes axes;
  HostTensor Batch::* source;
  Value BatchValues::* value;  // nullptr for what the model does not read
};
/** How the frozen and the trainable arguments lie on the mesh, in the orders of frozen_parameters and
 * trainable_layout. */
std::vector<DimensionAxes> frozen_axes(const ModelOptions& model);
std::vector<DimensionAxes> trainable_axes(const ModelOptions& model);

/** Elements of STATS below. */
enum class Stat : int64_t {
  kLossSum,       // weighted loss of the rows, not divided
  kCorrect,       // weight of rightly judged rows
  kGradientNorm,  // before clipping
  kApplied,       // 1 if the step was applied, 0 if it was a bad one that left the state as it was, 2 if it overflowed
  kCount,
  // With a loss scale also, for the next step:
  kLossScale = kCount,
  kGoodSteps,  // applied since the scale was last changed
  kScaledCount,
};

/** With float16 gradients are of the loss times a scale, which keeps small ones from vanishing. It is halved where they leave
 * float16's range (the step "overflowed" and is left out), and grows where they did not for a while; torch.amp's defaults. */
struct LossScaling {
  double initial = 65536;
  double growth = 2, backoff = 0.5;
  int64_t interval = 2000;  // steps
};

/** What a step computes. */
struct StepOptions {
  ModelOptions model;
  std::shared_ptr<const Task> task = judging_task();
  AdamW adam;
  RateOptions rates;
  double label_smoothing = 0;
  /** With ModelOptions::auxiliary_outputs: times the cross-entropy of the auxiliary head, the mean over a row's two answers, is
   * added to a row's loss in training. STATS and losses are without it. */
  double auxiliary_weight = 0;
  double max_grad_norm = 0;  // 0: gradients are not clipped
  /** A step is bad when its loss or gradient norm is not finite, or its mean loss is above max_loss (0: no limit). A
   * bad step changes nothing; with skip_nonfinite = false neither do all that follow it. */
  double max_loss = 0;
  bool skip_nonfinite = false;
  /** ModelOptions::recompute is chosen for each program that has a gradient, by the device's memory (engine/recompute.h). */
  bool chooses_recompute = false;
  /** ModelOptions::form is chosen by the device's memory, with the size of micro-batches, before the weights are placed
   * (setup/choose_layers.h); until then it is a scan. */
  bool chooses_layers = false;
  LossScaling loss_scaling;
  bool scales_loss() const { return model.compute_dtype == DType::kF16; }
  /** Elements of STATS. */
  int64_t stat_count() const { return static_cast<int64_t>(scales_loss() ? Stat::kScaledCount : Stat::kCount); }
};

/** Outputs of an auxiliary head: with one text a row it tells both answers' classes, with two that of the text's answer. */
int64_t auxiliary_outputs_of(const Task& task, int64_t classes);

/** All arguments of a batch, in the order of BATCH below, without dropout_key; `training`: of the programs that have a loss to
 * learn from. */
std::vector<BatchArgument> batch_arguments(const StepOptions& options, const BatchShape& shape, bool training = true);

// Arguments, in this order, of every program below: frozen…, trainable…, then
//   train_step:  m…, v…, previous, scalars, BATCH                  → trainable…, m…, v…, STATS, logits
//   accumulate:  gradients…, sums, [previous,] scalars, BATCH      → gradients…, sums, logits; previous with a loss scale
//   apply:       m…, v…, gradients…, previous, sums, scalars       → trainable…, m…, v…, STATS (no frozen arguments)
//   evaluate:    BATCH                                             → logits, losses f32 [rows]
//   gradients:   scalars, BATCH                                    → gradients…, logits
//   zeros:       (none)                                            → gradients…, sums, all of them zero
//   gather:      (neither frozen arguments nor others)             → trainable…, whole on each device
// BATCH: input_ids, positions, segment_ids, dropout_rows i32 [batch, length], last_index i32 [rows * texts of a row],
// labels f32 [rows, targets], weights f32 [rows], of a task with margins those f32 [rows], with an auxiliary head (not in
// evaluate) auxiliary f32 [rows * 2, classes], dropout_key ui32 []. logits: f32 [rows, outputs of the task].
// `scalars` and STATS: f32, with the elements of StepScalar and Stat. Where rates are not alike (RateOptions), the argument
// of RateTable follows `scalars` in train_step and apply. `previous` is the STATS of the step before; `sums` is shaped like
// STATS and has its first two elements, summed over the micro-batches so far. What is written over (trainable, m, v,
// gradients) is donated.
ProgramText train_step_program(const StepOptions& options, const BatchShape& shape);
/** Products of a training step by the model alone: no layer is counted twice because it is computed again for the gradient. */
FlopCount model_flops(const StepOptions& options, const BatchShape& shape);
ProgramText accumulate_program(const StepOptions& options, const BatchShape& shape);
ProgramText apply_program(const StepOptions& options);
ProgramText evaluate_program(const StepOptions& options, const BatchShape& shape);
ProgramText gradients_program(const StepOptions& options, const BatchShape& shape);
ProgramText zeros_program(const StepOptions& options);
ProgramText gather_program(const StepOptions& options);

}  // namespace gavel

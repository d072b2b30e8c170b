#pragma once
#include <string>
#include <vector>

#include "data/batcher.h"
#include "emit/module.h"
#include "model/llama.h"
#include "train/optimizer.h"

namespace gavel {

/** A program's text and its matrix-product work. */
struct ProgramText {
  std::string name;
  std::string text;
  double flops = 0;
  FlopCount flops_by_op;
  /** How each argument and result is split over the mesh. */
  std::vector<DimensionAxes> arguments, results;
};

/** How the batch lies on the mesh: sequences over dp and fsdp, never along their length; what has a row per judged pair
 * is small and whole on each device. In the order of BATCH below. */
std::vector<DimensionAxes> batch_axes(const Placement& placement);
/** In the orders of frozen_parameters and trainable_parameters. */
std::vector<DimensionAxes> frozen_axes(const ModelOptions& model);
std::vector<DimensionAxes> trainable_axes(const ModelOptions& model);

/** Arguments, in this order, of every program below: frozen…, trainable…, then
 *   train_step:  m…, v…, scalars f32 [4], BATCH                       → trainable…, m…, v…, STATS
 *   accumulate:  gradients…, scalars, BATCH                           → gradients…, STATS
 *   apply:       (no frozen) trainable…, m…, v…, gradients…, scalars  → trainable…, m…, v…, gradient_norm
 *   evaluate:    BATCH                                                → logits f32 [rows, labels], losses f32
 * [rows] gradients:   scalars, BATCH                                       → gradients…, STATS BATCH:
 * input_ids, positions, segment_ids, dropout_rows i32 [batch, length], last_index i32 [rows], labels f32
 * [rows, labels], weights f32 [rows], dropout_key ui32 []. STATS: sums f32 [3]: weighted loss of the rows
 * given (not divided), weight of rightly judged rows, gradient norm (0 where there is none); logits f32
 * [rows, labels]. What is written over (trainable, m, v, gradients) is donated. */
struct StepOptions {
  ModelOptions model;
  AdamW adam;
  double label_smoothing = 0;
  double max_grad_norm = 0;  // 0: gradients are not clipped
};

ProgramText train_step_program(const StepOptions& options, const BatchShape& shape);
ProgramText accumulate_program(const StepOptions& options, const BatchShape& shape);
ProgramText apply_program(const StepOptions& options);
ProgramText evaluate_program(const StepOptions& options, const BatchShape& shape);
ProgramText gradients_program(const StepOptions& options, const BatchShape& shape);

}  // namespace gavel

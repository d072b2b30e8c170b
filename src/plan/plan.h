#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/programs.h"
#include "plan/hlo_stats.h"
#include "plan/hlo_work.h"
#include "plan/targets.h"
#include "recipe/recipe.h"
#include "shard/mesh.h"

namespace gavel {

/** Bytes that a training step needs on one device. */
struct DeviceBytes {
  double weights = 0, trainable = 0, optimizer = 0, batch = 0;
  double temporaries = 0;  // activations and what the program gathers, by the compiler's plan
  double code = 0;
  double total = 0, capacity = 0;  // `capacity`: what a program may take, less than the device has
};

/** Rows of the recipe's data as the run will see them. */
struct DataPlan {
  int64_t rows = 0, steps_per_epoch = 0;
  double mean_tokens = 0, longest = 0;
  double padding = 0;           // share of all tokens
  double tokens_per_epoch = 0;  // padding included
};

/** Least seconds of a step by each of three limits, which a perfect program meets at the same time; 0: the target's speed is
 * not known. */
struct StepBounds {
  double compute = 0, memory = 0, links = 0;
  double seconds() const { return std::max({compute, memory, links}); }
  /** "matrix products", "memory" or "links": the one that decides. */
  const char* decided_by() const;
};

/** Seconds that an optimizer step is expected to take: from what the compiled program executes, at Efficiencies; on TPUs from the
 * compiler's own estimate of cycles. Nothing of it was measured. */
struct Prediction {
  double seconds = 0;  // 0: none, since the target's figures or the program are not known
  ExecutedWork work;   // of an optimizer step on one device
  double kernels = 0;  // of the seconds what kernels take
  double waiting = 0;  // and what others are waited for
  bool by_cycles = false;
};

/** What a run of a recipe needs on a target. */
struct Plan {
  Target target;
  Mesh mesh;
  std::string model;
  int64_t parameters = 0, trained = 0;
  BatchShape shape;  // of a micro-batch
  int64_t accumulation = 1;
  bool scan = false;
  std::string layer_choice;               // how train.layers: auto was settled; "" where there was nothing to choose
  Recompute recompute = Recompute::kAll;  // of a scan
  bool chose_recompute = false;           // by the memory, as train.recompute: auto does on accelerators
  double kept_bytes = 0;                  // of activations that the scan keeps, over all devices
  double spared_flops = 0;                // of an optimizer step, that are not computed again because of them

  bool compiled = false;  // else `refusal` is the compiler's text: what it asks for is more than the device has
  std::string refusal;
  bool fits = false;
  double compile_seconds = 0;
  DeviceBytes per_device;
  std::vector<std::string> notes;     // what could not be split
  std::vector<std::string> remedies;  // what would make it fit, each compiled, or said to be an estimate

  double flops_per_step = 0;  // matrix products of all devices, with those of layers computed again for the gradient
  double useful_flops = 0;    // the same without computing layers again
  double bytes_per_step = 0;  // least traffic between one device and its memory
  DType compute_dtype = DType::kF32;
  std::optional<Collectives> collectives;  // of an optimizer step, by the compiled program
  double estimated_gather_bytes = 0;       // by the sharding, where the plugin does not give the program
  double received_bytes = 0;               // least that a device takes in from others in an optimizer step
  StepBounds bounds;                       // of an optimizer step as planned
  Prediction prediction;

  std::optional<DataPlan> data;
  int64_t total_steps = 0;  // 0: not known

  /** The planned step's tokens that a step of the data has on average; 1 where the data is not known. */
  double mean_share() const;
  double tokens() const { return static_cast<double>(shape.sequences * shape.length * accumulation); }
  /** Of the predicted time the share that the step's products without those computed again would take at the peak; 0 where there is no
   * prediction. */
  double predicted_mfu() const;
  /** An average step of the run: fewer tokens cost fewer products, while weights are read and gathered all the same. */
  StepBounds mean_bounds() const;
};

/** What happens in a long plan, said while it happens. */
using Say = std::function<void(const std::string&)>;

struct PlanOptions {
  std::string target;
  bool remedies = true;  // compile again with smaller settings when it does not fit
  Say say;               // empty: the log
  double say_every_seconds = 10;
};

/** Compiles the recipe's training step for the target: no device, weights or data need be there. model.path
 * may name a built-in shape; a path that does not exist is taken for the built-in shape that its name
 * contains, with a note. Throws Error when the target, model or mesh can't be used. */
Plan make_plan(const Recipe& recipe, const PlanOptions& options);

/** For the terminal, and below as one JSON object. */
std::string format_plan(const Plan& plan);
std::string plan_json(const Plan& plan);

}  // namespace gavel

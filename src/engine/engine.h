#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "data/batcher.h"
#include "engine/device_mesh.h"
#include "engine/device_traits.h"
#include "engine/programs.h"
#include "io/model_files.h"
#include "pjrt/client.h"

namespace gavel {

/** Sums of one optimizer step, on their way from the device. */
class PendingStats {
 public:
  explicit PendingStats(pjrt::HostTransfer stats) : stats_(std::make_unique<pjrt::HostTransfer>(std::move(stats))) {}
  struct Sums {
    double loss = 0;           // weighted sum over the rows
    double correct = 0;        // weight of rightly judged rows
    double gradient_norm = 0;  // before clipping
    bool applied = false;      // false: a bad step, see StepOptions; the state is as it was
    bool overflowed = false;   // not applied because gradients left float16's range; nothing else is wrong
    double loss_scale = 0;     // of the next step; 0: losses are not scaled
  };
  bool ready() const { return stats_->ready(); }
  /** Waits for the device. */
  Sums get();

 private:
  std::unique_ptr<pjrt::HostTransfer> stats_;
};

/** The loss scale of the next step (StepOptions::loss_scaling), and how many steps it has been as it is. */
struct LossScaleState {
  double scale = 0, good_steps = 0;
};

/** Weights and AdamW's moments of all that is trained, on the host. Each list is in the order of trainable_layout,
 * float32. */
struct TrainedState {
  std::vector<HostTensor> weights, m, v;
  /** None where losses are not scaled; set_state then begins with the initial one. */
  std::optional<LossScaleState> loss_scale = std::nullopt;
};

struct Evaluation {
  HostTensor logits;  // f32 [rows, labels]
  HostTensor losses;  // f32 [rows]
};

/** An Evaluation on its way from the device. */
class PendingEvaluation {
 public:
  PendingEvaluation(pjrt::HostTransfer logits, pjrt::HostTransfer losses)
      : logits_(std::move(logits)), losses_(std::move(losses)) {}
  /** Waits for the device. */
  Evaluation get() { return {logits_.get(), losses_.get()}; }

 private:
  pjrt::HostTransfer logits_, losses_;
};

/** A compiled program and what is known of it. */
struct EngineProgram {
  pjrt::Executable executable;
  FlopCount flops;
  bool from_cache = false;
  double compile_seconds = 0;  // time to compile it, or to read it from the cache
};

/** The model on the device, or on the mesh of options.model.placement: frozen weights, trained weights with their AdamW
 * state, and the compiled programs, one for each batch shape that occurs (compiled when first needed, kept in the disk
 * cache). Its functions take and give whole arrays. A batch must have a multiple of mesh.batch_parts() sequences
 * (BatchOptions::sequence_multiple), else Error is thrown. */
class Engine {
 public:
  /** `cache`: folder of compiled programs; not used when other processes have part of the mesh. Throws Error when the
   * mesh does not fit the client's devices. */
  Engine(std::shared_ptr<pjrt::Client> client, StepOptions options, std::filesystem::path cache);

  /** Copies the base weights to the devices, as options.model.storage() says. One layer's tensor at a time is read
   * from the mapped files, quantised where it is to be, and its pages are given back. */
  void load_frozen(const ModelFiles& files);
  /** Random base weights, for speed runs without files: uniform with the standard deviation initializer_range; norms
   * scale by 1. */
  void random_frozen(uint64_t seed);

  /** Sets the trained weights, in the order of trainable_layout, float32, and clears the AdamW state. Throws Error for
   * another number of tensors or another shape. */
  void set_trainable(const std::vector<HostTensor>& values);
  /** The trained weights in the same order; waits for the steps sent so far. */
  std::vector<HostTensor> trainable();
  /** Weights and AdamW state; state() waits for the steps sent so far. set_state() throws as set_trainable() does. */
  void set_state(const TrainedState& state);
  TrainedState state();

  /** Sends one optimizer step over the micro-batches (with just one, as a single fused program) and returns before the
   * device is done. `step` counts from 0; `total_weight`: rows of all micro-batches, by which the loss divides; `seed`:
   * of the dropout. In the first RateOptions::head_only_steps the programs are others, without adapters' gradients. */
  PendingStats train_step(std::span<const Batch> micro_batches, int64_t step, double learning_rate, double total_weight,
                          uint64_t seed);
  /** Sends a forward pass and returns before the device is done. */
  PendingEvaluation start_evaluation(const Batch& batch);
  /** The same, waiting for the result. */
  Evaluation evaluate(const Batch& batch) { return start_evaluation(batch).get(); }
  /** Gradients of the mean loss, in the order of trainable_layout, and the logits f32 [rows, labels]; changes
   * nothing. */
  std::pair<std::vector<HostTensor>, HostTensor> gradients(const Batch& batch, uint64_t seed);

  /** The programs that train_step (with one micro-batch) and start_evaluation run, compiled now if they are not yet. */
  const EngineProgram& train_program(const BatchShape& shape);
  const EngineProgram& evaluation_program(const BatchShape& shape);
  /** Bytes that a device needs for train_step with one micro-batch of this shape, or for each of several (`accumulates`) beside what
   * waits meanwhile, by the compiler's figure; nothing where it refuses the program, which wants more than there is. No weights need
   * be loaded. */
  std::optional<double> step_bytes(const BatchShape& shape, bool accumulates);

  const StepOptions& options() const { return options_; }
  const DeviceTraits& traits() const { return traits_; }

 private:
  using Arrays = std::vector<ShardedArray>;
  class HeldScales;
  void warn_if_weights_are_large() const;
  template <class Make>
  const EngineProgram& compiled(const std::string& key, Make make);
  /** make(options) of a program with a gradient, with what it computes again chosen where the options say so. `waiting`: bytes that
   * lie on a device beside the program's arguments. */
  template <class Make>
  const EngineProgram& compiled_step(const std::string& key, const StepOptions& options, double waiting, Make make);
  EngineProgram compile(ProgramText text);
  /** Bytes of AdamW's state on a device. */
  double optimizer_bytes() const;
  /** One frozen parameter on the devices; read(layer) gives its tensors, in turn when it is stacked. */
  ShardedArray place_frozen(const FrozenParameter& parameter, const std::function<HostTensor(size_t layer)>& read);
  ShardedArray upload_scalars(const StepScalars& scalars) const;
  const EngineProgram& train_program(const BatchShape& shape, bool head_only);
  /** Of one of several micro-batches. */
  const EngineProgram& accumulation_program(const BatchShape& shape, bool head_only);
  Arrays upload(const Batch& batch, uint32_t dropout_key, bool training) const;
  PendingStats keep_trained(Arrays& outputs);
  Arrays execute(const EngineProgram& program, const std::vector<const ShardedArray*>& arguments);
  /** The CPU plugin says that a step is done a moment before it frees the step's temporaries: a step sent in that
   * moment would have them a second time. */
  void await_freed_temporaries() const;
  std::vector<HostTensor> trainable_to_host(const Arrays& arrays);

  DeviceMesh devices_;
  DeviceTraits traits_;
  StepOptions options_, head_only_options_;
  RateTable rates_;
  std::filesystem::path cache_;
  std::vector<TrainableParameter> trained_;
  std::vector<DimensionAxes> trainable_axes_;
  Arrays frozen_, trainable_, m_, v_;
  ShardedArray stats_;  // of the last step
  std::map<std::string, EngineProgram> programs_;
  std::optional<Recompute> told_recompute_;  // what was last logged
  int64_t largest_temporaries_ = 0;          // bytes on a device, of the programs so far
  // Of the last program sent: what was allocated before it, if that can be known, and the bytes of its temporaries.
  std::optional<size_t> allocated_before_;
  size_t sent_temporaries_ = 0;
};

BatchShape shape_of(const Batch& batch);

}  // namespace gavel

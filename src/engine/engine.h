#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "data/batcher.h"
#include "io/model_files.h"
#include "pjrt/client.h"
#include "engine/device_mesh.h"
#include "engine/device_traits.h"
#include "engine/programs.h"

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
  };
  bool ready() const { return stats_->ready(); }
  /** Waits for the device. */
  Sums get();

 private:
  std::unique_ptr<pjrt::HostTransfer> stats_;
};

/** All that training changes, on the host, each list in the order of trainable_layout, float32. */
struct TrainedState {
  std::vector<HostTensor> weights, m, v;
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
  double compile_seconds = 0;  // of reading it from the cache where it was there
};

/** The model on a device, or on the mesh of options.model.placement: its weights, what is trained with its AdamW state,
 * and the compiled programs, one for each batch shape that occurs (compiled when first needed, kept in the disk cache).
 * Whoever uses it sees whole arrays; a batch must have a multiple of mesh.batch_parts() sequences
 * (BatchOptions::sequence_multiple). */
class Engine {
 public:
  /** `cache`: folder of compiled programs. */
  Engine(std::shared_ptr<pjrt::Client> client, StepOptions options, std::filesystem::path cache);

  /** Copies the base weights to the devices, converted to the dtype of the options, each device's part by itself: one
   * layer's tensor at a time is read from the (mapped) files, and its pages are given back. */
  void load_frozen(const ModelFiles& files);
  /** Normal with initializer_range, norms 1: for speed runs without files. */
  void random_frozen(uint64_t seed);

  /** In the order of trainable_layout, float32; also clears the AdamW state. */
  void set_trainable(const std::vector<HostTensor>& values);
  std::vector<HostTensor> trainable();
  /** What training changes; state() waits for the steps sent so far. */
  void set_state(const TrainedState& state);
  TrainedState state();

  /** One optimizer step on micro-batches (one: a single fused program). Returns before the device is done.
   * `step` counts from 0. */
  PendingStats train_step(std::span<const Batch> micro_batches, int64_t step, double learning_rate,
                          double total_weight, uint64_t seed);
  /** A forward pass. Returns before the device is done. */
  PendingEvaluation start_evaluation(const Batch& batch);
  /** The same, waiting for the result. */
  Evaluation evaluate(const Batch& batch) { return start_evaluation(batch).get(); }
  /** Gradients of the mean loss without an update, in the order of trainable_layout, and the logits. */
  std::pair<std::vector<HostTensor>, HostTensor> gradients(const Batch& batch, uint64_t seed);

  /** The programs that train_step (with one micro-batch) and start_evaluation run; compiled here if need be. */
  const EngineProgram& train_program(const BatchShape& shape);
  const EngineProgram& evaluation_program(const BatchShape& shape);

  const StepOptions& options() const { return options_; }
  const DeviceTraits& traits() const { return traits_; }

 private:
  using Arrays = std::vector<ShardedArray>;
  template <class Make>
  const EngineProgram& compiled(const std::string& key, Make make);
  /** One frozen parameter on the devices; read(layer) gives its tensors, in turn when it is stacked. */
  ShardedArray place_frozen(const FrozenParameter& parameter, const std::function<HostTensor(size_t layer)>& read);
  ShardedArray upload_scalars(const StepScalars& scalars) const;
  Arrays upload(const Batch& batch, uint32_t dropout_key) const;
  PendingStats keep_trained(Arrays& outputs);
  Arrays execute(const EngineProgram& program, const std::vector<const ShardedArray*>& arguments);
  /** The CPU plugin says that a step is done a moment before it frees the step's temporaries: a step sent in that moment
   * would have them a second time. */
  void await_freed_temporaries() const;
  std::vector<HostTensor> trainable_to_host(const Arrays& arrays);

  DeviceMesh devices_;
  DeviceTraits traits_;
  StepOptions options_;
  std::filesystem::path cache_;
  std::vector<TrainableParameter> trained_;
  std::vector<DimensionAxes> trainable_axes_;
  Arrays frozen_, trainable_, m_, v_;
  ShardedArray stats_;  // of the last step
  std::map<std::string, EngineProgram> programs_;
  int64_t largest_temporaries_ = 0;  // bytes on a device, of the programs so far
  // Before the last program was sent: what was allocated, if that can be known, and what it would take.
  std::optional<size_t> allocated_before_;
  size_t sent_temporaries_ = 0;
};

BatchShape shape_of(const Batch& batch);

}  // namespace gavel

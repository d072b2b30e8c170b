#pragma once
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "cluster/process_group.h"
#include "data/batcher.h"
#include "data/prefetch.h"
#include "engine/engine.h"
#include "judge/evaluate.h"
#include "recipe/recipe.h"
#include "report/run_log.h"
#include "report/training_display.h"
#include "setup/run_trace.h"
#include "setup/step_work.h"
#include "train/checkpoint.h"
#include "train/run_folder.h"
#include "train/run_record.h"
#include "train/stop_signals.h"

namespace gavel {

/** What a training loop works with. What it refers to must outlive the loop. */
struct TrainingParts {
  const Recipe& recipe;
  RunFolder& folder;
  Engine& engine;
  const Batcher& train;
  const Batcher* valid;  // nullptr: no validation rows
  const CheckpointLayout& layout;
  const RunIdentity& identity;
  const StopSignals& signals;
  TrainingDisplay& display;
  RunRecord& record;
  RunTrace& trace;
  /** Bytes in use now; -1: not known. */
  std::function<int64_t()> memory;
  /** Draws plots and reports from what is on disk; called after each evaluation. */
  std::function<void()> draw;
  /** FLOP/s that all devices together can do at most, asked between steps, `seconds` after the first; 0: not known, or not
   * yet. */
  std::function<double(double seconds)> peak_flops;
  /** Brings reports up to date when it is time; called after each step. */
  std::function<void()> refresh;
  int64_t total_steps;
  /** The processes of the run: the files of the first alone are kept, and all do what it decides. */
  ProcessGroup group = {};
  /** Step of the checkpoint that the run goes on from, the same in all processes; nullopt: none. */
  std::optional<int64_t> saved_step = std::nullopt;
  /** The step to stop after, as if the run were to be interrupted there; the schedule stays that of `total_steps`. */
  std::optional<int64_t> until_step = std::nullopt;
};

enum class TrainingEnd : uint8_t { kFinished, kStoppedEarly, kInterrupted, kPaused };

/** Runs the steps from a state to the end of the run, with evaluations and checkpoints. Up to
 * DeviceTraits::steps_in_flight steps are sent before the first of them is read; before an evaluation or a checkpoint
 * all are. A file that can't be written gives a warning and does not end the run. */
class TrainingLoop {
 public:
  /** The engine holds the tensors that belong to `state`. */
  TrainingLoop(const TrainingParts& parts, RunState state);

  /** Throws Error for a step whose loss or gradient is not finite or whose loss is above train.max_loss, after saving
   * the state before it; with train.skip_nonfinite only after ten such steps in a row. */
  TrainingEnd run();

  const RunState& state() const { return state_; }
  /** The signal that ended the run, or 0. */
  int signal() const { return signal_; }
  /** Log loss and accuracy of this process's last evaluation; NaN before there is one. */
  double valid_log_loss() const { return valid_log_loss_; }
  double valid_accuracy() const { return valid_accuracy_; }
  /** Step of the newest checkpoint that the run wrote or began with; nullopt: none. */
  std::optional<int64_t> saved_step() const { return saved_step_; }

 private:
  struct Sent {
    int64_t step;  // from 0
    double learning_rate;
    PendingStats stats;
    int64_t rows;
    double weight;  // of the rows
    int64_t tokens, real_tokens;
    std::vector<int64_t> row_indices;
    double flops;  // of the model; 0: not counted
  };

  void first_look();
  void send(int64_t step, StepBatches batches);
  void receive();
  void measure(const Sent& sent, double seconds);
  void step(int64_t step, BatchPrefetcher& batches);
  void drain();
  void take(const Sent& sent, const PendingStats::Sums& sums);
  void skip(const Sent& sent, const PendingStats::Sums& sums);
  void skip_overflow(const Sent& sent, const PendingStats::Sums& sums);
  [[noreturn]] void stop_at_bad_step(const Sent& sent, const PendingStats::Sums& sums);
  void warn_of_explosion(const Sent& sent, double loss);
  std::string what_is_bad(const Sent& sent, const PendingStats::Sums& sums) const;
  std::string name_rows(const Sent& sent) const;
  StepFigures figures(const Sent& sent, const PendingStats::Sums& sums) const;
  void write_train_row(const Sent& sent, const PendingStats::Sums& sums, bool skipped);

  /** The last step of this call. */
  int64_t end_step() const;
  /** Evaluates and saves, as far as that is due at this step. False when a signal came meanwhile. */
  bool milestone();
  bool evaluates_at(int64_t step) const;
  bool saves_at(int64_t step) const;
  bool stopped_early() const;
  /** False when a signal came meanwhile. */
  bool evaluate();
  /** Whether older checkpoints beyond train.keep_last may be removed once this one is whole. */
  enum class Earlier : uint8_t { kMayGo, kStay };
  void save(Earlier earlier = Earlier::kMayGo);
  void restore_folder();
  TrainingEnd interrupted();
  /** The signal that the run is to stop for, the same in all processes; 0: none. */
  int stop_signal();

  TrainingParts p_;
  RunState state_;
  RunLog log_;
  CheckpointStore store_;
  std::deque<Sent> sent_;
  std::optional<int64_t> saved_step_;
  Announcement signal_said_, saved_said_;
  int signal_ = 0;
  double valid_log_loss_, valid_accuracy_;
  double clock_ = 0;  // when elapsed_seconds was last brought up to date
  int64_t warned_step_ = -1;
  StepWork work_;
  double began_ = 0, peak_flops_ = 0;
  /** Share of the peak: of the newest step, and what it is made of since the last log line. */
  double mfu_ = std::numeric_limits<double>::quiet_NaN();
  double logged_flops_ = 0, logged_seconds_ = 0;
};

}  // namespace gavel

#pragma once
#include <optional>

#include "cluster/process_group.h"
#include "recipe/recipe.h"

namespace gavel {

/** How to run, beside what the recipe says. */
struct RunOptions {
  /** Resume although settings, data or the base model differ from the checkpoint's. */
  bool allow_changes = false;
  /** JSON lines on standard output instead of text for people on standard error. */
  bool json = false;
  /** Stop after this step of the run, with an evaluation and a checkpoint, for a later call to go on. */
  std::optional<int64_t> until_step = std::nullopt;
  /** The processes of the run where the caller has joined them; else run_training joins a launcher's. */
  std::optional<ProcessGroup> group = std::nullopt;
};

/** What a run ends with. */
struct TrainingResult {
  int64_t steps = 0;
  double seconds = 0;         // of the steps, without start and evaluations
  double final_loss = 0;      // mean over all rows of the run
  double valid_log_loss = 0;  // NaN without validation rows
  double valid_accuracy = 0;
  bool stopped_early = false;
  /** Ended at RunOptions::until_step, before the run's end. */
  bool paused = false;
  /** SIGINT, SIGTERM or SIGHUP when it ended the run early, with a checkpoint; else 0. */
  int signal = 0;
};

/** Trains as the recipe says, shows progress, and writes the output folder (docs/files.md). With train.resume: auto it
 * goes on from the folder's newest whole checkpoint. Throws Error before any file of a run is changed when the recipe,
 * model or data do not fit, the output folder holds another run or can't be written, or the checkpoint is of another
 * run; later when a step is not finite (see TrainingLoop) or the trained adapter can't be written. */
TrainingResult run_training(const Recipe& recipe, const RunOptions& options = {});

}  // namespace gavel

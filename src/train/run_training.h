#pragma once
#include <optional>

#include "cluster/process_group.h"
#include "recipe/recipe.h"

namespace gavel {

/** How to run, beside what the recipe says. */
struct RunOptions {
  /** Resume although settings, data or the base model are not what they were. */
  bool allow_changes = false;
  /** JSON lines on standard output instead of text for people on standard error. */
  bool json = false;
  /** The processes of the run, when they have met already; else run_training joins those that a launcher started. Each
   * opens the recipe's device by itself. */
  std::optional<ProcessGroup> group = std::nullopt;
};

/** What a run ends with. */
struct TrainingResult {
  int64_t steps = 0;
  double seconds = 0;             // of the steps, without start and evaluations
  double final_loss = 0;          // mean of the run
  double valid_log_loss = 0;      // NaN without validation rows
  double valid_accuracy = 0;
  bool stopped_early = false;
  /** SIGINT or SIGTERM when it ended the run before its last step, which is saved; else 0. */
  int signal = 0;
};

/** Trains as the recipe says, printing progress, and writes the output folder (docs/files.md); with train.resume it goes
 * on from the folder's newest whole checkpoint. Throws Error before anything is written when the recipe, model or data
 * do not fit, the output folder holds another run or can't be written, or the run to resume is another one. */
TrainingResult run_training(const Recipe& recipe, const RunOptions& options = {});

}  // namespace gavel

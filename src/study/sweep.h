#pragma once
#include <optional>

#include "study/comparison.h"
#include "study/folds.h"
#include "study/sweep_grid.h"

namespace gavel {

struct SweepOptions {
  StudyStart start;
  std::filesystem::path out;
  /** Successive halving (halving.h): the share 1 / eta of the settings goes on after each rung, the first of which is after
   * `first_rung` steps. Without it all are trained to their end. */
  std::optional<int64_t> eta;
  int64_t first_rung = 0;
  enum class Reference : uint8_t { kBest, kFirst } reference = Reference::kBest;
};

/** Trains all runs of the grid in folders of `out`, one after the other, each as a process of its own, and writes
 * results.csv, results.json and report.html there (docs/studies.md), at each rung and at the end. A run that fails counts as
 * the worst and the others go on. Called again, it goes on where it was, also with further values. Throws Error before the
 * first run when a file is missing, when the halving does not fit the recipe, and as StudyFolder() does; later when no run of
 * any setting succeeds. */
StudyResult run_sweep(const SweepGrid& grid, const SweepOptions& options);

}  // namespace gavel

#pragma once
#include <filesystem>
#include <functional>

#include "baseline/baselines.h"
#include "judge/fit_calibration.h"
#include "judge/judge.h"
#include "report/scores.h"

namespace gavel {

/** A judge's answers to a labelled file. */
struct FileEvaluation {
  std::vector<JudgedRow> rows;
  std::vector<CalibrationRow> calibration_rows;
  Scores scores;
  /** What the baselines know of the same rows, and how well they do. */
  std::vector<BaselineRow> baseline_rows;
  std::vector<Baseline> baselines;
  /** Those of the file that the baselines were fitted on, where one was given. */
  std::vector<BaselineRow> fitted_on;
  /** Rows judged both ways, and those of them whose outcome depended on the order. */
  int64_t swapped_rows = 0, flipped_rows = 0;
  CleaningReport report;
};

/** Judges every labelled row of a file, 4,096 at a time; memory holds some hundred bytes a row, and of the first 50,000
 * some kilobytes: with more rows there is no baseline of words. `baselines_from`: a file of labelled rows to fit the
 * baselines on; without it they are cross-validated on the judged rows. `swap_average` as in Judge::judge, of each of
 * these windows. Throws as read_preferences() does. `progress` is called with the number of rows done and of the file's
 * rows. */
FileEvaluation evaluate_file(Judge& judge, const std::filesystem::path& path, double swap_average,
                             const std::optional<std::filesystem::path>& baselines_from = std::nullopt,
                             const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace gavel

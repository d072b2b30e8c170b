#pragma once
#include <filesystem>
#include <functional>

#include "report/length_baseline.h"
#include "report/scores.h"
#include "judge/calibration.h"
#include "judge/judge.h"

namespace gavel {

/** A judge's answers to a labelled file. */
struct FileEvaluation {
  std::vector<JudgedRow> rows;
  std::vector<CalibrationRow> calibration_rows;
  Scores scores;
  /** Of lengths alone, by cross-validation on the same rows. */
  BaselineScore lengths;
  int64_t swapped_rows = 0, flipped_rows = 0;
  CleaningReport report;
};

/** Judges every labelled row of a CSV or JSONL file, a window at a time: memory holds some hundred bytes a
 * row. Throws as read_preferences() does. `progress` is called with rows done and rows in all. */
FileEvaluation evaluate_file(Judge& judge, const std::filesystem::path& path, double swap_average,
                             const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace gavel

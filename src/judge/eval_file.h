#pragma once
#include <filesystem>
#include <functional>

#include "judge/calibration.h"
#include "judge/judge.h"
#include "report/length_baseline.h"
#include "report/scores.h"

namespace gavel {

/** A judge's answers to a labelled file. */
struct FileEvaluation {
  std::vector<JudgedRow> rows;
  std::vector<CalibrationRow> calibration_rows;
  Scores scores;
  /** length_baseline() on the same rows. */
  BaselineScore lengths;
  /** Rows judged both ways, and those of them whose outcome depended on the order. */
  int64_t swapped_rows = 0, flipped_rows = 0;
  CleaningReport report;
};

/** Judges every labelled row of a file, 4,096 at a time; memory holds some hundred bytes a row. `swap_average` as in
 * Judge::judge, of each of these windows. Throws as read_preferences() does. `progress` is called with the number of
 * rows done and of the file's rows. */
FileEvaluation evaluate_file(Judge& judge, const std::filesystem::path& path, double swap_average,
                             const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace gavel

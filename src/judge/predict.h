#pragma once
#include <filesystem>
#include <functional>

#include "judge/judge.h"
#include "rows/cleaning.h"

namespace gavel {

struct PredictOptions {
  /** CSV, JSONL or Parquet; labels are not needed. */
  std::filesystem::path data;
  /** CSV to write: id,winner_model_a,winner_model_b,winner_tie, of a reward also reward_a,reward_b; a line for each row of
   * `data`, in its order. */
  std::filesystem::path out;
  /** As in Judge::judge, of the rows of each window. */
  double swap_average = 0;
  /** Rows that are read and then judged together, sorted by length among themselves. */
  int64_t window = 4096;
  /** Begin anew where there is a partial file, also of another judge, data file or setting. */
  bool restart = false;
};

struct PredictResult {
  int64_t rows = 0;
  /** Those of them that an earlier, interrupted call had done. */
  int64_t resumed_rows = 0;
  /** Rows judged both ways, and those of them whose outcome depended on the order. */
  int64_t swapped_rows = 0, flipped_rows = 0;
  /** What reading met. */
  CleaningReport report;
};

/** How a file is read for prediction. Throws Error for a layout whose rows are no pairs. */
ReadOptions predict_options(const Recipe& recipe, const std::filesystem::path& data);

/** Judges a file of any size: memory holds one window and one block of the file. Whole windows go to
 * OUT.partial, with OUT.partial.json saying how many rows it has, their hash, and of which judge and settings. The same
 * call goes on where a killed one stopped and gives the same bytes, also where the data file changed behind the rows that
 * were judged; OUT appears, whole, at the end. All rows are read once before the first is judged. Throws Error, and
 * leaves the partial file as it is, when it belongs to something else, another process writes it, or it can't be
 * written; one without a row is removed. `progress` is called with the number of rows done and of all rows. */
PredictResult predict_file(Judge& judge, const PredictOptions& options,
                           const std::function<void(int64_t, int64_t)>& progress = {});

/** The rows that an interrupted call with this `out` has left; 0: none. */
int64_t rows_in_partial_file(const std::filesystem::path& out);

}  // namespace gavel

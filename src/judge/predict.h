#pragma once
#include <filesystem>
#include <functional>

#include "rows/cleaning.h"
#include "judge/judge.h"

namespace gavel {

struct PredictOptions {
  /** CSV or JSONL; labels are not needed. */
  std::filesystem::path data;
  /** CSV to write: id,winner_model_a,winner_model_b,winner_tie, a line for each row of `data`, in its order.
   */
  std::filesystem::path out;
  /** See Judge::judge; the most uncertain share is that of each window. */
  double swap_average = 0;
  /** Rows judged together, sorted by length among themselves. */
  int64_t window = 4096;
  /** Begin anew where a partial file of another judge, file or setting is in the way. */
  bool restart = false;
};

struct PredictResult {
  int64_t rows = 0;
  /** Of these, rows that an earlier, interrupted call had done. */
  int64_t resumed_rows = 0;
  /** Rows judged both ways, and those of them whose outcome depended on the order. */
  int64_t swapped_rows = 0, flipped_rows = 0;
  /** What reading met. */
  CleaningReport report;
};

/** Judges a file of any size: memory holds one window and one block of the file. Whole windows go to
 * OUT.partial, with OUT.partial.json saying how far it is and what it belongs to, so that the same call goes
 * on where a killed one stopped, to the same bytes; OUT appears, whole, at the end. Throws Error, with the
 * partial file left as it is, when it belongs to something else, another process writes it, or it can't be
 * written. `progress` is called with rows done and rows in all. */
PredictResult predict_file(Judge& judge, const PredictOptions& options,
                           const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace gavel

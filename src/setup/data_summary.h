#pragma once
#include <string>
#include <vector>

#include "data/statistics.h"
#include "setup/run_data.h"

namespace gavel {

/** What `gavel data` shows of a recipe's data. */
struct DataSummary {
  /** A row as the judge reads it. */
  struct Example {
    int64_t source_row = 0;
    std::array<float, 3> label{};
    int64_t turns = 0, tokens = 0, full_tokens = 0;
    std::string text;  // its tokens, decoded
  };
  /** One side of the split. */
  struct Side {
    DatasetStatistics statistics;
    Distribution turns;
  };

  std::string file;
  CleaningReport report;
  bool from_cache = false;
  Side train;
  std::string valid_file;  // "" when the validation rows are a share of `file`
  std::optional<CleaningReport> valid_report;
  std::optional<Side> valid;
  int64_t shared_prompts = 0;  // validation rows whose prompt is in train too
  int64_t max_length = 0;
  int64_t rows_per_step = 0;
  WasteTable waste;  // of an epoch of the training rows
  std::vector<Example> examples;

  /** For the terminal. */
  std::string format() const;
  /** All of it, numbers unrounded. */
  std::string to_json() const;
};

/** `num_examples`: training rows to show, spread evenly from the shortest to the longest. */
DataSummary summarize(const Recipe& recipe, const RunData& data, const Tokenizer& tokenizer, int64_t num_examples);

}  // namespace gavel

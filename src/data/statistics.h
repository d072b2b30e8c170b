#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/batcher.h"
#include "data/dataset.h"

namespace gavel {

/** A column of numbers in the measures of pandas' describe(): std with n - 1 (NaN for one value), percentiles
 * by linear interpolation. */
struct Distribution {
  int64_t count = 0;
  double mean = 0, std = 0, min = 0, p25 = 0, p50 = 0, p75 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
  /** Lines "count … mean … std … min … 25% … max …". */
  std::string format() const;
};
Distribution describe(std::span<const int64_t> values);

/** Sum of each label (soft labels add their shares), and rows without one. */
struct LabelCounts {
  std::array<double, 3> sums{};  // A, B, tie
  int64_t labelled = 0, unlabelled = 0;
  std::string format() const;
};
LabelCounts count_labels(const TokenizedDataset& dataset);

/** A histogram of `bins` bars as text; the last bin holds the largest values. */
std::string histogram(std::span<const int64_t> values, int bins = 12, int width = 48);

/** What is printed before training and by `gavel data`. */
struct DatasetStatistics {
  int64_t rows = 0;
  LabelCounts labels;
  Distribution full_lengths;  // before truncation
  Distribution lengths;       // after truncation
  int64_t cut_rows = 0;       // rows that truncation shortened
  std::string histogram;      // of the lengths before truncation
  std::string format() const;
};
DatasetStatistics dataset_statistics(const TokenizedDataset& dataset);

/** Padding waste of each batching kind, one line each. */
struct WasteTable {
  struct Line {
    std::string name;
    PaddingWaste waste;
    size_t shapes = 0;
  };
  std::vector<Line> lines;
  std::string format() const;
};
/** `options` gives batch size, max_length and swap; the kinds padded (to max_length and to the longest of the
 * batch), bucketed and packed are tried on one epoch. */
WasteTable padding_waste(const TokenizedDataset& dataset, BatchOptions options);

}  // namespace gavel

#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/batcher.h"
#include "data/dataset.h"

namespace gavel {

/** What pandas' describe() says of a column of numbers: std with n - 1 (NaN for one value), percentiles by linear
 * interpolation. */
struct Distribution {
  int64_t count = 0;
  double mean = 0, std = 0, min = 0, p25 = 0, p50 = 0, p75 = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
  /** The measures by pandas' names: "mean", "25%", …; without the count. */
  std::vector<std::pair<std::string_view, double>> measures() const;
};
Distribution describe(std::span<const int64_t> values);
/** Lines "count …", "mean …", …, with a column for each of the named distributions. */
std::string format_distributions(const std::vector<std::pair<std::string, Distribution>>& columns);

/** Sum of each label over the rows (soft labels add their shares), and how many rows have one. */
struct LabelCounts {
  std::array<double, 3> sums{};  // A, B, tie
  int64_t labelled = 0, unlabelled = 0;
  /** Of single answers' scores, each of which counts as a label. */
  int64_t scored = 0;
  double score_mean = 0, score_min = 0, score_max = 0;
  std::string format() const;
};
LabelCounts count_labels(const TokenizedDataset& dataset);

/** Counts of values in ranges of equal width from the smallest value to about the 99th percentile, and in a last range
 * of all above, so that a few long rows do not squeeze all others into one bar. */
struct Histogram {
  struct Bin {
    int64_t from = 0, to = 0;  // both included
    int64_t count = 0;
  };
  std::vector<Bin> bins;
  /** A line of text per bin, with a bar of at most `width` letters. */
  std::string format(int width = 48) const;
};
Histogram histogram(std::span<const int64_t> values, int bins = 12);

/** What is printed before training and by `gavel data`. */
struct DatasetStatistics {
  int64_t rows = 0;
  LabelCounts labels;
  Distribution full_lengths;  // before truncation
  Distribution lengths;       // after truncation
  int64_t cut_rows = 0;       // rows that truncation shortened
  Histogram histogram;        // of the lengths before truncation
  /** Share of the rows that are cut. */
  double cut_share() const;
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

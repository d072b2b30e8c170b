#include "data/statistics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace gavel {

namespace {

/** numpy's linear interpolation, with its way of rounding. */
double percentile(const std::vector<int64_t>& sorted, double q) {
  double at = q * static_cast<double>(sorted.size() - 1);
  size_t below = static_cast<size_t>(std::floor(at));
  size_t above = std::min(below + 1, sorted.size() - 1);
  double low = static_cast<double>(sorted[below]), high = static_cast<double>(sorted[above]);
  double part = at - static_cast<double>(below);
  return part >= 0.5 ? high - (high - low) * (1 - part) : low + (high - low) * part;
}

}  // namespace

Distribution describe(std::span<const int64_t> values) {
  Distribution out;
  out.count = static_cast<int64_t>(values.size());
  if (values.empty()) return out;
  std::vector<int64_t> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  // Whole numbers sum exactly in 64 bits.
  int64_t sum = 0;
  for (int64_t value : sorted) sum += value;
  const double n = static_cast<double>(sorted.size());
  out.mean = static_cast<double>(sum) / n;
  long double squares = 0;
  for (int64_t value : sorted) {
    long double distance = static_cast<long double>(value) - static_cast<long double>(sum) / n;
    squares += distance * distance;
  }
  out.std =
      sorted.size() > 1 ? static_cast<double>(std::sqrt(squares / (n - 1))) : std::numeric_limits<double>::quiet_NaN();
  out.min = static_cast<double>(sorted.front());
  out.max = static_cast<double>(sorted.back());
  out.p25 = percentile(sorted, 0.25);
  out.p50 = percentile(sorted, 0.5);
  out.p75 = percentile(sorted, 0.75);
  out.p90 = percentile(sorted, 0.9);
  out.p95 = percentile(sorted, 0.95);
  out.p99 = percentile(sorted, 0.99);
  return out;
}

std::vector<std::pair<std::string_view, double>> Distribution::measures() const {
  return {{"mean", mean}, {"std", std}, {"min", min}, {"25%", p25}, {"50%", p50},
          {"75%", p75},   {"90%", p90}, {"95%", p95}, {"99%", p99}, {"max", max}};
}

std::string format_distributions(const std::vector<std::pair<std::string, Distribution>>& columns) {
  std::string out = fmt::format("  {:<6}", "");
  for (const auto& [name, values] : columns) out += fmt::format("{:>16}", name);
  out += fmt::format("\n  {:<6}", "count");
  for (const auto& [name, values] : columns) out += fmt::format("{:>16}", values.count);
  out += '\n';
  if (columns.empty()) return out;
  for (size_t m = 0; m < columns[0].second.measures().size(); ++m) {
    out += fmt::format("  {:<6}", columns[0].second.measures()[m].first);
    // Percentiles of whole numbers by hundredths have two decimals at most.
    for (const auto& [name, values] : columns)
      out += fmt::format("{:>16.{}f}", values.measures()[m].second, m < 2 ? 6 : 2);
    out += '\n';
  }
  return out;
}

LabelCounts count_labels(const TokenizedDataset& dataset) {
  LabelCounts out;
  for (int64_t row = 0; row < dataset.num_rows(); ++row) {
    if (const double score = dataset.score(row); !std::isnan(score)) {
      ++out.labelled;
      out.score_min = out.scored == 0 ? score : std::min(out.score_min, score);
      out.score_max = out.scored == 0 ? score : std::max(out.score_max, score);
      ++out.scored;
      out.score_mean += (score - out.score_mean) / static_cast<double>(out.scored);
      continue;
    }
    auto label = dataset.label(row);
    if (label[0] + label[1] + label[2] == 0) {
      ++out.unlabelled;
      continue;
    }
    ++out.labelled;
    for (size_t c = 0; c < 3; ++c) out.sums[c] += label[c];
  }
  return out;
}

std::string LabelCounts::format() const {
  std::string out;
  constexpr std::array<std::string_view, 3> kNames = {"A wins", "B wins", "tie"};
  if (scored > 0)
    out += fmt::format("  {:<8}{:>10}  from {:.6g} to {:.6g}, mean {:.6g}\n", "scores", scored, score_min, score_max,
                       score_mean);
  if (labelled > scored)
    for (size_t c = 0; c < 3; ++c) {
      double rounded = std::round(sums[c] * 100) / 100;
      out += fmt::format("  {:<8}{:>10}{:>8.1f} %\n", kNames[c], fmt::format("{:g}", rounded),
                         100 * sums[c] / static_cast<double>(labelled));
    }
  if (unlabelled > 0) out += fmt::format("  {:<8}{:>10}\n", "no label", unlabelled);
  return out;
}

Histogram histogram(std::span<const int64_t> values, int bins) {
  Histogram out;
  if (values.empty() || bins < 2) return out;
  std::vector<int64_t> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const int64_t start = sorted.front();
  const auto most = static_cast<int64_t>(percentile(sorted, 0.99));
  const int64_t step = std::max<int64_t>(1, (most - start) / (bins - 1) + 1);
  for (int64_t value : sorted) {
    auto bin = static_cast<size_t>(std::min<int64_t>((value - start) / step, bins - 1));
    while (out.bins.size() <= bin) {
      int64_t from = start + static_cast<int64_t>(out.bins.size()) * step;
      out.bins.push_back({from, from + step - 1, 0});
    }
    ++out.bins[bin].count;
  }
  out.bins.back().to = std::max(out.bins.back().to, sorted.back());
  return out;
}

std::string Histogram::format(int width) const {
  int64_t most = 1;
  for (const Bin& bin : bins) most = std::max(most, bin.count);
  std::string out;
  for (const Bin& bin : bins) {
    // Rounded up, so that a bin that is not empty shows.
    int64_t bar = (bin.count * width + most - 1) / most;
    std::string bars;
    for (int64_t i = 0; i < bar; ++i) bars += "█";
    out += fmt::format("  {:>7} - {:<7} {:>8}{}{}\n", bin.from, bin.to, bin.count, bar > 0 ? " " : "", bars);
  }
  return out;
}

DatasetStatistics dataset_statistics(const TokenizedDataset& dataset) {
  DatasetStatistics out;
  out.rows = dataset.num_rows();
  out.labels = count_labels(dataset);
  std::vector<int64_t> full = dataset.full_lengths(), kept = dataset.lengths();
  out.full_lengths = describe(full);
  out.lengths = describe(kept);
  for (size_t i = 0; i < full.size(); ++i) out.cut_rows += full[i] > kept[i];
  out.histogram = histogram(full);
  return out;
}

double DatasetStatistics::cut_share() const {
  return rows == 0 ? 0 : static_cast<double>(cut_rows) / static_cast<double>(rows);
}

std::string DatasetStatistics::format() const {
  std::string out = fmt::format("{} rows\n{}tokens per row, before and after truncation\n{}", rows, labels.format(),
                                format_distributions({{"whole", full_lengths}, {"kept", lengths}}));
  out += fmt::format("{} rows ({:.1f} %) cut by max_length\n", cut_rows, 100 * cut_share());
  return out + histogram.format();
}

WasteTable padding_waste(const TokenizedDataset& dataset, BatchOptions options) {
  options.drop_last = false;
  WasteTable table;
  auto add = [&](std::string name, Batching batching, int64_t pad_to) {
    options.batching = batching;
    options.pad_to = pad_to;
    Batcher batcher(dataset, options);
    table.lines.push_back({std::move(name), batcher.waste(), batcher.shapes().size()});
  };
  add("padded to max_length", Batching::kPadded, 0);
  add("padded to the batch's longest", Batching::kPadded, 64);
  add("bucketed", Batching::kBucketed, 0);
  add("packed", Batching::kPacked, 0);
  return table;
}

std::string WasteTable::format() const {
  std::string out = fmt::format("  {:<32}{:>14}{:>10}{:>10}\n", "batching", "tokens", "padding", "programs");
  for (const Line& line : lines)
    out += fmt::format("  {:<32}{:>14}{:>8.1f} %{:>10}\n", line.name, line.waste.tokens, 100 * line.waste.wasted(),
                       line.shapes);
  return out;
}

}  // namespace gavel

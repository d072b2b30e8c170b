#include "data/split.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/random.h"
#include "rows/cleaning.h"

namespace gavel {

namespace {

struct Group {
  uint64_t order = 0;
  std::array<double, 3> labels{};
  std::vector<int64_t> rows;
};

/** Assigns groups to bins so that each bin's label counts come close to its share of the whole: the largest
 * groups first, each to the bin where it adds least to the sum of (count - target)^2 / target, as
 * scikit-learn's StratifiedGroupKFold does with another measure. Returns the bin of each row. */
std::vector<size_t> assign(std::span<const RowKey> rows, const std::vector<double>& shares, uint64_t seed) {
  std::unordered_map<uint64_t, size_t> index;
  std::vector<Group> groups;
  std::array<double, 3> totals{};
  for (size_t i = 0; i < rows.size(); ++i) {
    auto [place, is_new] = index.try_emplace(rows[i].prompt_hash, groups.size());
    // The order depends on seed and prompt alone, so that a reordered file gives the same sides.
    if (is_new) groups.push_back({.order = random_bits(seed, rows[i].prompt_hash)});
    Group& group = groups[place->second];
    group.rows.push_back(static_cast<int64_t>(i));
    std::array<float, 3> label = rows[i].label;
    if (label[0] + label[1] + label[2] == 0) label = {1.0f / 3, 1.0f / 3, 1.0f / 3};
    for (size_t c = 0; c < 3; ++c) {
      group.labels[c] += label[c];
      totals[c] += label[c];
    }
  }
  std::sort(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    if (a.rows.size() != b.rows.size()) return a.rows.size() > b.rows.size();
    return a.order < b.order;
  });
  std::vector<std::array<double, 3>> counts(shares.size());
  std::vector<size_t> bin_of(rows.size());
  for (const Group& group : groups) {
    size_t best = 0;
    double best_cost = 0;
    for (size_t bin = 0; bin < shares.size(); ++bin) {
      double cost = 0;
      for (size_t c = 0; c < 3; ++c) {
        double target = totals[c] * shares[bin];
        if (group.labels[c] > 0) cost += group.labels[c] * (2 * (counts[bin][c] - target) + group.labels[c]) / target;
      }
      if (bin == 0 || cost < best_cost) {
        best = bin;
        best_cost = cost;
      }
    }
    for (size_t c = 0; c < 3; ++c) counts[best][c] += group.labels[c];
    for (int64_t row : group.rows) bin_of[static_cast<size_t>(row)] = best;
  }
  return bin_of;
}

}  // namespace

RowKey row_key(const PreferenceRow& row) {
  // The joined text: ["a b"] and ["a", "b"] read the same to a judge.
  std::string text;
  for (const auto& turn : row.prompt) text += turn + ' ';
  size_t end = text.find_last_not_of(" \t\r\n");
  text.resize(end == std::string::npos ? 0 : end + 1);
  return {hash_text(text, 0), row.has_label ? row.label : std::array<float, 3>{}};
}

std::vector<RowKey> row_keys(std::span<const PreferenceRow> rows) {
  std::vector<RowKey> keys;
  keys.reserve(rows.size());
  for (const auto& row : rows) keys.push_back(row_key(row));
  return keys;
}

Split split_rows(std::span<const RowKey> rows, double valid_share, uint64_t seed) {
  if (!(valid_share >= 0 && valid_share < 1))
    fail("data.valid: expected a share from 0 to below 1, found {}", valid_share);
  Split split;
  std::vector<size_t> bin(rows.size(), 0);
  if (valid_share > 0) bin = assign(rows, {1 - valid_share, valid_share}, seed);
  for (size_t i = 0; i < rows.size(); ++i) (bin[i] == 0 ? split.train : split.valid).push_back(static_cast<int64_t>(i));
  if (valid_share > 0 && (split.train.empty() || split.valid.empty()))
    fail("data.valid: a share of {} of {} rows leaves no row for {}: give another share, a file, or more rows",
         valid_share, rows.size(), split.train.empty() ? "training" : "validation");
  return split;
}

std::vector<std::vector<int64_t>> fold_rows(std::span<const RowKey> rows, int64_t folds, uint64_t seed) {
  if (folds < 2 || folds > static_cast<int64_t>(rows.size()))
    fail("data.folds: expected 2 to {} (the number of rows), found {}", rows.size(), folds);
  std::vector<size_t> bin = assign(rows, std::vector<double>(static_cast<size_t>(folds), 1.0 / folds), seed);
  std::vector<std::vector<int64_t>> out(static_cast<size_t>(folds));
  for (size_t i = 0; i < rows.size(); ++i) out[bin[i]].push_back(static_cast<int64_t>(i));
  return out;
}

Split fold_split(std::span<const RowKey> rows, int64_t folds, int64_t fold, uint64_t seed) {
  if (fold < 0 || fold >= folds) fail("data.fold: expected 0 to {}, found {}", folds - 1, fold);
  auto all = fold_rows(rows, folds, seed);
  Split split;
  split.valid = std::move(all[static_cast<size_t>(fold)]);
  for (int64_t row = 0; row < static_cast<int64_t>(rows.size()); ++row)
    if (!std::binary_search(split.valid.begin(), split.valid.end(), row)) split.train.push_back(row);
  if (split.train.empty() || split.valid.empty())
    fail("data.folds: fold {} of {} leaves no row for {}: take fewer folds, or give more rows", fold, folds,
         split.train.empty() ? "training" : "validation");
  return split;
}

int64_t fraction_count(int64_t count, double fraction) {
  if (!(fraction > 0 && fraction <= 1)) fail("data.fraction: expected a share above 0, at most 1, found {}", fraction);
  int64_t kept = static_cast<int64_t>(static_cast<double>(count) * fraction);
  if (kept == 0) fail("data.fraction: {} of {} rows is no row at all", fraction, count);
  return kept;
}

std::vector<PreferenceRow> select_rows(const std::vector<PreferenceRow>& rows, const std::vector<int64_t>& indices) {
  std::vector<PreferenceRow> out;
  out.reserve(indices.size());
  for (int64_t index : indices) out.push_back(rows.at(static_cast<size_t>(index)));
  return out;
}

int64_t count_shared_prompts(std::span<const RowKey> train, std::span<const RowKey> valid) {
  std::unordered_set<uint64_t> prompts;
  for (const auto& row : train) prompts.insert(row.prompt_hash);
  return std::count_if(valid.begin(), valid.end(),
                       [&](const RowKey& row) { return prompts.contains(row.prompt_hash); });
}

}  // namespace gavel

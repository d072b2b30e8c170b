#include "baseline/cross_validation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/parallel.h"

namespace gavel {

namespace {

template <class Keep>
std::vector<size_t> rows_where(std::span<const uint8_t> folds, Keep keep) {
  std::vector<size_t> found;
  for (size_t i = 0; i < folds.size(); ++i)
    if (keep(folds[i])) found.push_back(i);
  return found;
}

/** The best penalty for the rows of all folds but `left_out` (kCrossFolds = none). */
double search_penalty(const PairRows& rows, std::span<const uint8_t> folds, size_t left_out,
                      const PenaltySearch& search) {
  std::vector<double> losses(search.penalties.size());
  size_t done = 0;
  for (size_t held = 0; held < kCrossFolds && done < search.folds; ++held) {
    // Begins after the fold that is left out, so that a short search does not hold out the same rows for all.
    const size_t fold = (left_out + 1 + held) % kCrossFolds;
    if (fold == left_out) continue;
    const auto fitted = rows_where(folds, [&](uint8_t of) { return of != fold && of != left_out; });
    const auto judged = rows_where(folds, [&](uint8_t of) { return of == fold; });
    if (fitted.empty() || judged.empty()) continue;
    ++done;
    std::vector<double> weights;
    for (size_t i = 0; i < losses.size(); ++i) {
      weights = fit_pairs(rows, fitted, search.penalties[i], std::move(weights), search.precision);
      for (size_t row : judged) losses[i] += rows.loss(row, weights);
    }
  }
  if (done == 0) return search.penalties.front();
  return search.penalties[static_cast<size_t>(std::min_element(losses.begin(), losses.end()) - losses.begin())];
}

}  // namespace

std::vector<uint8_t> folds_by_prompt(std::span<const uint64_t> prompts) {
  std::vector<uint64_t> known(prompts.begin(), prompts.end());
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  std::vector<uint8_t> folds;
  for (uint64_t prompt : prompts)
    folds.push_back(static_cast<uint8_t>((std::lower_bound(known.begin(), known.end(), prompt) - known.begin()) %
                                         static_cast<std::ptrdiff_t>(kCrossFolds)));
  return folds;
}

bool can_cross_validate(std::span<const uint8_t> folds) {
  std::array<size_t, kCrossFolds> rows{};
  for (uint8_t fold : folds) ++rows[fold];
  return folds.size() >= 2 * kCrossFolds && std::find(rows.begin(), rows.end(), size_t{0}) == rows.end();
}

std::vector<double> fit_with_search(const PairRows& rows, std::span<const uint8_t> folds, const PenaltySearch& search,
                                    double* penalty) {
  const double found =
      search.penalties.size() == 1 ? search.penalties[0] : search_penalty(rows, folds, kCrossFolds, search);
  if (penalty != nullptr) *penalty = found;
  return fit_pairs(rows, rows_where(folds, [](uint8_t) { return true; }), found, {}, search.precision);
}

std::vector<Label> cross_validate(const PairRows& rows, std::span<const uint8_t> folds, const PenaltySearch& search) {
  if (!can_cross_validate(folds))
    fail("cross-validation: {} rows are too few, or have too few prompts, for {} folds", folds.size(), kCrossFolds);
  std::vector<Label> found(rows.size());
  parallel_for(kCrossFolds, 1, 0, [&](size_t begin, size_t end) {
    for (size_t fold = begin; fold < end; ++fold) {
      const double penalty = search_penalty(rows, folds, fold, search);
      const auto fitted = rows_where(folds, [&](uint8_t of) { return of != fold; });
      const std::vector<double> weights = fit_pairs(rows, fitted, penalty, {}, search.precision);
      for (size_t row : rows_where(folds, [&](uint8_t of) { return of == fold; }))
        found[row] = rows.probabilities(row, weights);
    }
  });
  return found;
}

}  // namespace gavel

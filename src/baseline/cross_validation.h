#pragma once
#include <span>
#include <vector>

#include "baseline/pair_logistic.h"

namespace gavel {

inline constexpr size_t kCrossFolds = 5;

/** Which of kCrossFolds each row is in: rows with the same prompt share one, so that no prompt is in a fit and in what
 * it is measured on. `prompts`: a hash of each row's. */
std::vector<uint8_t> folds_by_prompt(std::span<const uint64_t> prompts);

/** Whether the rows can be cross-validated: at least 2 * kCrossFolds of them, and none of the folds empty. */
bool can_cross_validate(std::span<const uint8_t> folds);

/** How a penalty is found: the one of `penalties` (from strong to weak) with the least loss on rows held out of the
 * fit. */
struct PenaltySearch {
  std::vector<double> penalties = {1000, 100, 10, 1};
  /** Folds of the fitted rows that are held out in turn; fewer are quicker. */
  size_t folds = kCrossFolds;
  double precision = 1e-6;
};

/** Fits all rows, with the penalty that the search finds; `penalty` receives it. Where there are too few rows or
 * prompts to hold some out it is the strongest. */
std::vector<double> fit_with_search(const PairRows& rows, std::span<const uint8_t> folds, const PenaltySearch& search,
                                    double* penalty = nullptr);

/** Each row's probabilities by a fit of the other folds, whose penalty is found within those. Throws Error where
 * can_cross_validate() is false. */
std::vector<Label> cross_validate(const PairRows& rows, std::span<const uint8_t> folds, const PenaltySearch& search);

}  // namespace gavel

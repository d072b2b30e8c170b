#pragma once
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "report/scores.h"

namespace gavel {

/** Figures of some of the rows. A pair is right when the answer that its label prefers has the larger probability of the
 * two, so that a verdict of "tie" does not count against it; rows whose label prefers neither are no pairs. This is how
 * RewardBench counts (an equal reward is wrong). */
struct SubsetScore {
  std::string name;
  int64_t rows = 0, pairs = 0;
  /** As in GroupScore; pair_accuracy is NaN without pairs. */
  double log_loss = 0, accuracy = 0, pair_accuracy = 0;
};

struct SubsetScores {
  std::vector<SubsetScore> subsets;  // in the order of their names
  /** Each row counts the same. */
  SubsetScore over_rows;
  /** Each subset counts the same: means of the subsets' figures. */
  SubsetScore over_subsets;
  /** RewardBench's sections (Lambert et al., 2024) that some of the subsets belong to: means of the pair accuracies of their
   * subsets, weighted with the numbers of prompts that the benchmark has of each (its 447 of math-prm as 984, as many as of
   * code). `pairs` are the pairs that are here; log loss and accuracy are NaN. */
  std::vector<SubsetScore> sections;
};

/** `names`: the subset of each row. Throws Error when there are no rows, or not as many names. */
SubsetScores score_subsets(std::span<const JudgedRow> rows, std::span<const std::string> names);

/** Tables for the terminal. */
std::string format_subsets(const SubsetScores& scores);
nlohmann::ordered_json subsets_json(const SubsetScores& scores);

}  // namespace gavel

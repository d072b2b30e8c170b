#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

namespace gavel {

/** The rewards of the answers to one prompt, the right ones first. */
struct RewardedAnswers {
  std::string id, subset;
  std::vector<double> rewards;
  size_t right = 1;
};

/** RewardBench 2's score of its subset Ties, where a prompt comes with one right answer ("ref:1") and with several that are
 * equally right ("tied:1"). */
struct TiesScore {
  /** Shares of the prompts of either kind whose right answers all have larger rewards than every wrong one. */
  double ref_accuracy = 0, tied_accuracy = 0;
  /** Of the prompts that come both ways: share where the smallest right reward lies further above the largest wrong one than
   * the right ones lie apart; and the same where this distance is the smaller one of both ways. */
  double margin = 0, hard_margin = 0;
  /** Mean of tanh(that smaller distance / distance of the right ones - 1), 0 where both distances are 0. */
  double gap = 0;
  /** 0.3 ref_accuracy + 0.3 tied_accuracy + 0.2 margin + 0.2 hard_margin + 0.01 gap */
  double score = 0;
};

struct BestOfSubset {
  std::string name;
  int64_t rows = 0;
  /** Of a subset named Ties (in any case) TiesScore::score, else the mean over the rows: 0 where the first answer does not
   * have the largest reward, else 1 / the number of answers that have it. */
  double score = 0;
};

struct BestOfScores {
  std::vector<BestOfSubset> subsets;  // in the order of their names
  /** Means over the rows outside of Ties, and over the subsets. */
  double over_rows = 0, over_subsets = 0;
  /** In the file's order, NaN in Ties. */
  std::vector<double> results;
  std::vector<TiesScore> ties;  // none or one
};

/** RewardBench 2's way of counting (Malik et al., 2025). Throws Error naming the row that has no wrong answer, or whose id or
 * right answers do not fit the subset Ties. */
BestOfScores score_best_of(std::span<const RewardedAnswers> rows);

std::string format_best_of(const BestOfScores& scores);
nlohmann::ordered_json best_of_json(const BestOfScores& scores);

}  // namespace gavel

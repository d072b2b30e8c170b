#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "figures/best_of_scores.h"
#include "judge/rank.h"

namespace gavel {

/** Answers to one prompt of which some are right: these come first. */
struct BestOfRow {
  Candidates candidates;
  std::string subset;
  size_t right = 1;
};

/** RewardBench 2's layout as JSONL: {"prompt": a text or a list of turns, "chosen" and "rejected": a text or a list of
 * texts, "subset" (under the key `subset`; "" where it is missing), "id"}. Throws Error naming file and line. */
std::vector<BestOfRow> read_best_of(const std::filesystem::path& path, const std::string& subset = "subset");

/** The reward of every answer. Throws Error when the judge's task is not reward. `done`: with the number of rows. */
std::vector<RewardedAnswers> reward_best_of(Judge& judge, const std::vector<BestOfRow>& rows,
                                            const RowsDone& done = {});

}  // namespace gavel

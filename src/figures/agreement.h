#pragma once
#include <array>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>

#include "figures/side_by_side.h"

namespace gavel {

/** What a judge said of one pair. Outcomes are indices of kOutcomes, those of the pair itself also where it was shown with A and B
 * exchanged; none: it was not asked so, or what it said was no outcome. */
struct Opinion {
  std::optional<size_t> in_order, exchanged;
  /** What it makes of both. */
  std::optional<size_t> verdict;
  /** Of the outcomes, where the judge gives such. */
  std::optional<std::array<double, 3>> probabilities;
};

/** The votes on a pair: the shares of the outcomes; none where there are no votes. */
using Votes = std::optional<std::array<double, 3>>;

/** Figures of one judge. */
struct OpinionScores {
  int64_t rows = 0, without_verdict = 0;
  /** Verdicts by outcome. */
  std::array<int64_t, 3> verdicts{};
  /** Pairs that it judged in both orders, those of them whose outcome the exchange changed, and how often, over both orders, it
   * preferred the answer that it was shown first, and second. */
  int64_t both_ways = 0, flipped = 0, first_preferred = 0, second_preferred = 0;
  /** Pairs with votes and a verdict, and the share of them whose verdict has the most votes (NaN without any). */
  int64_t voted = 0;
  double accuracy = 0;
  /** Mean over the pairs with votes of -sum(votes * log p); NaN where there are no probabilities. */
  double log_loss = 0;
};

/** Figures of two judges on the same pairs. */
struct Agreement {
  /** Pairs of which both have a verdict, and [first's verdict][second's]. */
  int64_t rows = 0;
  std::array<std::array<int64_t, 3>, 3> table{};
  /** Share of the pairs with the same verdict, and Cohen's kappa (1960): how far that is beyond what both would agree by
   * chance with their own shares of verdicts; NaN where chance would agree always, and without pairs. */
  double agreement = 0, kappa = 0;
  /** Of the pairs with votes, the first's accuracy less the second's. */
  int64_t voted = 0;
  MeanWithError accuracy_difference;
};

/** Both throw Error where the lists differ in length. */
OpinionScores score_opinions(std::span<const Opinion> opinions, std::span<const Votes> votes);
Agreement compare_opinions(std::span<const Opinion> first, std::span<const Opinion> second,
                           std::span<const Votes> votes);

nlohmann::ordered_json opinion_scores_json(const OpinionScores& scores);
nlohmann::ordered_json agreement_json(const Agreement& found);
/** A table of [first's verdict][second's] and the two figures. */
std::string format_agreement(const Agreement& found, const std::array<std::string, 2>& names);

}  // namespace gavel

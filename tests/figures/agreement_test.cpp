#include "figures/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"

namespace gavel {
namespace {

Opinion says(size_t in_order, std::optional<size_t> exchanged = std::nullopt) {
  Opinion opinion;
  opinion.in_order = opinion.verdict = in_order;
  opinion.exchanged = exchanged;
  return opinion;
}

TEST(Agreement, KappaIsCohens) {
  // 20 both A, 5 A and B, 10 B and A, 15 both B: the textbook's 50 proposals, of which 0.7 agree and 0.5 would by chance.
  std::vector<Opinion> first, second;
  const auto add = [&](int count, size_t a, size_t b) {
    for (int i = 0; i < count; ++i) {
      first.push_back(says(a));
      second.push_back(says(b));
    }
  };
  add(20, 0, 0);
  add(5, 0, 1);
  add(10, 1, 0);
  add(15, 1, 1);
  first.push_back(Opinion{});  // no verdict: the pair does not count
  second.push_back(says(0));
  std::vector<Votes> votes(51);
  votes[20] = Votes({1, 0, 0});     // the first is right
  votes[21] = Votes({0, 1, 0});     // the second is right
  votes[22] = Votes({0, 1, 0});     // once more
  votes[0] = Votes({0.5, 0.5, 0});  // both are
  const Agreement found = compare_opinions(first, second, votes);
  EXPECT_EQ(found.rows, 50);
  EXPECT_EQ(found.table[1][0], 10);
  EXPECT_NEAR(found.agreement, 0.7, 1e-15);
  EXPECT_NEAR(found.kappa, 0.4, 1e-12);
  EXPECT_EQ(found.voted, 4);
  EXPECT_NEAR(found.accuracy_difference.mean, -0.25, 1e-15);
  EXPECT_NEAR(found.accuracy_difference.error, std::sqrt((0.0625 + 1.5625 + 2 * 0.5625) / 3 / 4), 1e-12);
  EXPECT_THAT(format_agreement(found, {"x", "y"}), testing::HasSubstr("70.00 % of 50 pairs, Cohen's kappa 0.4000"));
  EXPECT_THROW(compare_opinions(first, second, std::vector<Votes>(3)), Error);
}

TEST(Agreement, OfJudgesThatAlwaysSayTheSameThereIsNoKappa) {
  const std::vector<Opinion> same(3, says(2));
  const Agreement found = compare_opinions(same, same, std::vector<Votes>(3));
  EXPECT_EQ(found.agreement, 1);
  EXPECT_TRUE(std::isnan(found.kappa));
  EXPECT_TRUE(agreement_json(found)["kappa"].is_null());
  const Agreement none = compare_opinions({}, {}, {});
  EXPECT_TRUE(std::isnan(none.agreement));
}

TEST(Agreement, OpinionsAreCounted) {
  std::vector<Opinion> opinions = {says(0, 0), says(0, 1), says(1, 1), says(2, 0), says(1)};
  opinions[0].probabilities = {0.5, 0.25, 0.25};
  opinions[1].verdict = 2;
  opinions[4].verdict.reset();
  const std::vector<Votes> votes = {Votes({1, 0, 0}), Votes({1, 0, 0}), std::nullopt, Votes({0.4, 0.2, 0.4}),
                                    std::nullopt};
  const OpinionScores scores = score_opinions(opinions, votes);
  EXPECT_EQ(scores.rows, 5);
  EXPECT_EQ(scores.without_verdict, 1);
  EXPECT_THAT(scores.verdicts, testing::ElementsAre(1, 1, 2));
  EXPECT_EQ(scores.both_ways, 4);
  EXPECT_EQ(scores.flipped, 2);
  EXPECT_EQ(scores.first_preferred, 4) << "A, A and then B twice, which was shown first";
  EXPECT_EQ(scores.second_preferred, 4);
  EXPECT_EQ(scores.voted, 3);
  EXPECT_NEAR(scores.accuracy, 2.0 / 3, 1e-15);
  EXPECT_NEAR(scores.log_loss, std::log(2.0), 1e-15);
}

}  // namespace
}  // namespace gavel

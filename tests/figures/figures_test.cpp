// Figures of small tables of rows, counted by hand.
#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "figures/best_of_scores.h"
#include "figures/side_by_side.h"
#include "figures/subset_scores.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

JudgedRow judged(int64_t row, std::array<double, 3> label, std::array<double, 3> probabilities) {
  return {"", row, 10, 1, label, probabilities};
}
constexpr std::array<double, 3> kA = {1, 0, 0}, kB = {0, 1, 0}, kTie = {0, 0, 1};

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Subsets, RowsSubsetsAndRewardBenchSectionsCountInTheirWays) {
  const std::vector<JudgedRow> rows = {judged(1, kA, {0.7, 0.2, 0.1}), judged(2, kB, {0.2, 0.5, 0.3}),
                                       judged(3, kA, {0.3, 0.3, 0.4}), judged(4, kTie, {0.1, 0.2, 0.7})};
  const std::vector<std::string> names = {"hep-cpp", "math-prm", "hep-cpp", "x"};
  const SubsetScores scores = score_subsets(rows, names);
  ASSERT_EQ(scores.subsets.size(), 3U);
  const SubsetScore &code = scores.subsets[0], &math = scores.subsets[1], &other = scores.subsets[2];
  EXPECT_EQ(code.name, "hep-cpp");
  EXPECT_EQ(code.rows, 2);
  EXPECT_EQ(code.pairs, 2);
  EXPECT_NEAR(code.log_loss, -(std::log(0.7) + std::log(0.3)) / 2, 1e-12);
  EXPECT_EQ(code.accuracy, 0.5);
  EXPECT_EQ(code.pair_accuracy, 0.5) << "equal probabilities are wrong";
  EXPECT_EQ(math.pair_accuracy, 1);
  EXPECT_EQ(other.pairs, 0);
  EXPECT_EQ(other.accuracy, 1);
  EXPECT_TRUE(std::isnan(other.pair_accuracy));
  EXPECT_NEAR(scores.over_rows.log_loss, -(2 * std::log(0.7) + std::log(0.5) + std::log(0.3)) / 4, 1e-12);
  EXPECT_EQ(scores.over_rows.accuracy, 0.75);
  EXPECT_NEAR(scores.over_rows.pair_accuracy, 2.0 / 3, 1e-12);
  EXPECT_NEAR(scores.over_subsets.accuracy, 2.5 / 3, 1e-12);
  EXPECT_EQ(scores.over_subsets.pair_accuracy, 0.75) << "of the subsets with pairs";
  // 164 prompts of hep-cpp, and math-prm counts as 984.
  ASSERT_EQ(scores.sections.size(), 1U);
  EXPECT_EQ(scores.sections[0].name, "Reasoning");
  EXPECT_EQ(scores.sections[0].pairs, 3);
  EXPECT_NEAR(scores.sections[0].pair_accuracy, (164 * 0.5 + 984) / 1148, 1e-12);

  EXPECT_THAT(format_subsets(scores), HasSubstr("hep-cpp                 2    0.7803    0.5000      2         0.5000"));
  EXPECT_THAT(format_subsets(scores), HasSubstr("Reasoning                  3                  0.9286"));
  const auto json = subsets_json(scores);
  EXPECT_EQ(json["subsets"][0]["pair_accuracy"], 0.5);
  EXPECT_EQ(json["over_rows"]["rows"], 4);
  EXPECT_EQ(json["reward_bench_sections"][0]["name"], "Reasoning");
  EXPECT_FALSE(
      subsets_json(score_subsets(rows, std::vector<std::string>(4, "mine"))).contains("reward_bench_sections"));
  EXPECT_THAT(message_of([&] { score_subsets(rows, std::vector<std::string>(3)); }), HasSubstr("4 rows have 3 names"));
}

TEST(BestOf, TheFirstAnswerMustHaveTheLargestReward) {
  const std::vector<RewardedAnswers> rows = {{"1", "Factuality", {2, 1, 0, -1}, 1},
                                             {"2", "Factuality", {1, 1, 0, 0}, 1},
                                             {"3", "Focus", {3, 1, 1, 1}, 1},
                                             {"4", "Factuality", {0, 1, 0, 0}, 1}};
  const BestOfScores scores = score_best_of(rows);
  EXPECT_THAT(scores.results, ElementsAre(1, 0.5, 1, 0));
  ASSERT_EQ(scores.subsets.size(), 2U);
  EXPECT_EQ(scores.subsets[0].score, 0.5);
  EXPECT_EQ(scores.subsets[1].score, 1);
  EXPECT_EQ(scores.over_rows, 0.625);
  EXPECT_EQ(scores.over_subsets, 0.75);
  EXPECT_TRUE(scores.ties.empty());
  EXPECT_THAT(format_best_of(scores), HasSubstr("Factuality              3     0.5000"));
  EXPECT_THAT(message_of([] { score_best_of(std::vector<RewardedAnswers>{{"7", "x", {1}, 1}}); }),
              HasSubstr("row 7: 1 of 1 answers are right"));
}

TEST(BestOf, TiesAreScoredByDistances) {
  const std::vector<RewardedAnswers> rows = {{"ref:1", "Ties", {5, 1}, 1},
                                             {"tied:1", "Ties", {4, 3, 0}, 2},
                                             {"ref:2", "Ties", {1, 2}, 1},
                                             {"tied:2", "Ties", {2, 0, 1}, 2},
                                             {"9", "Math", {1, 0}, 1}};
  const BestOfScores scores = score_best_of(rows);
  ASSERT_EQ(scores.ties.size(), 1U);
  const TiesScore& ties = scores.ties[0];
  EXPECT_EQ(ties.ref_accuracy, 0.5);
  EXPECT_EQ(ties.tied_accuracy, 0.5);
  EXPECT_EQ(ties.margin, 0.5);
  EXPECT_EQ(ties.hard_margin, 0.5);
  // tanh(3 / 1 - 1) and tanh(-1 / 2 - 1)
  EXPECT_NEAR(ties.gap, (0.9640275800758169 - 0.9051482536448664) / 2, 1e-12);
  EXPECT_NEAR(ties.score, 0.5 + 0.01 * 0.02943966321547525, 1e-12);
  EXPECT_EQ(scores.over_rows, 1) << "rows of Ties have no result of their own";
  EXPECT_NEAR(scores.over_subsets, (1 + ties.score) / 2, 1e-12);
  EXPECT_TRUE(std::isnan(scores.results[0]));
  EXPECT_NEAR(best_of_json(scores)["ties"]["score"].get<double>(), ties.score, 1e-15);

  // All right answers alike: the gap is 1 above the wrong ones, and 0 where these are alike too.
  auto gap = [](double wrong) {
    const std::vector<RewardedAnswers> even = {{"ref:1", "ties", {5, wrong}, 1}, {"tied:1", "ties", {5, 5, wrong}, 2}};
    return score_best_of(even).ties.at(0).gap;
  };
  EXPECT_EQ(gap(4), 1);
  EXPECT_EQ(gap(5), 0);
  EXPECT_THAT(message_of([] { score_best_of(std::vector<RewardedAnswers>{{"a", "Ties", {1, 0}, 1}}); }),
              HasSubstr("row a: expected an id as \"ref:1\""));
  EXPECT_THAT(message_of([] { score_best_of(std::vector<RewardedAnswers>{{"tied:1", "Ties", {1, 0}, 1}}); }),
              HasSubstr("expected two right answers"));
}

TEST(SideBySide, DifferencesArePaired) {
  const std::vector<JudgedRow> first = {judged(1, kA, {0.5, 0.25, 0.25}), judged(2, kB, {0.5, 0.25, 0.25}),
                                        judged(3, kTie, {0.25, 0.25, 0.5}), judged(9, kA, {1, 0, 0})};
  const std::vector<JudgedRow> second = {judged(2, kB, {0.25, 0.5, 0.25}), judged(1, kA, {0.5, 0.25, 0.25}),
                                         judged(3, kTie, {0.5, 0.25, 0.25})};
  const SideBySide found = compare_rows(first, second, true);
  EXPECT_EQ(found.rows, 3);
  EXPECT_EQ(found.left_out, 1);
  const double ln2 = std::log(2.0);
  EXPECT_NEAR(found.log_loss[0], 4 * ln2 / 3, 1e-12);
  EXPECT_NEAR(found.log_loss[1], 4 * ln2 / 3, 1e-12);
  // Differences 0, ln 2, -ln 2: their variance is (ln 2)^2.
  EXPECT_NEAR(found.log_loss_difference.mean, 0, 1e-12);
  EXPECT_NEAR(found.log_loss_difference.error, ln2 / std::sqrt(3.0), 1e-12);
  EXPECT_NEAR(found.accuracy[0], 2.0 / 3, 1e-12);
  EXPECT_NEAR(found.accuracy_difference.error, 1 / std::sqrt(3.0), 1e-12);
  EXPECT_NEAR(found.agreement, 1.0 / 3, 1e-12);
  const auto json = side_by_side_json(found, "runs/other");
  EXPECT_EQ(json["adapter"], "runs/other");
  EXPECT_EQ(json["left_out"], 1);
  EXPECT_THAT(format_side_by_side(found, {"runs/one", "runs/other"}), HasSubstr("side by side on 3 rows, 1 left out"));
}

TEST(SideBySide, WithoutTiesBothSayAOrB) {
  // The second has no ties: it reads them as half a vote each.
  const std::vector<JudgedRow> first = {judged(1, kA, {0.3, 0.2, 0.5}), judged(2, kTie, {0.1, 0.1, 0.8}),
                                        judged(3, kB, {0, 0, 1})};
  const std::vector<JudgedRow> second = {judged(1, kA, {0.75, 0.25, 0}), judged(2, {0.5, 0.5, 0}, {0.5, 0.5, 0}),
                                         judged(3, kB, {0.5, 0.5, 0})};
  const SideBySide found = compare_rows(first, second, false);
  EXPECT_EQ(found.rows, 2);
  EXPECT_EQ(found.left_out, 1);
  EXPECT_NEAR(found.log_loss[0], -(std::log(0.6) + std::log(0.5)) / 2, 1e-12);
  EXPECT_NEAR(found.log_loss[1], -(std::log(0.75) + std::log(0.5)) / 2, 1e-12);
  EXPECT_EQ(found.agreement, 1);
  EXPECT_THAT(format_side_by_side(found, {"a", "b"}), HasSubstr("one of the two has no outcome tie"));
  const std::vector<JudgedRow> tie = {judged(1, kTie, {0.3, 0.2, 0.5})};
  EXPECT_THAT(message_of([&] { compare_rows(tie, tie, false); }),
              HasSubstr("no row is left that both judge and that is no tie"));
}

}  // namespace
}  // namespace gavel

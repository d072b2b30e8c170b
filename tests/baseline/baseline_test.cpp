// Regressions against values of PyTorch (double precision, its own L-BFGS to a gradient below 1e-8), features against
// values counted by hand, baselines on made rows and on real votes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <string_view>

#include "base/error.h"
#include "base/random.h"
#include "baseline/baselines.h"
#include "baseline/cross_validation.h"

namespace gavel {
namespace {

/** Eight rows; the lead has weights 0 and 1, the tie (a constant and a feature) 2 and 3. */
PairRows eight_rows(bool has_tie) {
  PairRows rows({0.5, 0, 0, 0}, {1, 1, 0, 2}, has_tie);
  constexpr float kLead[8][2] = {{0.5, -1},     {1.25, 0.5}, {-2, 0.25}, {0, 1.5},
                                 {-0.75, -0.5}, {0.25, 2},   {1, -1},    {-1.5, 0}};
  constexpr float kTie[8] = {0.5, -0.25, 1, 0, -1.5, 0.75, 2, -0.5};
  const Label with[8] = {{1, 0, 0}, {1, 0, 0},         {0, 1, 0}, {0, 0, 1},
                         {0, 1, 0}, {0.5, 0.25, 0.25}, {0, 0, 1}, {0, 0, 1}};
  const Label without[8] = {{1, 0, 0}, {1, 0, 0},       {0, 1, 0}, {0.5, 0.5, 0},
                            {0, 1, 0}, {0.75, 0.25, 0}, {0, 1, 0}, {1, 0, 0}};
  for (size_t i = 0; i < 8; ++i)
    rows.add(std::vector<Term>{{0, kLead[i][0]}, {1, kLead[i][1]}}, std::vector<Term>{{2, 1}, {3, kTie[i]}},
             has_tie ? with[i] : without[i]);
  return rows;
}

std::vector<size_t> first_rows(size_t count) {
  std::vector<size_t> all(count);
  std::iota(all.begin(), all.end(), size_t{0});
  return all;
}

TEST(PairLogistic, FindsTheWeightsThatPyTorchFinds) {
  const PairRows rows = eight_rows(true);
  const std::vector<double> found = fit_pairs(rows, first_rows(8), 0.5, {}, 1e-9);
  const std::vector<double> expected = {1.152066167, 0.065618263, 0.768213090, 0.327720195};
  EXPECT_THAT(found, testing::Pointwise(testing::DoubleNear(1e-6), expected));
  double loss = 0, drawn = 0;
  for (size_t i = 0; i < 8; ++i) loss += rows.loss(i, expected);
  for (size_t i = 0; i < 4; ++i) drawn += 0.25 * rows.strengths()[i] * std::pow(expected[i] - rows.centers()[i], 2);
  EXPECT_NEAR(loss + drawn, 6.347841296, 1e-8);
  // Another start ends at the same place.
  EXPECT_THAT(fit_pairs(rows, first_rows(8), 0.5, {-3, 2, 1, -1}, 1e-9),
              testing::Pointwise(testing::DoubleNear(1e-6), expected));
  EXPECT_THROW(fit_pairs(rows, {}, 0.5), Error);
}

TEST(PairLogistic, WithoutTiesTheirWeightsStay) {
  const PairRows rows = eight_rows(false);
  const std::vector<double> expected = {0.256491153, 0.211910998, 0, 0};
  EXPECT_THAT(fit_pairs(rows, first_rows(8), 0.5, {}, 1e-9), testing::Pointwise(testing::DoubleNear(1e-6), expected));
  EXPECT_EQ(rows.probabilities(0, expected)[2], 0);
}

TEST(PairLogistic, ProbabilitiesAreExchangedWithTheSignOfTheLead) {
  const Label one = pair_probabilities(0.75, 0.25, true), other = pair_probabilities(-0.75, 0.25, true);
  EXPECT_DOUBLE_EQ(one[0], other[1]);
  EXPECT_DOUBLE_EQ(one[2], other[2]);
  EXPECT_NEAR(one[0] / one[1], std::exp(1.5), 1e-12);
  EXPECT_NEAR(one[2] / one[0], std::exp(-0.5), 1e-12);
  // No overflow far out.
  EXPECT_DOUBLE_EQ(pair_probabilities(2000, 0, true)[0], 1);
}

PreferenceRow pair_of(std::string prompt, std::string a, std::string b, std::array<float, 3> label = {1, 0, 0}) {
  PreferenceRow row;
  row.prompt = {std::move(prompt)};
  row.response_a = {std::move(a)};
  row.response_b = {std::move(b)};
  row.label = label;
  row.has_label = true;
  return row;
}

float lead_of(const SurfaceFeatures& features, std::string_view name) {
  for (size_t i = 0; i < kLeadFeatures.size(); ++i)
    if (kLeadFeatures[i] == name) return features.lead[i];
  ADD_FAILURE() << name;
  return 0;
}

float tie_of(const SurfaceFeatures& features, std::string_view name) {
  for (size_t i = 0; i < kTieFeatures.size(); ++i)
    if (kTieFeatures[i] == name) return features.tie[i];
  ADD_FAILURE() << name;
  return 0;
}

TEST(SurfaceFeatures, AreWhatOneCounts) {
  const std::string a = "# Title\n\n1. **one** thing\n- two\n```\ncode\n```\nReally?";
  const SurfaceFeatures found =
      surface_features(pair_of("One two three four", a, "I'm sorry, as an AI I cannot do 42"));
  auto log_of = [](double count) { return static_cast<float>(std::log1p(count)); };
  EXPECT_FLOAT_EQ(lead_of(found, "length"), log_of(static_cast<double>(a.size())) - log_of(34));
  // title 1 one thing two code really, against i'm sorry as an ai i cannot do 42
  EXPECT_FLOAT_EQ(lead_of(found, "words"), log_of(7) - log_of(9));
  EXPECT_FLOAT_EQ(lead_of(found, "lines"), log_of(8) - log_of(1));
  EXPECT_FLOAT_EQ(lead_of(found, "lists"), log_of(2));
  EXPECT_FLOAT_EQ(lead_of(found, "code blocks"), log_of(2));  // fences
  EXPECT_FLOAT_EQ(lead_of(found, "headings"), log_of(1));
  EXPECT_FLOAT_EQ(lead_of(found, "bold"), log_of(1));
  EXPECT_FLOAT_EQ(lead_of(found, "numbers"), log_of(1) - log_of(2));
  EXPECT_EQ(lead_of(found, "refusal"), -1);
  EXPECT_EQ(lead_of(found, "empty"), 0);
  EXPECT_EQ(lead_of(found, "cut off"), -1);                // A ends in a question mark
  EXPECT_FLOAT_EQ(lead_of(found, "of the prompt"), 0.5F);  // "one" and "two" of four
  EXPECT_EQ(tie_of(found, "identical"), 0);
  EXPECT_EQ(tie_of(found, "one refuses"), 1);
  EXPECT_EQ(tie_of(found, "code"), 1);
  EXPECT_EQ(tie_of(found, "shared words"), 0);
  const SurfaceFeatures same = surface_features(pair_of("p", "the same thing", "the same thing"));
  for (float value : same.lead) EXPECT_EQ(value, 0);
  EXPECT_EQ(tie_of(same, "identical"), 1);
  EXPECT_EQ(tie_of(same, "shared words"), 1);
  EXPECT_EQ(lead_of(surface_features(pair_of("p", "", "x")), "empty"), 1);
}

TEST(SurfaceFeatures, ChangeTheirSignOrStayWhenTheAnswersAreExchanged) {
  const PreferenceRow row = pair_of("What?", "* a list\n* of two", "Sorry, I'm not able to.");
  const SurfaceFeatures there = surface_features(row), back = surface_features(swapped(row));
  for (size_t i = 0; i < there.lead.size(); ++i) EXPECT_EQ(there.lead[i], -back.lead[i]) << kLeadFeatures[i];
  for (size_t i = 0; i < there.tie.size(); ++i) EXPECT_EQ(there.tie[i], back.tie[i]) << kTieFeatures[i];
  // Nothing at all is a pair too.
  EXPECT_TRUE(std::isfinite(surface_features(PreferenceRow{}).tie[0]));
}

TEST(SurfaceFeatures, WordsInBothAnswersAreLeftOut) {
  const std::vector<Term> terms = word_terms(pair_of("p", "The red house, the red one", "the BLUE house"));
  // red and one, against blue.
  ASSERT_EQ(terms.size(), 3u);
  EXPECT_EQ(terms[0].value + terms[1].value + terms[2].value, 1);
}

TEST(CrossValidation, RowsOfOnePromptShareAFold) {
  const std::vector<uint64_t> prompts = {5, 9, 5, 1, 2, 3, 9, 4, 6, 7, 8, 5};
  const std::vector<uint8_t> folds = folds_by_prompt(prompts);
  EXPECT_EQ(folds[0], folds[2]);
  EXPECT_EQ(folds[0], folds[11]);
  EXPECT_EQ(folds[1], folds[6]);
  EXPECT_TRUE(can_cross_validate(folds));
  EXPECT_FALSE(can_cross_validate(folds_by_prompt(std::vector<uint64_t>(20, 1))));
  EXPECT_FALSE(can_cross_validate(folds_by_prompt(std::vector<uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9})));
  EXPECT_THROW(cross_validate(eight_rows(true), std::vector<uint8_t>(8, 0), {}), Error);
}

TEST(CrossValidation, NoRowIsJudgedByAFitThatSawIt) {
  // Ten rows with a feature of their own each, which a fit that sees the row learns by heart.
  PairRows rows(std::vector<double>(10, 0), std::vector<double>(10, 1), false);
  std::vector<uint64_t> prompts;
  for (uint32_t i = 0; i < 10; ++i) {
    rows.add(std::vector<Term>{{i, 10}}, {}, {1, 0, 0});
    prompts.push_back(i);
  }
  PenaltySearch search;
  search.penalties = {0.01};
  for (const Label& p : cross_validate(rows, folds_by_prompt(prompts), search)) EXPECT_DOUBLE_EQ(p[0], 0.5);
  EXPECT_GT(rows.probabilities(0, fit_with_search(rows, folds_by_prompt(prompts), search))[0], 0.99);
}

TEST(Baselines, FindThatLongerAnswersWinAndNothingWhereThereIsNothing) {
  Random random(7);
  std::vector<BaselineRow> rows, noise;
  // What knowing the truth costs on each row.
  std::vector<double> truth;
  for (int i = 0; i < 600; ++i) {
    const std::string a(random.below(3000), 'a'), b(random.below(3000), 'b');
    BaselineRow row = baseline_row(pair_of("prompt " + std::to_string(i), a, b), false);
    const double p = pair_probabilities(1.5 * static_cast<double>(row.surface.lead[0]), 0, false)[0];
    row.label = random.uniform() < p ? Label{1, 0, 0} : Label{0, 1, 0};
    truth.push_back(-std::log(row.label[0] > 0 ? p : 1 - p));
    rows.push_back(row);
    row.label = {};
    row.label[random.below(3)] = 1;
    noise.push_back(row);
  }
  const auto found = score_baselines(rows), nothing = score_baselines(noise);
  ASSERT_EQ(found.size(), 3u);  // there are no words
  EXPECT_EQ(found[0].key, "shares");
  EXPECT_NEAR(found[0].log_loss, std::log(2), 0.01);
  EXPECT_EQ(found[1].key, "lengths");
  auto mean_of_truth = [&](size_t count) {
    return std::accumulate(truth.begin(), truth.begin() + static_cast<int>(count), 0.0) / static_cast<double>(count);
  };
  ASSERT_LT(mean_of_truth(600), 0.5);
  EXPECT_NEAR(found[1].log_loss, mean_of_truth(600), 0.02);
  EXPECT_NEAR(found[2].log_loss, mean_of_truth(600), 0.03);
  EXPECT_NEAR(nothing[1].log_loss, std::log(3), 0.05);
  EXPECT_NEAR(nothing[2].log_loss, std::log(3), 0.05);
  EXPECT_EQ(score_baselines(std::span(rows).first(9)).size(), 1u);
  // A few rows are not learnt by heart: features that say nothing cost little more than knowing nothing.
  double of_few = 0;
  for (size_t i = 0; i < 20; ++i) of_few += score_baselines(std::span(noise).subspan(30 * i, 30))[2].log_loss / 20;
  EXPECT_NEAR(of_few, std::log(3), 0.15);
  // Features that never differ can't be scaled.
  std::vector<BaselineRow> same(20, baseline_row(pair_of("p", "x", "y"), false));
  for (size_t i = 0; i < same.size(); ++i) same[i].prompt = i;
  for (const Baseline& baseline : score_baselines(same)) EXPECT_TRUE(std::isfinite(baseline.log_loss));
  // Fitted on other rows.
  const auto others = score_baselines(std::span(rows).first(100), std::span(rows).subspan(100));
  EXPECT_NEAR(others[1].log_loss, mean_of_truth(100), 0.03);
  EXPECT_EQ(others[1].losses.size(), 100u);
  // What was learnt does not hold there: far worse than a fit on the rows themselves.
  EXPECT_GT(score_baselines(std::span(noise).first(100), std::span(rows).subspan(100))[1].log_loss, 1.5);
  EXPECT_THROW(score_baselines({}), Error);
}

TEST(Baselines, WordsAreLearnt) {
  Random random(3);
  std::vector<BaselineRow> rows;
  for (int i = 0; i < 400; ++i) {
    // Equally long, equally many words: only "right" tells.
    const bool first = random.uniform() < 0.5;
    rows.push_back(baseline_row(pair_of("prompt " + std::to_string(i), first ? "right thing" : "wrong thing",
                                        first ? "wrong thing" : "right thing",
                                        first ? std::array<float, 3>{1, 0, 0} : std::array<float, 3>{0, 1, 0})));
  }
  const auto found = score_baselines(rows);
  ASSERT_EQ(found.size(), 4u);
  EXPECT_GT(found[2].log_loss, 0.6);
  // Of 320 fitted rows, each with a lead s of two weights w times 0.1, penalty 3: the least of 320 log(1 + e^-2s) + 3
  // w^2 with s = 0.2 w is at s = 0.763, where a row costs 0.197.
  EXPECT_NEAR(found[3].log_loss, 0.197, 0.005);
  EXPECT_NEAR(found[3].accuracy, 1, 1e-9);
}

TEST(Baselines, ComeNearOtherPeoplesFiguresOnRealVotes) {
  const char* shared = std::getenv("GAVEL_SHARED");
  const auto arena =
      std::filesystem::path(shared != nullptr ? shared : GAVEL_SOURCE_DIR "/../shared") / "data/arena.csv";
  if (!std::filesystem::exists(arena)) GTEST_SKIP() << "shared data is not here (GAVEL_SHARED)";
  std::vector<BaselineRow> rows;
  for (const PreferenceRow& row : read_preferences(arena, {}).rows) rows.push_back(baseline_row(row));
  const auto begin = std::chrono::steady_clock::now();
  const auto found = score_baselines(rows);
  std::printf("%zu rows: %.1f seconds\n", rows.size(),
              std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  ASSERT_EQ(found.size(), 4u);
  for (const Baseline& baseline : found)
    std::printf("%s %.4f %.4f\n", baseline.key.c_str(), baseline.log_loss, baseline.accuracy);
  EXPECT_NEAR(found[0].log_loss, 1.095, 0.01);
  EXPECT_NEAR(found[1].log_loss, 1.055, 0.002);  // what another regression on lengths gave
  // Others measured 1.052 and 1.038 with features of their own.
  EXPECT_LT(found[2].log_loss, 1.052);
  EXPECT_LT(found[3].log_loss, found[2].log_loss);
  EXPECT_GT(found[3].log_loss, 0.95);  // no better than a strong judge
}

TEST(PairedDifference, IsThatOfTheRows) {
  // Differences 1, 2, 3, 6: mean 3, variance (4 + 1 + 0 + 9) / 3, over 4 rows.
  const std::vector<double> theirs = {2, 4, 5, 9}, ours = {1, 2, 2, 3};
  const PairedDifference found = paired_difference(theirs, ours);
  EXPECT_DOUBLE_EQ(found.mean, 3);
  EXPECT_NEAR(found.standard_error, std::sqrt(14.0 / 3 / 4), 1e-12);
  EXPECT_NEAR(found.errors(), 3 / std::sqrt(14.0 / 12), 1e-12);
  EXPECT_EQ(paired_difference(ours, ours).errors(), 0);
  EXPECT_TRUE(std::isnan(paired_difference(std::vector<double>{1}, std::vector<double>{1}).mean));
}

}  // namespace
}  // namespace gavel

#include "study/comparison.h"

#include <gmock/gmock.h>

#include <cmath>

#include "study/folds.h"
#include "study/halving.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/** Rows of label A whose loss is -log of these probabilities. */
ValidationRows rows_of(const std::vector<std::pair<int64_t, double>>& rows) {
  ValidationRows found{10, {}};
  for (auto [number, p] : rows) {
    JudgedRow& row = found.rows.emplace_back();
    row.row = number;
    row.label = {1, 0, 0};
    row.probabilities = {p, 1 - p, 0};
  }
  return found;
}

TEST(PairedDifferences, OfOneSeedAreMeanAndStandardErrorOverTheRows) {
  // Losses are log 2, log 4, log 8 against log 4, log 4, log 2: differences of -1, 0 and 2 times log 2.
  const std::vector<ValidationRows> ours = {rows_of({{3, 0.5}, {7, 0.25}, {9, 0.125}})},
                                    theirs = {rows_of({{3, 0.25}, {7, 0.25}, {9, 0.5}})};
  const auto found = difference_of_settings(ours, theirs);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rows, 3);
  EXPECT_NEAR(found->mean, std::log(2) / 3, 1e-12);
  // Deviations -4/3, -1/3, 5/3 of log 2: variance 42/9/2 = 7/3, over three rows 7/9.
  EXPECT_NEAR(found->standard_error, std::sqrt(7.0 / 9) * std::log(2), 1e-12);
  EXPECT_TRUE(std::isnan(found->seed_standard_error));
}

TEST(PairedDifferences, OfSeedsCountARowOnce) {
  // Row 1 differs by 1 and 3 times log 2 under the two seeds, row 2 by -1 and 1.
  const std::vector<ValidationRows> ours = {rows_of({{1, 0.25}, {2, 0.5}}), rows_of({{1, 0.0625}, {2, 0.5}})},
                                    theirs = {rows_of({{1, 0.5}, {2, 0.25}}), rows_of({{1, 0.5}, {2, 1}})};
  const auto found = difference_of_settings(ours, theirs);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rows, 2);
  EXPECT_NEAR(found->mean, std::log(2), 1e-12);
  // Means of the rows: 2 and 0, so a standard deviation of sqrt(2), over two rows 1. Of the seeds: 0 and 2, the same.
  EXPECT_NEAR(found->standard_error, std::log(2), 1e-12);
  EXPECT_NEAR(found->seed_standard_error, std::log(2), 1e-12);
}

TEST(PairedDifferences, NeedTheSameRowsAndLabels) {
  const std::vector<ValidationRows> ours = {rows_of({{1, 0.5}, {2, 0.5}})};
  EXPECT_FALSE(difference_of_settings(ours, std::vector{rows_of({{1, 0.5}})}));
  EXPECT_FALSE(difference_of_settings(ours, std::vector{rows_of({{1, 0.5}, {3, 0.5}})}));
  std::vector<ValidationRows> other = ours;
  other[0].rows[1].label = {0, 1, 0};
  EXPECT_FALSE(difference_of_settings(ours, other));
  EXPECT_FALSE(difference_of_settings(ours, std::vector{ours[0], ours[0]}));
  EXPECT_TRUE(difference_of_settings(ours, ours));
}

TEST(SweepTables, SayWhatIsKnown) {
  SweepResults results;
  results.keys = {"lora.target_modules"};
  results.reference = "a";
  SettingResult best{"a", {"[x, y]"}, "finished", 1, 50, 0.9, NAN, 0.5, SettingDifference{0, 0, NAN, 4}, 50, true};
  SettingResult other{"b", {"z"}, "stopped at step 10", 1, 10, 1.1, NAN, 0.4, SettingDifference{0.15, 0.05, NAN, 4},
                      10,  false};
  SettingResult none{"<c>", {"w"}, "failed", 0, 0, 0, 0, 0, std::nullopt, 0, false};
  results.settings = {best, other, none};
  EXPECT_THAT(to_csv(results), HasSubstr("\"[x, y]\",finished,1,50,0.9,,0.5,0,0,,4,50,1\n"
                                         "z,stopped at step 10,1,10,1.1,,0.4,0.15,0.05,,4,10,0\n"
                                         "w,failed,0,,,,,,,,,,0\n"));
  EXPECT_THAT(to_text(results), HasSubstr("+0.1500 ± 0.0500"));
  EXPECT_THAT(to_html(results), HasSubstr("&lt;c&gt;"));
  EXPECT_THAT(to_json(results), HasSubstr("\"seed_standard_error\": null"));
}

TEST(Halving, RungsAreGeometricUpToTheEnd) {
  EXPECT_THAT(rungs(10, 3, 100), ElementsAre(10, 30, 90, 100));
  EXPECT_THAT(rungs(10, 3, 90), ElementsAre(10, 30, 90));
  EXPECT_THAT(rungs(100, 2, 100), ElementsAre(100));
  EXPECT_THAT(rungs(1, 1000, INT64_MAX), testing::SizeIs(8));
}

TEST(Halving, KeepsTheBestShare) {
  const std::vector<double> losses = {0.9, 0.7, NAN, 0.8, 0.7, 1.0, 0.95};
  EXPECT_THAT(survivors({0, 1, 2, 3, 4, 5, 6}, losses, 2), ElementsAre(1, 3, 4));
  EXPECT_THAT(survivors({0, 1, 3, 4}, losses, 4), ElementsAre(1));
  EXPECT_THAT(survivors({0, 5}, losses, 4), ElementsAre(0));
  EXPECT_THAT(survivors({2}, losses, 2), IsEmpty());
}

TEST(Folds, MeanAndStandardError) {
  // Values 1, 2, 6: mean 3, variance (4 + 1 + 9) / 2 = 7.
  const MeanOfFolds found = mean_of({1, 2, 6});
  EXPECT_DOUBLE_EQ(found.mean, 3);
  EXPECT_NEAR(found.standard_error, std::sqrt(7.0 / 3), 1e-12);
}

}  // namespace
}  // namespace gavel

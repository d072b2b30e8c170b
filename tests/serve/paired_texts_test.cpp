#include "serve/paired_texts.h"

#include <gtest/gtest.h>

namespace gavel {
namespace {

PreferenceRow written(const std::string& a, const std::string& b) {
  PreferenceRow row;
  row.written_out = true;
  row.response_a = {a};
  row.response_b = {b};
  return row;
}

TEST(PairedTexts, EachTextIsReadOnceAndHasItsOwnReward) {
  size_t asked = 0;
  const JudgeFunction judge = with_paired_texts([&](std::span<const PreferenceRow> rows) {
    asked += rows.size();
    std::vector<Verdict> verdicts;
    for (const PreferenceRow& row : rows) {
      Verdict& verdict = verdicts.emplace_back();
      verdict.length = static_cast<int64_t>(row.response_a[0].size());
      verdict.length_b = static_cast<int64_t>(row.response_b[0].size());
      verdict.rewards = Rewards{static_cast<double>(verdict.length) / 2, static_cast<double>(verdict.length_b) / 2};
    }
    return verdicts;
  });
  PreferenceRow templated = written("same", "same");
  templated.written_out = false;
  const std::vector<PreferenceRow> rows = {written("a", "a"), written("four", "sixsix"), written("bb", "bb"), templated,
                                           written("ccc", "ccc")};
  const std::vector<Verdict> verdicts = judge(rows);
  EXPECT_EQ(asked, 4U) << "a and bb share a row, and ccc has nobody to share with";
  ASSERT_EQ(verdicts.size(), 5U);
  const std::vector<std::array<double, 2>> expected = {{0.5, 0.5}, {2, 3}, {1, 1}, {2, 2}, {1.5, 1.5}};
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(verdicts[i].rewards.value(), expected[i]) << i;
  EXPECT_EQ(verdicts[0].length, 1);
  EXPECT_EQ(verdicts[2].length, 2);
  EXPECT_EQ(verdicts[1].length_b, 6);
}

}  // namespace
}  // namespace gavel

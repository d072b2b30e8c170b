#include "data/split.h"

#include <gmock/gmock.h>

#include <map>
#include <set>

#include "base/random.h"
#include "test_support.h"

namespace gavel {
namespace {

using testing::HasSubstr;

std::vector<RowKey> made_rows(int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<RowKey> rows;
  for (int64_t i = 0; i < count; ++i) {
    RowKey row;
    // Some prompts come often: one in ten of the rows has one of five prompts.
    row.prompt_hash =
        random.below(10) == 0 ? random.below(5) : mix64(random.below(static_cast<uint64_t>(count)) + 5);
    double u = random.uniform();
    row.label[u < 0.35 ? 0 : u < 0.7 ? 1 : 2] = 1;
    rows.push_back(row);
  }
  return rows;
}

TEST(Split, NoPromptOnBothSidesAndLabelsInTheirShares) {
  for (uint64_t seed : {1, 2, 3}) {
    auto rows = made_rows(4000, seed);
    Split split = split_rows(rows, 0.1, seed);
    EXPECT_EQ(split.train.size() + split.valid.size(), rows.size());
    EXPECT_NEAR(static_cast<double>(split.valid.size()), 400, 4);
    std::set<uint64_t> prompts;
    std::array<double, 3> all{}, valid{};
    for (int64_t i : split.train) prompts.insert(rows[static_cast<size_t>(i)].prompt_hash);
    for (int64_t i : split.valid) EXPECT_FALSE(prompts.contains(rows[static_cast<size_t>(i)].prompt_hash));
    for (const auto& row : rows)
      for (size_t c = 0; c < 3; ++c) all[c] += row.label[c];
    for (int64_t i : split.valid)
      for (size_t c = 0; c < 3; ++c) valid[c] += rows[static_cast<size_t>(i)].label[c];
    for (size_t c = 0; c < 3; ++c) EXPECT_NEAR(valid[c], all[c] * 0.1, 2);
    EXPECT_TRUE(std::is_sorted(split.train.begin(), split.train.end()));
  }
}

TEST(Split, IsAFunctionOfRowsAndSeedAlone) {
  auto rows = made_rows(1000, 4);
  EXPECT_EQ(split_rows(rows, 0.2, 9).valid, split_rows(rows, 0.2, 9).valid);
  EXPECT_NE(split_rows(rows, 0.2, 9).valid, split_rows(rows, 0.2, 10).valid);
}

TEST(Split, FoldsHoldEveryRowOnce) {
  auto rows = made_rows(1000, 5);
  auto folds = fold_rows(rows, 5, 1);
  std::set<int64_t> seen;
  std::map<uint64_t, size_t> fold_of;
  for (size_t f = 0; f < folds.size(); ++f) {
    EXPECT_NEAR(static_cast<double>(folds[f].size()), 200, 6);
    for (int64_t i : folds[f]) {
      EXPECT_TRUE(seen.insert(i).second);
      auto [place, is_new] = fold_of.try_emplace(rows[static_cast<size_t>(i)].prompt_hash, f);
      EXPECT_EQ(place->second, f);
    }
  }
  EXPECT_EQ(seen.size(), rows.size());
  EXPECT_THAT(error_of([&] { fold_rows(rows, 1, 0); }), HasSubstr("expected 2 to 1000"));
}

TEST(Split, EdgesAreErrors) {
  auto rows = made_rows(3, 1);
  EXPECT_TRUE(split_rows(rows, 0, 1).valid.empty());
  EXPECT_THAT(error_of([&] { split_rows(rows, 1, 1); }), HasSubstr("data.valid"));
  EXPECT_THAT(error_of([&] { split_rows(std::vector<RowKey>(5), 0.2, 1); }), HasSubstr("leaves no row"));
  EXPECT_EQ(fraction_count(7, 0.5), 3);
  EXPECT_THAT(error_of([] { fraction_count(1, 0.5); }), HasSubstr("no row at all"));
  EXPECT_THAT(error_of([] { fraction_count(1, 0); }), HasSubstr("data.fraction"));
}

TEST(Split, SharedPromptsAreCounted) {
  PreferenceRow row{"1", {"what  "}, {"a"}, {"b"}, {1, 0, 0}, true, 1};
  PreferenceRow same = row;
  same.prompt = {"what"};
  PreferenceRow other = row;
  other.prompt = {"else"};
  EXPECT_EQ(count_shared_prompts(std::vector{row_key(row)}, std::vector{row_key(same), row_key(other)}), 1);
}

}  // namespace
}  // namespace gavel

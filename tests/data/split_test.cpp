#include "data/split.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/random.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::HasSubstr;

std::vector<RowKey> made_rows(int64_t count, uint64_t seed) {
  Random random(seed);
  std::vector<RowKey> rows;
  for (int64_t i = 0; i < count; ++i) {
    RowKey row;
    // Some prompts come often: one in ten of the rows has one of five prompts.
    row.prompt_hash = random.below(10) == 0 ? random.below(5) : mix64(random.below(static_cast<uint64_t>(count)) + 5);
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

TEST(Split, FoldsHoldEveryRowOncePromptsWholeAndLabelsInTheirShares) {
  Random random(17);
  for (int trial = 0; trial < 20; ++trial) {
    auto rows = made_rows(600 + static_cast<int64_t>(random.below(1500)), random.next());
    const auto folds = static_cast<int64_t>(2 + random.below(9));
    auto found = fold_rows(rows, folds, random.next());
    ASSERT_EQ(found.size(), static_cast<size_t>(folds));
    std::array<double, 3> all{};
    for (const auto& row : rows)
      for (size_t c = 0; c < 3; ++c) all[c] += row.label[c];
    std::set<int64_t> seen;
    std::map<uint64_t, size_t> fold_of;
    for (size_t f = 0; f < found.size(); ++f) {
      std::array<double, 3> counts{};
      for (int64_t i : found[f]) {
        const RowKey& row = rows[static_cast<size_t>(i)];
        EXPECT_TRUE(seen.insert(i).second);
        auto [place, is_new] = fold_of.try_emplace(row.prompt_hash, f);
        EXPECT_EQ(place->second, f);
        for (size_t c = 0; c < 3; ++c) counts[c] += row.label[c];
      }
      // The five frequent prompts are a fiftieth of the rows each, and stay whole.
      for (size_t c = 0; c < 3; ++c)
        EXPECT_NEAR(counts[c], all[c] / static_cast<double>(folds), 3 + 0.02 * static_cast<double>(rows.size()) / 3)
            << "trial " << trial << " fold " << f;
    }
    EXPECT_EQ(seen.size(), rows.size());
  }
  EXPECT_THAT(error_of([&] { fold_rows(made_rows(1000, 5), 1, 0); }), HasSubstr("expected 2 to 1000"));
}

TEST(Split, AFoldIsOneSideOfASplit) {
  auto rows = made_rows(500, 6);
  auto folds = fold_rows(rows, 4, 3);
  for (int64_t fold = 0; fold < 4; ++fold) {
    Split split = fold_split(rows, 4, fold, 3);
    EXPECT_EQ(split.valid, folds[static_cast<size_t>(fold)]);
    std::set<int64_t> all(split.train.begin(), split.train.end());
    all.insert(split.valid.begin(), split.valid.end());
    EXPECT_EQ(all.size(), 500u);
    EXPECT_EQ(split.train.size() + split.valid.size(), 500u);
  }
  EXPECT_THAT(error_of([&] { fold_split(rows, 4, 4, 3); }), HasSubstr("data.fold: expected 0 to 3"));
  // All rows of one prompt: some fold must stay empty.
  EXPECT_THAT(error_of([&] { fold_split(std::vector<RowKey>(6), 3, 1, 0); }), HasSubstr("leaves no row"));
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

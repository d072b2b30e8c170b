#include "sample/sample.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "data/split.h"
#include "data/template.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::HasSubstr;

/** Log loss on the rows themselves of a multinomial regression on lengths, fitted by gradient descent. */
double length_regression_loss(const std::vector<PreferenceRow>& rows, bool letters) {
  constexpr size_t kFeatures = 7;
  std::vector<std::array<double, kFeatures>> x;
  for (const auto& row : rows) {
    auto length = [&](const std::vector<std::string>& turns) {
      const std::string& text = turns.at(0);
      return static_cast<double>(letters ? static_cast<int64_t>(text.size())
                                         : std::count(text.begin(), text.end(), ' ') + 1);
    };
    double p = length(row.prompt), a = length(row.response_a), b = length(row.response_b);
    x.push_back({1, p, a, b, std::abs(a - b), std::max(a, b), std::log(a / b)});
  }
  for (size_t f = 1; f < kFeatures; ++f) {
    double mean = 0, square = 0;
    for (const auto& v : x) mean += v[f] / static_cast<double>(x.size());
    for (const auto& v : x) square += (v[f] - mean) * (v[f] - mean) / static_cast<double>(x.size());
    for (auto& v : x) v[f] = (v[f] - mean) / std::sqrt(square + 1e-12);
  }
  std::array<std::array<double, kFeatures>, 3> w{}, gradient;
  double loss = 0;
  for (int iteration = 0; iteration < 1500; ++iteration) {
    gradient = {};
    loss = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      std::array<double, 3> score{};
      double sum = 0;
      for (size_t c = 0; c < 3; ++c) {
        for (size_t f = 0; f < kFeatures; ++f) score[c] += w[c][f] * x[i][f];
        sum += score[c] = std::exp(score[c]);
      }
      for (size_t c = 0; c < 3; ++c) {
        loss -= rows[i].label[c] * std::log(score[c] / sum) / static_cast<double>(rows.size());
        for (size_t f = 0; f < kFeatures; ++f) gradient[c][f] += (score[c] / sum - rows[i].label[c]) * x[i][f];
      }
    }
    for (size_t c = 0; c < 3; ++c)
      for (size_t f = 0; f < kFeatures; ++f) w[c][f] -= 0.5 * gradient[c][f] / static_cast<double>(rows.size());
  }
  return loss;
}

TEST(Sample, LengthsAloneDoNotDecide) {
  for (uint64_t seed : {1, 2024}) {
    auto rows = sample_rows(800, seed);
    EXPECT_GT(length_regression_loss(rows, true), 0.95);
    EXPECT_GT(length_regression_loss(rows, false), 0.95);
  }
  // The regression can see lengths where they do decide.
  auto rows = sample_rows(400, 1);
  for (auto& row : rows)
    if (row.label[2] == 0)
      (row.label[0] == 1 ? row.response_a : row.response_b)[0] += " And more, and more, and more of it.";
  EXPECT_LT(length_regression_loss(rows, true), 0.8);
}

TEST(Sample, RulesHoldAndPositionsAreBalanced) {
  auto rows = sample_rows(960, 3);
  std::array<double, 3> labels{};
  std::set<std::string> prompts;
  int identical = 0, cut = 0, sums = 0;
  for (const auto& row : rows) {
    for (size_t c = 0; c < 3; ++c) labels[c] += row.label[c];
    EXPECT_TRUE(prompts.insert(row.prompt.at(0)).second) << "twice: " << row.prompt[0];
    const std::string &a = row.response_a.at(0), &b = row.response_b.at(0);
    EXPECT_LT(Template::parse("origin").render(row, false).size(), 360u);
    if (a == b) {
      ++identical;
      EXPECT_EQ(row.label[2], 1);
    }
    bool a_ends = a.ends_with('.'), b_ends = b.ends_with('.');
    if (a_ends != b_ends) {
      ++cut;
      EXPECT_EQ(row.label[0], a_ends ? 1 : 0) << a << " | " << b;
    }
    int64_t left = 0, right = 0;
    char word[16] = "";
    size_t digit = row.prompt[0].find_first_of("0123456789");
    if (digit != std::string::npos &&
        std::sscanf(row.prompt[0].c_str() + digit, "%ld %15s %ld", &left, word, &right) == 3) {
      ++sums;
      int64_t result = std::string(word).starts_with("plus") ? left + right : left - right;
      auto is_right = [&](const std::string& text) { return text.ends_with(fmt::format(" {}.", result)); };
      EXPECT_EQ(is_right(a) && !is_right(b), row.label[0] == 1) << row.prompt[0] << a << " | " << b;
      EXPECT_EQ(is_right(b) && !is_right(a), row.label[1] == 1);
    }
  }
  EXPECT_NEAR(labels[0], labels[1], 3);
  EXPECT_GT(labels[2], 200);
  EXPECT_GT(identical, 30);
  EXPECT_GT(cut, 250);
  EXPECT_EQ(sums, 120);
}

TEST(Sample, IsDeterministicAndReadsBackClean) {
  TempFolder folder;
  make_sample(folder / "train.csv", folder / "test.csv", 300, 60, 9);
  make_sample(folder / "train2.csv", std::nullopt, 300, 0, 9);
  PreferenceData train = read_preferences(folder / "train.csv", {.strict = true});
  PreferenceData test = read_preferences(folder / "test.csv", {.strict = true});
  EXPECT_EQ(train.rows.size(), 300u);
  EXPECT_EQ(test.rows.size(), 60u);
  EXPECT_EQ(count_shared_prompts(row_keys(train.rows), row_keys(test.rows)), 0);
  make_sample(folder / "again.csv", folder / "again_test.csv", 300, 60, 9);
  EXPECT_EQ(read_text(folder / "train.csv"), read_text(folder / "again.csv"));
  make_sample(folder / "other.csv", std::nullopt, 300, 0, 10);
  EXPECT_NE(read_text(folder / "other.csv"), read_text(folder / "again.csv"));
  EXPECT_THAT(error_of([] { sample_rows(0, 1); }), HasSubstr("expected 1 to"));
}

}  // namespace
}  // namespace gavel

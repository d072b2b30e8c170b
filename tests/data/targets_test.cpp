// What training makes of a row beside its vote: the teacher's part of the target, and the classes of an auxiliary head.
#include <gmock/gmock.h>

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "data/batcher.h"
#include "data/load_dataset.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::FloatEq;
using testing::HasSubstr;

struct Made {
  std::array<float, 3> label, teacher;
  std::string by_a, by_b;
};

TokenizedDataset made_targets(const std::vector<Made>& all, Ties ties = Ties::kOutcome) {
  std::vector<PreferenceRow> rows;
  for (const Made& made : all) {
    PreferenceRow row{.id = "1", .prompt = {"p"}, .response_a = {"a"}, .response_b = {"b"}};
    row.label = made.label;
    row.teacher = made.teacher;
    if (ties == Ties::kHalfEach)
      for (auto* shares : {&row.label, &row.teacher})
        *shares = {(*shares)[0] + (*shares)[2] / 2, (*shares)[1] + (*shares)[2] / 2, 0};
    row.has_label = made.label != std::array<float, 3>{};
    row.auxiliary = {made.by_a, made.by_b};
    rows.push_back(row);
  }
  TokenizeOptions options;
  options.with_swapped = true;
  return tokenize(rows, options, byte_encoder());
}

TEST(Targets, AreVoteAndTeacherByTheirWeight) {
  const std::vector<Made> rows = {
      {{1, 0, 0}, {0.2f, 0.3f, 0.5f}, "", ""}, {{0, 0, 1}, {}, "", ""}, {{}, {0.25f, 0.75f, 0}, "", ""}};
  const TokenizedDataset plain = made_targets(rows), mixed = plain.with_teacher(0.25);
  EXPECT_THAT(mixed.target(0), ElementsAre(FloatEq(0.8f), FloatEq(0.075f), FloatEq(0.125f)));
  EXPECT_THAT(mixed.target(0, true), ElementsAre(FloatEq(0.075f), FloatEq(0.8f), FloatEq(0.125f)));
  EXPECT_THAT(mixed.target(1), ElementsAre(0, 0, 1));
  EXPECT_THAT(mixed.target(2), ElementsAre(0.25f, 0.75f, 0))
      << "without a vote it is the teacher's, whatever the weight";
  EXPECT_THAT(plain.with_teacher(0).target(0), ElementsAre(1, 0, 0));
  EXPECT_THAT(plain.with_teacher(1).target(0), ElementsAre(0.2f, 0.3f, 0.5f));
  for (int64_t row = 0; row < 3; ++row) {
    // Votes are what evaluation measures against.
    EXPECT_EQ(mixed.label(row), rows[static_cast<size_t>(row)].label);
    EXPECT_EQ(plain.target(row), plain.label(row));
    EXPECT_EQ(mixed.has_teacher(row), row != 1);
  }
  // The cross-entropy to the mix is both losses mixed; of the teacher's, what the judge can change is KL(teacher || judge).
  const std::array<double, 3> judge = {0.5, 0.2, 0.3}, teacher = {0.2, 0.3, 0.5};
  double to_mix = 0, divergence = 0, entropy = 0;
  for (size_t i = 0; i < 3; ++i) {
    to_mix -= mixed.target(0)[i] * std::log(judge[i]);
    divergence += teacher[i] * std::log(teacher[i] / judge[i]);
    entropy -= teacher[i] * std::log(teacher[i]);
  }
  EXPECT_NEAR(to_mix, 0.75 * -std::log(judge[0]) + 0.25 * (divergence + entropy), 1e-7);
  const std::vector<int64_t> last = {2};
  EXPECT_THAT(mixed.subset(last).target(0), ElementsAre(0.25f, 0.75f, 0));
}

TEST(Targets, AreTheLabelsOfBatches) {
  const std::vector<Made> rows = {{{1, 0, 0}, {0.25f, 0.25f, 0.5f}, "", ""}, {{0, 0, 1}, {}, "", ""}};
  BatchOptions options;
  options.batch_size = 2;
  options.max_length = 1024;
  options.shuffle = false;
  auto labels = [&](const TokenizedDataset& dataset, int64_t count) {
    options.num_labels = count;
    const HostTensor tensor = Batcher(dataset, options).step(0).micro.at(0).labels;
    return std::vector<float>(tensor.as<float>().begin(), tensor.as<float>().end());
  };
  EXPECT_THAT(labels(made_targets(rows).with_teacher(0.5), 3), ElementsAre(0.625f, 0.125f, 0.25f, 0, 0, 1));
  EXPECT_THAT(labels(made_targets(rows), 3), ElementsAre(1, 0, 0, 0, 0, 1));
  // Two labels: a tie is half for each, the teacher's too.
  EXPECT_THAT(labels(made_targets(rows, Ties::kHalfEach).with_teacher(0.5), 2), ElementsAre(0.75f, 0.25f, 0.5f, 0.5f));
}

TEST(Targets, ComeBackFromTheTokenCache) {
  TempFolder folder;
  std::string text = "q,a,b,w,ta,tb,m1,m2\n";
  for (int row = 0; row < 6; ++row)
    text += fmt::format("p{0},x,y,{1},{2},{3},m{4},{5}\n", row, row == 3 ? "" : "model_a", row % 2 == 0 ? "" : "1",
                        row % 2 == 0 ? "" : "3", row % 3, row == 5 ? "" : "m0");
  const auto path = folder.write("a.csv", text);
  ReadOptions read{.format = Format::kGeneric,
                   .columns = {.prompt = "q", .response_a = "a", .response_b = "b", .winner = "w"},
                   .cells = Cells::kText};
  read.columns.teacher_a = "ta";
  read.columns.teacher_b = "tb";
  read.columns.auxiliary_a = "m1";
  read.columns.auxiliary_b = "m2";
  TextEncoder encoder = byte_encoder();
  encoder.fingerprint = "bytes";
  TokenizeOptions options;
  auto load = [&] {
    const DataSource source{path, read};
    return load_dataset(std::span(&source, 1), options, encoder, folder / "cache");
  };
  const LoadedDataset made = load(), found = load();
  EXPECT_FALSE(made.from_cache);
  EXPECT_TRUE(found.from_cache);
  for (const LoadedDataset* loaded : {&made, &found}) {
    const TokenizedDataset rows = loaded->dataset.with_teacher(0.5);
    ASSERT_EQ(rows.num_rows(), 6);
    EXPECT_THAT(rows.target(0), ElementsAre(1, 0, 0));
    EXPECT_THAT(rows.target(1), ElementsAre(0.625f, 0.375f, 0));
    EXPECT_THAT(rows.target(3), ElementsAre(0.25f, 0.75f, 0));
    auto named = [&](int64_t row, size_t answer) {
      const int32_t value = rows.auxiliary_value(row, answer);
      return value < 0 ? "" : rows.auxiliary_values().at(static_cast<size_t>(value));
    };
    EXPECT_EQ(named(1, 0), "m1");
    EXPECT_EQ(named(1, 1), "m0");
    EXPECT_EQ(named(5, 0), "m2");
    EXPECT_EQ(named(5, 1), "");
  }
  // Another column is another key.
  read.columns.teacher_b = "ta";
  EXPECT_FALSE(load().from_cache);
  read.columns.auxiliary_b = "m1";
  EXPECT_FALSE(load().from_cache);
}

TEST(AuxiliaryClasses, AreTheFrequentValuesAndOneForTheOthers) {
  std::vector<Made> rows;
  auto add = [&](int count, const std::string& a, const std::string& b) {
    for (int i = 0; i < count; ++i) rows.push_back({{1, 0, 0}, {}, a, b});
  };
  add(3, "x", "y");
  add(2, "y", "z");
  add(1, "y", "");
  const TokenizedDataset dataset = made_targets(rows);  // y 6, x 3, z 2 answers
  AuxiliaryClasses all = choose_auxiliary_classes(dataset, 1);
  EXPECT_THAT(all.names, ElementsAre("y", "x", "z"));
  AuxiliaryClasses frequent = choose_auxiliary_classes(dataset, 3);
  EXPECT_THAT(frequent.names, ElementsAre("y", "x", "other"));
  EXPECT_THAT(choose_auxiliary_classes(dataset, 1, 2).names, ElementsAre("y", "other"));
  EXPECT_THAT(choose_auxiliary_classes(dataset, 1, 3).names, ElementsAre("y", "x", "z"));
  EXPECT_THAT(
      error_of([&] { choose_auxiliary_classes(dataset, 20); }),
      HasSubstr("data.columns.auxiliary: expected two classes or more in the training rows, found 3 values, 0 of "
                "which have 20 answers or more"));
  // Values of other rows count for nothing.
  const std::vector<int64_t> first = {0, 1, 2};
  EXPECT_THAT(choose_auxiliary_classes(dataset.subset(first), 1).names, ElementsAre("x", "y"));

  const TokenizedDataset classed = dataset.with_auxiliary(frequent);
  EXPECT_EQ(classed.num_auxiliary_classes(), 3);
  EXPECT_EQ(classed.auxiliary_class(0, 0), 1);
  EXPECT_EQ(classed.auxiliary_class(0, 0, true), 0) << "with A and B exchanged it is the other answer's";
  EXPECT_EQ(classed.auxiliary_class(3, 1), 2);
  EXPECT_EQ(classed.auxiliary_class(5, 1), -1);
  EXPECT_EQ(dataset.num_auxiliary_classes(), 0);
}

TEST(AuxiliaryClasses, FollowTheAnswersInBatches) {
  std::vector<Made> rows;
  for (int i = 0; i < 32; ++i) rows.push_back({{1, 0, 0}, {}, "x", i % 4 == 0 ? "" : "y"});
  const TokenizedDataset dataset = made_targets(rows);
  const TokenizedDataset classed = dataset.with_auxiliary(choose_auxiliary_classes(dataset));  // x, y
  BatchOptions options;
  options.batch_size = 8;
  options.swap = Swap::kRandom;
  int exchanged = 0;
  for (Batching batching : {Batching::kPadded, Batching::kBucketed, Batching::kPacked}) {
    options.batching = batching;
    EXPECT_TRUE(Batcher(dataset, options).step(0).micro.at(0).auxiliary.shape().empty());
    const Batcher batcher(classed, options);
    for (int64_t step = 0; step < 4; ++step)
      for (const Batch& batch : batcher.step(step).micro) {
        ASSERT_EQ(batch.auxiliary.shape(), (Shape{batch.weights.size() * 2, 2}));
        auto values = batch.auxiliary.as<float>();
        for (size_t row = 0; row < static_cast<size_t>(batch.num_rows); ++row) {
          const bool swap = batch.swapped[row] != 0, missing = batch.row_indices[row] % 4 == 0;
          exchanged += swap;
          const std::vector<float> x = {1, 0}, y = missing ? std::vector<float>{0, 0} : std::vector<float>{0, 1};
          auto at = [&](size_t answer) {
            auto found = values.subspan((2 * row + answer) * 2, 2);
            return std::vector<float>(found.begin(), found.end());
          };
          EXPECT_EQ(at(0), swap ? y : x);
          EXPECT_EQ(at(1), swap ? x : y);
        }
        for (size_t i = static_cast<size_t>(batch.num_rows) * 4; i < values.size(); ++i) EXPECT_EQ(values[i], 0);
      }
  }
  EXPECT_GT(exchanged, 20);
}

}  // namespace
}  // namespace gavel

// data.curriculum: length, in each kind of batches.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/random.h"
#include "data/batcher.h"
#include "data/test_support.h"

namespace gavel {
namespace {

constexpr int64_t kLongest = 60;

/** Rows of all lengths up to kLongest, with exchanges of about the same. */
TokenizedDataset rows_of_all_lengths(int64_t count) {
  TokenizeOptions options;
  options.max_length = kLongest;
  options.with_swapped = true;
  DatasetBuilder builder(options, byte_encoder());
  Random random(5);
  for (int64_t row = 0; row < count; ++row) {
    const auto length = 1 + random.below(kLongest - 1);
    builder.add_tokens(std::vector<int32_t>(length, 7), {1, 0, 0}, std::vector<int32_t>(length + 1, 8));
  }
  return builder.finish();
}

struct Kind {
  Batching batching;
  bool balance = false, one_sequence = false;
  Swap swap = Swap::kNone;
  int64_t texts_per_row = 1;
};

BatchOptions rising_options(const Kind& kind) {
  BatchOptions options;
  options.batching = kind.batching;
  options.balance = kind.balance;
  options.one_sequence = kind.one_sequence;
  options.swap = kind.swap;
  options.texts_per_row = kind.texts_per_row;
  options.batch_size = 4;
  options.gradient_accumulation = 2;
  options.max_length = kind.batching == Batching::kPacked ? 3 * kLongest : kLongest;
  options.bucket_multiple = 8;
  options.seed = 9;
  options.curriculum = Curriculum::kLength;
  return options;
}

double mean_length(const TokenizedDataset& dataset, const StepBatches& step) {
  double sum = 0, rows = 0;
  for (const Batch& batch : step.micro)
    for (int64_t row : batch.row_indices) {
      sum += static_cast<double>(dataset.length(row));
      ++rows;
    }
  return sum / rows;
}

class Curriculums : public testing::TestWithParam<Kind> {};

TEST_P(Curriculums, TheFirstEpochRisesAndHoldsEveryRowOnce) {
  const TokenizedDataset dataset = rows_of_all_lengths(520);
  BatchOptions options = rising_options(GetParam());
  const Batcher rising(dataset, options);
  options.curriculum = Curriculum::kNone;
  const Batcher usual(dataset, options);
  const int64_t steps = rising.steps_per_epoch(), eighth = steps / 8;
  ASSERT_GE(eighth, 8);
  std::vector<double> lengths;
  std::multiset<int64_t> seen;
  const std::vector<BatchShape> shapes = rising.shapes();
  for (int64_t step = 0; step < steps; ++step) {
    const StepBatches batches = rising.step(step);
    lengths.push_back(mean_length(dataset, batches));
    for (const Batch& batch : batches.micro) {
      seen.insert(batch.row_indices.begin(), batch.row_indices.end());
      const BatchShape shape{batch.input_ids.shape()[0], batch.input_ids.shape()[1], batch.weights.size()};
      EXPECT_NE(std::find(shapes.begin(), shapes.end(), shape), shapes.end());
    }
  }
  const size_t copies = GetParam().swap == Swap::kBoth ? 2 : 1;
  EXPECT_EQ(seen.size(), 520 * copies);
  for (int64_t row = 0; row < 520; ++row) EXPECT_EQ(seen.count(row), copies) << row;
  auto mean = [&](int64_t from, int64_t to) {
    return std::accumulate(lengths.begin() + from, lengths.begin() + to, 0.0) / static_cast<double>(to - from);
  };
  // The usual mean is 30. The first eighth is drawn from the shortest 35 %, the last is mostly of the longest.
  EXPECT_LT(mean(0, eighth), 12);
  EXPECT_LT(mean(0, steps / 2), mean(steps / 2, steps) - 10);
  EXPECT_GT(mean(steps - eighth, steps), 35);
  // Later epochs are as without it.
  for (int64_t step : {steps, steps + 3, 2 * steps})
    EXPECT_EQ(rising.step(step).micro[0].row_indices, usual.step(step).micro[0].row_indices);
}

TEST_P(Curriculums, IsAFunctionOfSeedAndStep) {
  const TokenizedDataset dataset = rows_of_all_lengths(520);
  BatchOptions options = rising_options(GetParam());
  const Batcher first(dataset, options), again(dataset, options);
  again.step(20);
  again.step(100);
  for (int64_t step : {40, 3, 0})
    EXPECT_EQ(first.step(step).micro[0].row_indices, again.step(step).micro[0].row_indices);
  options.seed = 10;
  EXPECT_NE(Batcher(dataset, options).step(3).micro[0].row_indices, first.step(3).micro[0].row_indices);
}

INSTANTIATE_TEST_SUITE_P(All, Curriculums,
                         testing::Values(Kind{Batching::kPadded}, Kind{Batching::kPadded, false, false, Swap::kBoth},
                                         Kind{Batching::kPadded, false, false, Swap::kNone, 2},
                                         Kind{Batching::kBucketed},
                                         Kind{Batching::kBucketed, false, false, Swap::kBoth}, Kind{Batching::kPacked},
                                         Kind{Batching::kPacked, true},
                                         Kind{Batching::kPacked, true, true, Swap::kRandom},
                                         Kind{Batching::kPacked, true, true, Swap::kBoth},
                                         Kind{Batching::kPacked, true, true, Swap::kNone, 2}));

TEST(Curriculum, AStepDrawsFromTheShareThatItIsReadyFor) {
  const TokenizedDataset dataset = rows_of_all_lengths(512);
  std::vector<int64_t> sorted = dataset.lengths();
  std::sort(sorted.begin(), sorted.end());
  BatchOptions options = rising_options({Batching::kPadded});
  for (int64_t over : {0, 16}) {
    options.curriculum_steps = over;
    const Batcher batcher(dataset, options);
    const int64_t steps = batcher.steps_per_epoch(), total = over > 0 ? over : steps;
    ASSERT_EQ(steps, 64);
    bool beyond_the_next = false;
    for (int64_t step = 0; step < total; ++step) {
      const double done = static_cast<double>(step) / static_cast<double>(total);
      const double share = std::sqrt(1e-4 + (1 - 1e-4) * done);
      const auto reach = std::max<int64_t>(static_cast<int64_t>(std::ceil(share * 512)), 8 * (step + 1));
      int64_t longest = 0;
      for (const Batch& batch : batcher.step(step).micro)
        for (int64_t row : batch.row_indices) longest = std::max(longest, dataset.length(row));
      EXPECT_LE(longest, sorted[static_cast<size_t>(std::min<int64_t>(reach, 512) - 1)]) << step;
      // It is no plain sort.
      beyond_the_next = beyond_the_next || longest > sorted[static_cast<size_t>(8 * (step + 1) - 1)];
    }
    EXPECT_TRUE(beyond_the_next);
  }
  // A run that is shorter than the epoch ends with rows of all lengths.
  options.curriculum_steps = 16;
  const Batcher shorter(dataset, options);
  int64_t longest = 0;
  for (int64_t step = 12; step < 16; ++step)
    for (const Batch& batch : shorter.step(step).micro)
      for (int64_t row : batch.row_indices) longest = std::max(longest, dataset.length(row));
  EXPECT_GT(longest, 50);
}

TEST(Curriculum, ChangesNothingWhereRowsAreNotShuffled) {
  const TokenizedDataset dataset = rows_of_all_lengths(40);
  BatchOptions options = rising_options({Batching::kPadded});
  options.shuffle = options.drop_last = false;
  EXPECT_EQ(Batcher(dataset, options).step(0).micro[0].row_indices, (std::vector<int64_t>{0, 1, 2, 3}));
}

}  // namespace
}  // namespace gavel

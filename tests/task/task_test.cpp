#include "task/task.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace gavel {
namespace {

TEST(JudgingTask, ThreeLabelsAreTheThreeOutcomes) {
  auto task = judging_task(3);
  EXPECT_EQ(task->name(), "judge");
  EXPECT_EQ(task->num_labels(), 3);
  EXPECT_EQ(task->ties(), Ties::kOutcome);
  const std::vector<float> outputs = {0.5f, -1, 2};
  EXPECT_EQ(task->outcome_logits(outputs), (Outcome{0.5, -1, 2}));
  EXPECT_EQ(task->swapped({0.5, -1, 2}), (Outcome{-1, 0.5, 2}));
}

TEST(JudgingTask, TwoLabelsNeverSayTie) {
  auto task = judging_task(2);
  EXPECT_EQ(task->num_labels(), 2);
  EXPECT_EQ(task->ties(), Ties::kHalfEach);
  const std::vector<float> outputs = {0.5f, -1};
  const Outcome logits = task->outcome_logits(outputs);
  EXPECT_EQ(logits[0], 0.5);
  EXPECT_EQ(logits[1], -1);
  EXPECT_EQ(std::exp(logits[2]), 0);
}

TEST(RewardTask, SaysOutcomesAndRewards) {
  auto task = reward_task();
  EXPECT_EQ(task->name(), "reward");
  EXPECT_EQ(task->num_labels(), 1);
  EXPECT_EQ(task->texts_per_row(), 2);
  EXPECT_EQ(task->num_targets(), 3);
  EXPECT_EQ(task->ties(), Ties::kOutcome);
  const std::vector<float> outputs = {0.5f, -0.5f, -2, 3, 2};
  EXPECT_EQ(task->outcome_logits(outputs), (Outcome{0.5, -0.5, -2}));
  EXPECT_EQ(task->rewards(outputs), (Rewards{3, 2}));
  auto without = reward_task({.learns_tie = false});
  EXPECT_EQ(without->num_outputs(), 4);
  EXPECT_EQ(without->ties(), Ties::kHalfEach);
  EXPECT_EQ(std::exp(without->outcome_logits(outputs)[2]), 0);
  EXPECT_EQ(judging_task()->rewards(outputs), std::nullopt);
}

TEST(JudgingTask, OtherNumbersHaveNoMeaning) {
  EXPECT_THROW(judging_task(1), Error);
  EXPECT_THROW(judging_task(4), Error);
}

}  // namespace
}  // namespace gavel

#include "task/task.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "emit/plugin_runner.h"
#include "graph/ops.h"

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

TEST(SiameseTask, AddsUpWhatTheHeadSaysOfBothTexts) {
  auto task = siamese_task(3);
  EXPECT_EQ(task->num_labels(), 3);
  EXPECT_EQ(task->texts_per_row(), 2);
  EXPECT_EQ(task->num_outputs(), 3);
  // Two rows, the second one the first with A and B exchanged.
  const std::vector<float> a = {0.5f, -1, 0.25f}, b = {2, 0.75f, -3};
  std::vector<float> head = a;
  for (const std::vector<float>* text : {&b, &b, &a}) head.insert(head.end(), text->begin(), text->end());
  Graph graph;
  Value outputs = task->outputs(graph.parameter(DType::kF32, {4, 3}, "head"), Value());
  auto found = CompiledGraph(graph, {outputs}).run({HostTensor::from<float>(head, {4, 3})});
  const auto logits = found.at(0).as<float>();
  EXPECT_EQ(std::vector<float>(logits.begin(), logits.end()),
            (std::vector<float>{0.5f + 0.75f, -1 + 2, 0.25f - 3, 2 - 1, 0.75f + 0.5f, -3 + 0.25f}));
}

TEST(SiameseTask, TwoLabelsNeverSayTie) {
  auto task = siamese_task(2);
  EXPECT_EQ(task->ties(), Ties::kHalfEach);
  Graph graph;
  Value outputs = task->outputs(graph.parameter(DType::kF32, {2, 2}, "head"), Value());
  auto found = CompiledGraph(graph, {outputs}).run({HostTensor::from<float>({1, 2, 4, 8}, {2, 2})});
  EXPECT_EQ(found.at(0).as<float>()[0], 9);
  EXPECT_EQ(found.at(0).as<float>()[1], 6);
  EXPECT_THROW(siamese_task(4), Error);
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

/** Losses of rows by the head's outputs on their texts, a row's texts side by side. */
std::vector<float> losses_of(const Task& task, const std::vector<float>& head, const std::vector<float>& targets,
                             const std::vector<float>& margins, float tie = -0.3f) {
  const auto rows = static_cast<int64_t>(targets.size()) / task.num_targets();
  Graph graph;
  Value outputs = graph.parameter(DType::kF32, {rows * task.texts_per_row(), 1}, "head");
  Value labels = graph.parameter(DType::kF32, {rows, task.num_targets()}, "labels");
  Value ahead = graph.parameter(DType::kF32, {rows}, "margins"), logit = graph.parameter(DType::kF32, {1}, "tie");
  Value known = task.outputs(outputs, logit);
  Value losses = task.row_losses(known, labels, 0, task.has_margins() ? ahead : Value());
  Value hits = task.hits(known, labels);
  auto found = CompiledGraph(graph, {losses, hits})
                   .run({HostTensor::from<float>(head, {rows * task.texts_per_row(), 1}),
                         HostTensor::from<float>(targets, {rows, task.num_targets()}),
                         HostTensor::from<float>(margins, {rows}), HostTensor::from<float>({tie}, {1})});
  std::vector<float> out;
  for (const HostTensor& tensor : found) out.insert(out.end(), tensor.as<float>().begin(), tensor.as<float>().end());
  return out;
}

void expect_near(const std::vector<float>& found, const std::vector<double>& expected) {
  ASSERT_GE(found.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-6 * (1 + expected[i])) << i;
}

// Rewards of A and B of four pairs, and by how much the better one is to be ahead.
const std::vector<float> kRewards = {1, 0.2f, -0.5f, 0.7f, 0.25f, 0, 2, 2.5f};
const std::vector<float> kMargins = {0.5f, 1, 0, 3};

/** PyTorch's -logsigmoid(d - m), which is TRL's loss; of a row that B wins -logsigmoid(-d - m). */
TEST(RewardTask, MarginsAreThoseOfTrl) {
  auto task = reward_task({.learns_tie = false, .margins = true});
  ASSERT_TRUE(task->has_margins());
  expect_near(losses_of(*task, kRewards, {1, 0, 1, 0, 1, 0, 1, 0}, kMargins),
              {0.5543552041053772, 2.3050832748413086, 0.575939416885376, 3.529750347137451});
  expect_near(losses_of(*task, kRewards, {0, 1, 0, 1, 0, 1, 0, 1}, kMargins),
              {1.541008472442627, 0.5981388688087463, 0.825939416885376, 2.578889846801758});
  expect_near(losses_of(*task, kRewards, {1, 0, 0, 1, 0.5f, 0.5f, 0.25f, 0.75f}, kMargins),
              {0.5543552041053772, 0.5981388688087463, 0.700939416885376, 2.8166050910949707});
}

/** PyTorch's log_softmax of (d - m) / 2, (m - d) / 2 and the tie's logit for A, with d + m for B, and d for a tie. */
TEST(RewardTask, AWinnerIsAheadOfTiesToo) {
  expect_near(
      losses_of(*reward_task({.margins = true}), kRewards, {1, 0, 0, 0, 1, 0, 0, 0, 1, 0.5f, 0.25f, 0.25f}, kMargins),
      {0.8664474487304688, 0.9119014739990234, 1.3139485120773315, 2.8459784984588623});
}

TEST(RewardTask, MarginsOfZeroAreNone) {
  const std::vector<float> targets = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0.5f, 0.25f, 0.25f}, none(4, 0);
  const std::vector<float> with =
      losses_of(*reward_task({.center_coefficient = 0.1, .margins = true}), kRewards, targets, none);
  const std::vector<float> without = losses_of(*reward_task({.center_coefficient = 0.1}), kRewards, targets, none);
  for (size_t i = 0; i < with.size(); ++i) EXPECT_NEAR(with[i], without[i], 1e-6);
}

/** PyTorch's mse_loss and binary_cross_entropy_with_logits, which no reward overflows. */
TEST(SingleRewardTask, LossesAreThoseOfPyTorch) {
  const std::vector<float> rewards = {1.5f, -2, 0.3f, 60, -60}, scores = {1, 0, 0.7f, 0.25f, 1}, none(5, 0);
  const std::vector<float> squared = losses_of(*single_reward_task(SingleLoss::kSquaredError), rewards, scores, none);
  expect_near(squared, {0.25, 4, 0.16, 3570.0625, 3721});
  EXPECT_EQ(std::vector<float>(squared.begin() + 5, squared.end()), (std::vector<float>{1, 0, 1, 0, 0}));
  const std::vector<float> bce = losses_of(*single_reward_task(SingleLoss::kBinaryCrossEntropy), rewards, scores, none);
  expect_near(bce, {0.20141328871250153, 0.12692809104919434, 0.6443551778793335, 45, 60});
  EXPECT_EQ(std::vector<float>(bce.begin() + 5, bce.end()), (std::vector<float>{1, 1, 1, 0, 0}));
}

TEST(JudgingTask, OtherNumbersHaveNoMeaning) {
  EXPECT_THROW(judging_task(1), Error);
  EXPECT_THROW(judging_task(4), Error);
}

}  // namespace
}  // namespace gavel

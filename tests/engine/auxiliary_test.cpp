// The auxiliary head in the training step: its gradients by hand, and that nothing else knows of it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "engine/engine.h"
#include "model/adapter.h"
#include "setup/open_device.h"
#include "setup/test_support.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kClasses = 3;

/** Rows of two texts; `classes` are the places of each row's two values, -1 for none. */
TokenizedDataset classed_rows(const std::vector<std::array<int32_t, 2>>& classes) {
  std::vector<int32_t> tokens;
  DatasetParts parts;
  parts.variants = 2;
  parts.pad_id = 2;
  Random random(7);
  for (size_t row = 0; row < classes.size(); ++row) {
    for (int text = 0; text < 2; ++text) {
      const auto length = 3 + random.below(7);
      for (uint64_t i = 0; i < length; ++i) tokens.push_back(static_cast<int32_t>(3 + random.below(45)));
      parts.offsets.push_back(static_cast<int64_t>(tokens.size()));
    }
    parts.labels.push_back({row % 2 == 0 ? 1.0f : 0.0f, row % 2 == 0 ? 0.0f : 1.0f, 0});
    parts.weights.push_back(1);
    parts.margins.push_back(0);
    parts.scores.push_back(0);
    parts.source_rows.push_back(static_cast<int64_t>(row) + 1);
    parts.full_lengths.push_back(3);
  }
  auto owner = std::make_shared<const std::vector<int32_t>>(std::move(tokens));
  parts.tokens = *owner;
  parts.tokens_owner = owner;
  parts.auxiliary = classes;
  parts.auxiliary_values = {"x", "y", "z"};
  return TokenizedDataset(std::move(parts)).with_auxiliary({{"x", "y", "z"}, {0, 1, 2}});
}

/** The tiny golden judge, or reward, with an auxiliary head of kClasses (or without one). */
class AuxiliaryModel {
 public:
  explicit AuxiliaryModel(bool reward, double weight = 0.5, bool has_auxiliary = true)
      : folder_(fs::path(GAVEL_SOURCE_DIR) / (reward ? "tests/train/golden_reward" : "tests/train/golden")) {
    step_.task = reward ? reward_task() : judging_task();
    step_.model.spec = ModelFiles::open(folder_).spec();
    step_.model.num_labels = step_.task->num_labels();
    step_.model.learns_tie = reward;
    LoadedAdapterWeights adapter =
        read_adapter(PeftConfig::read(folder_ / "adapter"), step_.model.spec, step_.model.num_labels);
    step_.model.lora = adapter.config.lora;
    step_.model.lora.lora_dropout = 0;
    step_.adam.weight_decay = 0;
    step_.auxiliary_weight = weight;
    if (has_auxiliary) step_.model.auxiliary_outputs = auxiliary_outputs_of(*step_.task, kClasses);
    start_ = std::move(adapter.values);
    if (has_auxiliary) start_.push_back(HostTensor(DType::kF32, layout().parameters.back().shape));
  }

  TrainableLayout layout() const { return trainable_layout(step_.model); }
  StepOptions& step() { return step_; }
  const std::vector<HostTensor>& start() const { return start_; }

  Engine engine() const {
    Engine engine(test_client(), step_, test_compile_cache());
    engine.load_frozen(ModelFiles::open(folder_));
    engine.set_trainable(start_);
    return engine;
  }
  Batcher batcher(const TokenizedDataset& dataset, int64_t batch_size, int64_t accumulation = 1,
                  Batching batching = Batching::kPadded) const {
    BatchOptions options{.num_labels = step_.task->num_targets(),
                         .texts_per_row = step_.task->texts_per_row(),
                         .batching = batching,
                         .batch_size = batch_size,
                         .gradient_accumulation = accumulation,
                         .max_length = 20,
                         .bucket_multiple = 8,
                         .seed = 3,
                         .shuffle = false,
                         .drop_last = false};
    return Batcher(dataset, options);
  }

 private:
  fs::path folder_;
  StepOptions step_;
  std::vector<HostTensor> start_;
};

std::vector<double> numbers(const HostTensor& tensor) {
  return {tensor.as<float>().begin(), tensor.as<float>().end()};
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], tolerance) << i;
}

/** Of a head of zeros on a vector h: rows of (1 / classes - target) * h * factor. */
std::vector<double> gradient_of_zeros(const std::vector<double>& h, int32_t target, double factor) {
  std::vector<double> out;
  for (int32_t c = 0; c < kClasses; ++c)
    for (double value : h) out.push_back(factor * (1.0 / kClasses - (c == target)) * value);
  return out;
}

TEST(Auxiliary, OfAJudgeTellsBothAnswersFromOneText) {
  AuxiliaryModel model(false);
  const auto hidden = static_cast<size_t>(model.step().model.spec.hidden_size);
  ASSERT_EQ(model.layout().parameters.back().shape, (Shape{2 * kClasses, static_cast<int64_t>(hidden)}));
  const auto [gradients, logits] =
      model.engine().gradients(model.batcher(classed_rows({{2, 0}}), 1).step(0).micro[0], 0);
  // The pooled vector follows from the head's own gradient, (softmax - label) h.
  const std::vector<double> head = numbers(gradients.at(model.layout().head)), raw = numbers(logits);
  double sum = 0;
  for (double value : raw) sum += std::exp(value);
  std::vector<double> h;
  for (size_t i = 0; i < hidden; ++i) h.push_back(head[i] / (std::exp(raw[0]) / sum - 1));
  std::vector<double> expected = gradient_of_zeros(h, 2, 0.5 * 0.5), second = gradient_of_zeros(h, 0, 0.5 * 0.5);
  expected.insert(expected.end(), second.begin(), second.end());
  expect_near(numbers(gradients.back()), expected, 1e-6);
  EXPECT_GT(std::abs(expected[0]), 1e-4);

  // Zeros pass nothing on, so that the rest is as without the head.
  AuxiliaryModel plain(false, 0.5, false);
  const auto without = plain.engine().gradients(plain.batcher(classed_rows({{2, 0}}), 1).step(0).micro[0], 0);
  for (size_t i = 0; i < without.first.size(); ++i) expect_near(numbers(gradients[i]), numbers(without.first[i]), 1e-6);
  expect_near(raw, numbers(without.second), 1e-6);
}

TEST(Auxiliary, OfARewardTellsEachTextsOwnAnswerByOneHead) {
  AuxiliaryModel model(true);
  const auto hidden = static_cast<size_t>(model.step().model.spec.hidden_size);
  ASSERT_EQ(model.layout().parameters.back().shape, (Shape{kClasses, static_cast<int64_t>(hidden)}));
  Engine engine = model.engine();
  auto gradient = [&](std::array<int32_t, 2> classes) {
    return numbers(engine.gradients(model.batcher(classed_rows({classes}), 1).step(0).micro[0], 0).first.back());
  };
  const Batch batch = model.batcher(classed_rows({{1, 2}}), 1).step(0).micro[0];
  const std::vector<double> head = numbers(model.start()[model.layout().head]);
  const std::vector<double> outputs = numbers(engine.evaluate(batch).logits);  // outcomes, then both rewards
  std::vector<double> sum(kClasses * hidden);
  for (size_t answer : {0, 1}) {
    std::array<int32_t, 2> classes = {-1, -1};
    classes[answer] = answer == 0 ? 1 : 2;
    const std::vector<double> found = gradient(classes);
    // It is of the answer's own text: the vector that gives that reward.
    std::vector<double> h(hidden);
    double reward = 0;
    for (size_t i = 0; i < hidden; ++i) {
      h[i] = found[i] / (0.25 / kClasses);  // class 0 is no target
      reward += h[i] * head[i];
      for (size_t c = 0; c < kClasses; ++c) sum[c * hidden + i] += found[c * hidden + i];
    }
    EXPECT_NEAR(reward, outputs.at(3 + answer), 1e-4) << answer;
    expect_near(found, gradient_of_zeros(h, classes[answer], 0.25), 1e-6);
  }
  expect_near(gradient({1, 2}), sum, 1e-6);
  for (double value : gradient({-1, -1})) EXPECT_EQ(value, 0);
}

TEST(Auxiliary, MovesTheAdaptersOnceItIsNotZeroAndIsNoPartOfTheLoss) {
  for (bool reward : {false, true}) {
    AuxiliaryModel model(reward), plain(reward, 0.5, false);
    const TokenizedDataset data = classed_rows({{0, 1}, {1, 2}, {-1, 0}, {2, 2}, {0, 0}, {1, 0}, {2, 1}, {0, 2}});
    Engine engine = model.engine(), other = plain.engine();
    const Batcher batcher = model.batcher(data, 8);
    std::vector<HostTensor> first, after;
    for (int64_t step = 0; step < 2; ++step) {
      const StepBatches batches = batcher.step(0);
      const auto with = engine.train_step(batches.micro, step, 1e-2, 8, 0).get();
      const auto without = other.train_step(batches.micro, step, 1e-2, 8, 0).get();
      // The first step's loss and weights are those of the run without it.
      EXPECT_NEAR(with.loss, without.loss, step == 0 ? 1e-5 : 1);
      (step == 0 ? first : after) = engine.trainable();
      const std::vector<HostTensor> found = engine.trainable(), expected = other.trainable();
      double largest = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        const std::vector<double> a = numbers(found[i]), b = numbers(expected[i]);
        for (size_t k = 0; k < a.size(); ++k) largest = std::max(largest, std::abs(a[k] - b[k]));
      }
      if (step == 0)
        EXPECT_LT(largest, 2e-5);
      else
        EXPECT_GT(largest, 1e-4);
    }
    EXPECT_NE(numbers(first.back()), numbers(after.back()));
  }
}

TEST(Auxiliary, IsTheSameInMicroBatchesPackedAndWithHeldAdapters) {
  const TokenizedDataset data = classed_rows({{0, 1}, {1, 2}, {-1, 0}, {2, 2}, {0, 0}, {1, 0}, {2, 1}, {0, 2}});
  for (bool reward : {false, true}) {
    AuxiliaryModel model(reward);
    for (int64_t head_only : {0, 1}) {
      model.step().rates.head_only_steps = head_only;
      auto train = [&](const Batcher& batcher) {
        Engine engine = model.engine();
        for (int64_t step = 0; step < 3; ++step) {
          engine.train_step(batcher.step(0).micro, step, 1e-2, 8, 0);
          if (step > 0 || head_only == 0) continue;
          const std::vector<HostTensor> now = engine.trainable();
          EXPECT_EQ(numbers(now.front()), numbers(model.start().front())) << "the adapters are held";
          EXPECT_NE(numbers(now.back()), numbers(model.start().back()));
        }
        return engine.trainable();
      };
      const std::vector<HostTensor> whole = train(model.batcher(data, 8));
      const std::vector<HostTensor> parts = train(model.batcher(data, 4, 2));
      const std::vector<HostTensor> packed = train(model.batcher(data, 8, 1, Batching::kPacked));
      for (size_t i = 0; i < whole.size(); ++i) {
        expect_near(numbers(parts[i]), numbers(whole[i]), 5e-5);
        expect_near(numbers(packed[i]), numbers(whole[i]), 5e-5);
      }
    }
  }
}

TEST(Auxiliary, OnlyProgramsThatLearnFromItHaveItsArgument) {
  AuxiliaryModel model(false), plain(false, 0.5, false);
  const BatchShape shape{4, 16, 4};
  auto mentions = [](const ProgramText& program) { return program.text.find("tensor<8x3xf32>") != std::string::npos; };
  EXPECT_TRUE(mentions(train_step_program(model.step(), shape)));
  EXPECT_TRUE(mentions(accumulate_program(model.step(), shape)));
  EXPECT_FALSE(mentions(evaluate_program(model.step(), shape)));
  EXPECT_FALSE(mentions(train_step_program(plain.step(), shape)));
}

}  // namespace
}  // namespace gavel

// The training step as a whole, on the tiny golden model: what must hold whatever the batch looks like.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/adapter.h"
#include "setup/open_device.h"
#include "setup/random_rows.h"
#include "setup/test_support.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

const fs::path& golden() {
  static const fs::path folder = fs::path(GAVEL_SOURCE_DIR) / "tests/train/golden";
  return folder;
}

LoadedAdapterWeights golden_adapter(const DecoderSpec& spec) {
  return read_adapter(PeftConfig::read(golden() / "adapter"), spec, 3);
}

StepOptions tiny_options(double dropout = 0) {
  StepOptions options;
  options.model.spec = ModelFiles::open(golden()).spec();
  options.model.lora = golden_adapter(options.model.spec).config.lora;
  options.model.lora.lora_dropout = dropout;
  return options;
}

Engine tiny_engine(const StepOptions& options) {
  Engine engine(test_client(), options, test_compile_cache());
  engine.load_frozen(ModelFiles::open(golden()));
  engine.set_trainable(golden_adapter(options.model.spec).values);
  return engine;
}

TokenizedDataset rows(int64_t count, int64_t longest) {
  return random_rows(count, longest, 45);
}

BatchOptions options_of(Batching batching, int64_t batch_size, int64_t accumulation, int64_t max_length) {
  BatchOptions options;
  options.batching = batching;
  options.batch_size = batch_size;
  options.gradient_accumulation = accumulation;
  options.max_length = max_length;
  options.bucket_multiple = 8;
  options.seed = 3;
  options.shuffle = false;
  return options;
}

struct Trained {
  std::vector<HostTensor> weights;
  std::vector<double> losses;
};

Trained train(const StepOptions& step, const Batcher& batcher, int64_t steps) {
  Engine engine = tiny_engine(step);
  Trained trained;
  for (int64_t i = 0; i < steps; ++i) {
    StepBatches batches = batcher.step(i);
    auto sums = engine.train_step(batches.micro, i, 1e-2, batches.weight, 11).get();
    trained.losses.push_back(sums.loss / batches.weight);
  }
  trained.weights = engine.trainable();
  return trained;
}

double largest_difference(const Trained& a, const Trained& b) {
  double largest = 0;
  for (size_t i = 0; i < a.weights.size(); ++i)
    for (size_t j = 0; j < a.weights[i].as<float>().size(); ++j)
      largest = std::max(largest, std::fabs(double{a.weights[i].as<float>()[j]} - b.weights[i].as<float>()[j]));
  for (size_t i = 0; i < a.losses.size(); ++i) largest = std::max(largest, std::fabs(a.losses[i] - b.losses[i]));
  return largest;
}

// AdamW's first steps divide a gradient by its own size, so rounding in tiny gradients shows; 2e-5 is 0.2 % of a step.
constexpr double kSame = 2e-5;

TEST(Engine, MicroBatchesEqualOneLargeBatch) {
  TokenizedDataset data = rows(24, 12);
  for (double dropout : {0.0, 0.3}) {
    StepOptions step = tiny_options(dropout);
    Trained whole = train(step, Batcher(data, options_of(Batching::kPadded, 8, 1, 12)), 3);
    Trained parts = train(step, Batcher(data, options_of(Batching::kPadded, 2, 4, 12)), 3);
    EXPECT_LT(largest_difference(whole, parts), kSame) << "dropout " << dropout;
  }
}

TEST(Engine, PackedAndBucketedEqualPadded) {
  TokenizedDataset data = rows(24, 16);
  for (double dropout : {0.0, 0.3}) {
    StepOptions step = tiny_options(dropout);
    Trained padded = train(step, Batcher(data, options_of(Batching::kPadded, 8, 1, 32)), 2);
    Trained packed = train(step, Batcher(data, options_of(Batching::kPacked, 8, 1, 32)), 2);
    EXPECT_LT(largest_difference(padded, packed), kSame) << "dropout " << dropout;
  }
  Batcher packed(data, options_of(Batching::kPacked, 8, 1, 32));
  EXPECT_GT(packed.step(0).micro[0].last_index.shape()[0], packed.step(0).micro[0].input_ids.shape()[0]);
}

/** Logits and gradients of packed rows, of either kind, beside those of the same rows padded, in plain StableHLO. */
TEST(Engine, PackedGradientsAndLogitsEqualPadded) {
  TokenizedDataset data = rows(12, 16);
  Batch plain = Batcher(data, options_of(Batching::kPadded, 12, 1, 32)).step(0).micro[0];
  auto [padded, padded_logits] = tiny_engine(tiny_options()).gradients(plain, 0);
  const Kernels best = device_traits(*test_client()).kernels;
  std::vector<Kernels> kinds = {Kernels()};
  if (!best.plain()) kinds.push_back(best);
  for (Kernels kernels : kinds)
    for (bool one_sequence : {false, true}) {
      SCOPED_TRACE(fmt::format("{}, {}", kernels.name(), one_sequence ? "joined" : "packed"));
      BatchOptions options = options_of(Batching::kPacked, 12, 1, 32);
      options.one_sequence = one_sequence;
      Batch batch = Batcher(data, options).step(0).micro[0];
      ASSERT_LT(batch.input_ids.shape()[0], plain.input_ids.shape()[0]);
      StepOptions step = tiny_options();
      step.model.kernels = kernels;
      auto [packed, packed_logits] = tiny_engine(step).gradients(batch, 0);
      ASSERT_EQ(packed.size(), padded.size());
      for (size_t i = 0; i < padded.size(); ++i)
        for (size_t j = 0; j < padded[i].as<float>().size(); ++j)
          ASSERT_NEAR(padded[i].as<float>()[j], packed[i].as<float>()[j], 1e-5) << "tensor " << i << " at " << j;
      ASSERT_EQ(batch.row_indices.size(), plain.row_indices.size());
      for (size_t i = 0; i < batch.row_indices.size(); ++i) {
        auto same = std::find(plain.row_indices.begin(), plain.row_indices.end(), batch.row_indices[i]);
        ASSERT_NE(same, plain.row_indices.end());
        auto j = static_cast<size_t>(same - plain.row_indices.begin());
        for (size_t k = 0; k < 3; ++k)
          EXPECT_NEAR(packed_logits.as<float>()[3 * i + k], padded_logits.as<float>()[3 * j + k], 1e-5);
      }
    }
}

TEST(Engine, JoinedRowsWithTheKernelsEqualPaddedOnesInStableHlo) {
  if (device_traits(*test_client()).kernels.plain()) GTEST_SKIP() << "the plugin takes no kernels";
  TokenizedDataset data = rows(24, 16);
  for (double dropout : {0.0, 0.3}) {
    StepOptions step = tiny_options(dropout);
    Trained padded = train(step, Batcher(data, options_of(Batching::kPadded, 8, 1, 32)), 2);
    BatchOptions options = options_of(Batching::kPacked, 8, 1, 32);
    options.one_sequence = true;
    step.model.kernels = device_traits(*test_client()).kernels;
    Trained joined = train(step, Batcher(data, options), 2);
    EXPECT_LT(largest_difference(padded, joined), kSame) << "dropout " << dropout;
    // Filler rows point at a token of another row; they must count for nothing here too.
    options.batch_size = 10;
    options.drop_last = false;
    Engine engine = tiny_engine(step);
    Batch filled = Batcher(data, options).step(2).micro[0];
    ASSERT_LT(filled.num_rows, filled.weights.size());
    options.batch_size = filled.num_rows;
    options.shuffle = false;
    Batch exact = Batcher(data.subset(filled.row_indices), options).step(0).micro[0];
    auto a = engine.gradients(filled, 0).first, b = engine.gradients(exact, 0).first;
    for (size_t i = 0; i < a.size(); ++i)
      for (size_t j = 0; j < a[i].as<float>().size(); ++j) EXPECT_NEAR(a[i].as<float>()[j], b[i].as<float>()[j], 1e-6);
  }
}

TEST(Engine, ScanEqualsUnrolledWithDropout) {
  TokenizedDataset data = rows(8, 12);
  Batcher batcher(data, options_of(Batching::kPadded, 8, 1, 12));
  StepOptions unrolled = tiny_options(0.3), scan = unrolled;
  scan.model.form = LayerForm::kScan;
  for (Recompute recompute : {Recompute::kAll, Recompute::kNone}) {
    scan.model.recompute = recompute;
    EXPECT_LT(largest_difference(train(unrolled, batcher, 1), train(scan, batcher, 1)), kSame);
  }
}

TEST(Engine, FiftyStepsInBFloat16GoTheWayOfThoseInFloat32) {
  const Batcher batcher(rows(32, 12), options_of(Batching::kPadded, 8, 1, 12));
  StepOptions step = tiny_options();
  const Trained exact = train(step, batcher, 50);
  step.model.compute_dtype = DType::kBF16;
  const Trained rounded = train(step, batcher, 50);
  double distance = 0;
  for (size_t i = 0; i < 50; ++i) distance += std::fabs(exact.losses[i] - rounded.losses[i]) / 50;
  EXPECT_LT(distance, 0.01);
  EXPECT_GT(exact.losses.front() - exact.losses.back(), 0.05) << "nothing was learnt that could differ";
}

TEST(Engine, TheSameRunTwiceIsTheSameBitForBit) {
  Batcher batcher(rows(24, 12), options_of(Batching::kPadded, 8, 1, 12));
  StepOptions step = tiny_options(0.1);
  EXPECT_EQ(largest_difference(train(step, batcher, 3), train(step, batcher, 3)), 0);
}

TEST(Engine, DropoutDropsItsShareAndChangesWithTheSeed) {
  Batcher batcher(rows(8, 12), options_of(Batching::kPadded, 8, 1, 12));
  Batch batch = batcher.step(0).micro[0];
  Engine engine = tiny_engine(tiny_options(0.5));
  auto first = engine.gradients(batch, 1).second, again = engine.gradients(batch, 1).second,
       other = engine.gradients(batch, 2).second, none = engine.evaluate(batch).logits;
  double same = 0, moved = 0, from_none = 0;
  for (size_t i = 0; i < first.as<float>().size(); ++i) {
    same += std::fabs(first.as<float>()[i] - again.as<float>()[i]);
    moved += std::fabs(first.as<float>()[i] - other.as<float>()[i]);
    from_none += std::fabs(first.as<float>()[i] - none.as<float>()[i]);
  }
  EXPECT_EQ(same, 0);
  EXPECT_GT(moved, 1e-3);
  EXPECT_GT(from_none, 1e-3);
}

TEST(Engine, ClippingBoundsTheStep) {
  Batcher batcher(rows(8, 12), options_of(Batching::kPadded, 8, 1, 12));
  StepOptions loose = tiny_options(), tight = tiny_options();
  loose.max_grad_norm = 1e6;
  tight.max_grad_norm = 1e-12;  // below AdamW's epsilon, so that the update all but stops
  loose.adam.weight_decay = tight.adam.weight_decay = 0;
  Trained free = train(tiny_options(), batcher, 1);
  EXPECT_NE(largest_difference(free, train(tight, batcher, 1)), 0);
  std::vector<HostTensor> start = golden_adapter(tight.model.spec).values;
  Trained held = train(tight, batcher, 1);
  for (size_t i = 0; i < start.size(); ++i)
    for (size_t j = 0; j < start[i].as<float>().size(); ++j)
      EXPECT_NEAR(held.weights[i].as<float>()[j], start[i].as<float>()[j], 1e-5);
}

/** Labels that no loss is finite with. */
StepBatches spoiled(StepBatches step) {
  Batch& micro = step.micro.back();
  std::vector<float> labels(micro.labels.as<float>().begin(), micro.labels.as<float>().end());
  labels[0] = std::nanf("");
  micro.labels = HostTensor::from<float>(labels, micro.labels.shape());
  return step;
}

/** Steps 0, 1, 2 of which step 1 has such labels; the second is sent before the first one's result is read. */
std::pair<Trained, std::vector<bool>> train_spoiled(const StepOptions& step, const Batcher& batcher, int64_t steps) {
  Engine engine = tiny_engine(step);
  std::vector<PendingStats> sent;
  for (int64_t i = 0; i < steps; ++i) {
    StepBatches batches = i == 1 ? spoiled(batcher.step(i)) : batcher.step(i);
    sent.push_back(engine.train_step(batches.micro, i, 1e-2, static_cast<double>(batches.num_rows), 11));
  }
  std::vector<bool> applied;
  for (PendingStats& stats : sent) applied.push_back(stats.get().applied);
  return {{engine.trainable(), {}}, applied};
}

TEST(Engine, ABadStepHoldsTheStateAndAllThatFollow) {
  for (int64_t accumulation : {1, 2}) {
    Batcher batcher(rows(24, 12), options_of(Batching::kPadded, 8 / accumulation, accumulation, 12));
    StepOptions step = tiny_options(0.1);
    auto [held, applied] = train_spoiled(step, batcher, 3);
    EXPECT_EQ(applied, (std::vector<bool>{true, false, false}));
    Trained before = train(step, batcher, 1);
    before.losses.clear();
    EXPECT_EQ(largest_difference(held, before), 0);
  }
}

TEST(Engine, ABadStepCanBeSkipped) {
  for (int64_t accumulation : {1, 2}) {
    Batcher batcher(rows(24, 12), options_of(Batching::kPadded, 8 / accumulation, accumulation, 12));
    StepOptions step = tiny_options(0.1);
    step.skip_nonfinite = true;
    auto [skipped, applied] = train_spoiled(step, batcher, 3);
    EXPECT_EQ(applied, (std::vector<bool>{true, false, true}));
    EXPECT_NE(largest_difference(skipped, train_spoiled(step, batcher, 1).first), 0);
    for (const HostTensor& tensor : skipped.weights)
      for (float value : tensor.as<float>()) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST(Engine, ALossAboveTheLimitIsABadStep) {
  for (int64_t accumulation : {1, 2}) {
    Batcher batcher(rows(8, 12), options_of(Batching::kPadded, 8 / accumulation, accumulation, 12));
    StepBatches first = batcher.step(0);
    auto applied = [&](double limit) {
      StepOptions step = tiny_options();
      step.max_loss = limit;
      return tiny_engine(step).train_step(first.micro, 0, 1e-2, 8, 1).get().applied;
    };
    double loss = train(tiny_options(), batcher, 1).losses[0];
    EXPECT_TRUE(applied(loss * 1.01));
    EXPECT_FALSE(applied(loss * 0.99));
  }
}

bool same_bits(const HostTensor& a, const HostTensor& b) {
  return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

TEST(Engine, AFrozenHeadStaysAsItWasWhateverTheDecay) {
  const std::vector<HostTensor> start = golden_adapter(tiny_options().model.spec).values;
  for (LayerForm form : {LayerForm::kScan, LayerForm::kUnrolled})
    for (int64_t accumulation : {1, 2}) {
      SCOPED_TRACE(fmt::format("{}, {}", form == LayerForm::kScan ? "scan" : "unrolled", accumulation));
      Batcher batcher(rows(24, 12), options_of(Batching::kPadded, 8 / accumulation, accumulation, 12));
      StepOptions step = tiny_options(0.1);
      step.model.form = form;
      step.model.freeze_head = true;
      step.adam.weight_decay = 0.5;
      const size_t head = trainable_layout(step.model).head;
      Engine engine = tiny_engine(step);
      for (int64_t i = 0; i < 3; ++i) {
        StepBatches batches = batcher.step(i);
        EXPECT_TRUE(engine.train_step(batches.micro, i, 1e-2, static_cast<double>(batches.num_rows), 11).get().applied);
      }
      const TrainedState state = engine.state();
      const HostTensor zeros(DType::kF32, start[head].shape());
      for (size_t i = 0; i < start.size(); ++i) EXPECT_EQ(same_bits(state.weights[i], start[i]), i == head) << i;
      EXPECT_TRUE(same_bits(state.m[head], zeros));
      EXPECT_TRUE(same_bits(state.v[head], zeros));
    }
}

TEST(Engine, AFrozenHeadTakesNoPartInTheGradientsNorm) {
  Batcher batcher(rows(8, 12), options_of(Batching::kPadded, 8, 1, 12));
  const StepBatches first = batcher.step(0);
  StepOptions free = tiny_options(), frozen = free;
  frozen.model.freeze_head = true;
  const size_t head = trainable_layout(free.model).head;
  auto of_free = tiny_engine(free).gradients(first.micro[0], 0).first;
  auto of_frozen = tiny_engine(frozen).gradients(first.micro[0], 0).first;
  double squares = 0;
  for (size_t i = 0; i < of_free.size(); ++i)
    for (size_t j = 0; j < of_free[i].as<float>().size(); ++j) {
      const double value = i == head ? 0 : of_free[i].as<float>()[j];
      squares += value * value;
      EXPECT_NEAR(of_frozen[i].as<float>()[j], value, 1e-6) << "tensor " << i << " at " << j;
    }
  auto sums = tiny_engine(frozen).train_step(first.micro, 0, 1e-2, 8, 0).get();
  EXPECT_NEAR(sums.gradient_norm, std::sqrt(squares), 1e-5 * std::sqrt(squares));
}

/** With the head's weights zero, as model.head: shares has it. */
std::vector<HostTensor> equal_shares(const StepOptions& step) {
  std::vector<HostTensor> start = golden_adapter(step.model.spec).values;
  const size_t head = trainable_layout(step.model).head;
  start[head] = HostTensor(DType::kF32, start[head].shape());
  return start;
}

TEST(Engine, AHeadOfZerosGivesEqualSharesAndMovesBeforeTheAdapters) {
  Batcher batcher(rows(24, 12), options_of(Batching::kPadded, 8, 1, 12));
  StepOptions step = tiny_options();
  step.adam.weight_decay = 0;
  const size_t head = trainable_layout(step.model).head;
  const std::vector<HostTensor> start = equal_shares(step);
  Engine engine = tiny_engine(step);
  engine.set_trainable(start);
  const StepBatches first = batcher.step(0);
  // Nothing that the adapters do changes zeros.
  const std::vector<HostTensor> gradients = engine.gradients(first.micro[0], 0).first;
  for (size_t i = 0; i < gradients.size(); ++i)
    EXPECT_EQ(same_bits(gradients[i], HostTensor(DType::kF32, gradients[i].shape())), i != head) << i;
  const auto sums = engine.train_step(first.micro, 0, 1e-2, 8, 0).get();
  EXPECT_NEAR(sums.loss / 8, std::log(3.0), 1e-6);
  std::vector<HostTensor> now = engine.trainable();
  for (size_t i = 0; i < start.size(); ++i) EXPECT_EQ(same_bits(now[i], start[i]), i != head) << i;
  engine.train_step(batcher.step(1).micro, 1, 1e-2, 8, 0);
  now = engine.trainable();
  for (size_t i = 0; i < start.size(); ++i) EXPECT_FALSE(same_bits(now[i], start[i])) << i;
}

TEST(Engine, HeadOnlyStepsLeaveAdaptersAndTheirMomentsAsTheyAre) {
  for (int64_t accumulation : {1, 2}) {
    Batcher batcher(rows(24, 12), options_of(Batching::kPadded, 8 / accumulation, accumulation, 12));
    StepOptions step = tiny_options(0.1);
    step.rates.head_only_steps = 2;
    step.adam.weight_decay = 0.5;
    const size_t head = trainable_layout(step.model).head;
    const std::vector<HostTensor> start = golden_adapter(step.model.spec).values;
    Engine engine = tiny_engine(step);
    auto go = [&](int64_t i) {
      StepBatches batches = batcher.step(i);
      EXPECT_TRUE(engine.train_step(batches.micro, i, 1e-2, static_cast<double>(batches.num_rows), 11).get().applied);
      return engine.state();
    };
    for (int64_t i = 0; i < 2; ++i) {
      const TrainedState state = go(i);
      for (size_t k = 0; k < start.size(); ++k) {
        const HostTensor zeros(DType::kF32, start[k].shape());
        EXPECT_EQ(same_bits(state.weights[k], start[k]), k != head) << k;
        EXPECT_EQ(same_bits(state.m[k], zeros) && same_bits(state.v[k], zeros), k != head) << k;
      }
    }
    const TrainedState state = go(2);
    for (size_t k = 0; k < start.size(); ++k) EXPECT_FALSE(same_bits(state.weights[k], start[k])) << k;
  }
}

TEST(Engine, MicroBatchesEqualOneLargeBatchWithRatesThatDiffer) {
  TokenizedDataset data = rows(24, 12);
  StepOptions step = tiny_options();
  step.rates = {0.5, 2, 0.25, 1};
  Trained whole = train(step, Batcher(data, options_of(Batching::kPadded, 8, 1, 12)), 3);
  Trained parts = train(step, Batcher(data, options_of(Batching::kPadded, 2, 4, 12)), 3);
  EXPECT_LT(largest_difference(whole, parts), kSame);
}

/** Of each layer, whether any of its values is not zero. */
std::vector<bool> layers_with_values(const HostTensor& stacked) {
  std::vector<bool> any;
  const size_t layers = static_cast<size_t>(stacked.shape()[0]), size = stacked.as<float>().size() / layers;
  for (size_t layer = 0; layer < layers; ++layer) {
    auto values = stacked.as<float>().subspan(layer * size, size);
    any.push_back(std::any_of(values.begin(), values.end(), [](float value) { return value != 0; }));
  }
  return any;
}

TEST(Engine, LayersWithoutAdaptersStayWithoutAndCostNoGradients) {
  Batcher batcher(rows(24, 12), options_of(Batching::kPadded, 8, 1, 12));
  std::vector<Trained> trained;
  for (LayerForm form : {LayerForm::kUnrolled, LayerForm::kScan}) {
    StepOptions step = tiny_options(0.1);
    step.model.form = form;
    step.model.lora.layers_to_transform = {1};
    step.adam.weight_decay = 0.5;
    std::vector<HostTensor> start;
    for (const TrainableParameter& parameter : trainable_layout(step.model).parameters)
      start.push_back(initial_value(parameter, step.model.lora, 0.02, 9));
    Engine engine = tiny_engine(step);
    engine.set_trainable(start);
    for (int64_t i = 0; i < 3; ++i) engine.train_step(batcher.step(i).micro, i, 1e-2, 8, 11);
    trained.push_back({engine.trainable(), {}});
    for (const auto& adapter : trainable_layout(step.model).adapters)
      for (size_t part : adapter.parts())
        EXPECT_EQ(layers_with_values(trained.back().weights[part]), (std::vector<bool>{false, true}));
  }
  EXPECT_LT(largest_difference(trained[0], trained[1]), kSame);
  StepOptions all = tiny_options(), upper = all;
  upper.model.lora.layers_to_transform = {1};
  EXPECT_LT(gradients_program(upper, {4, 12, 4}).flops, gradients_program(all, {4, 12, 4}).flops);
}

class EngineState : public testing::TestWithParam<RateOptions> {};

TEST_P(EngineState, GoesToTheHostAndBackBitForBit) {
  Batcher batcher(rows(24, 12), options_of(Batching::kPadded, 8, 1, 12));
  StepOptions step = tiny_options(0.1);
  step.rates = GetParam();
  Engine first = tiny_engine(step);
  auto go = [&](Engine& engine, int64_t i) {
    StepBatches batches = batcher.step(i);
    engine.train_step(batches.micro, i, 1e-2, static_cast<double>(batches.num_rows), 11);
  };
  go(first, 0);
  TrainedState state = first.state();
  go(first, 1);
  Engine second = tiny_engine(step);
  second.set_state(state);
  go(second, 1);
  TrainedState a = first.state(), b = second.state();
  EXPECT_EQ(largest_difference({a.weights, {}}, {b.weights, {}}), 0);
  EXPECT_EQ(largest_difference({a.m, {}}, {b.m, {}}), 0);
  EXPECT_EQ(largest_difference({a.v, {}}, {b.v, {}}), 0);
  state.m.pop_back();
  EXPECT_THROW(second.set_state(state), Error);
}

INSTANTIATE_TEST_SUITE_P(Rates, EngineState, testing::Values(RateOptions{}, RateOptions{3, 4, 0.5, 1}),
                         [](const auto& info) { return info.param.alike() ? "Alike" : "Different"; });

TEST(Engine, FillerRowsCountForNothing) {
  TokenizedDataset data = rows(5, 12);
  BatchOptions options = options_of(Batching::kPadded, 8, 1, 12);
  options.drop_last = false;
  Batch filled = Batcher(data, options).step(0).micro[0];
  options.batch_size = 5;
  Batch exact = Batcher(data, options).step(0).micro[0];
  ASSERT_GT(filled.weights.size(), exact.weights.size());
  Engine engine = tiny_engine(tiny_options());
  auto a = engine.gradients(filled, 0).first, b = engine.gradients(exact, 0).first;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < a[i].as<float>().size(); ++j) EXPECT_NEAR(a[i].as<float>()[j], b[i].as<float>()[j], 1e-6);
}

TEST(Programs, AStepOfTheHeadAloneHasNoBackwardPassThroughTheLayers) {
  StepOptions head = tiny_options();
  head.model.freeze_adapters = true;
  const BatchShape shape{4, 12, 4};
  // Beside the forward pass, the product for the head's three rows of 24.
  EXPECT_EQ(train_step_program(head, shape).flops, evaluate_program(head, shape).flops + 2.0 * 4 * 3 * 24);
}

TEST(Programs, RatesChangeNoTextButTheirOwnArgument) {
  StepOptions one = tiny_options(), other = one;
  one.rates = {3, 4, 0.5, 0};
  other.rates = {5, 16, 0.9, 7};
  const BatchShape shape{4, 12, 4};
  EXPECT_EQ(train_step_program(one, shape).text, train_step_program(other, shape).text);
  EXPECT_EQ(apply_program(one).text, apply_program(other).text);
}

/** A row of one letter for each token, with a weight. */
TokenizedDataset weighted_rows(const std::vector<std::pair<std::string, float>>& texts) {
  std::vector<PreferenceRow> rows;
  for (const auto& [text, weight] : texts) {
    PreferenceRow& row = rows.emplace_back();
    row.prompt = {text};
    row.label = {text.size() % 2 == 0 ? 1.0f : 0.0f, text.size() % 2 == 0 ? 0.0f : 1.0f, 0};
    row.has_label = true;
    row.weight = weight;
  }
  TokenizeOptions options;
  options.encode = [](const PreferenceRow& row, bool, const EncodeOptions&, const TextEncoder&) {
    EncodedText out;
    for (char c : row.prompt[0]) out.ids.push_back(c - 'a' + 3);
    return out;
  };
  TextEncoder encoder;
  encoder.pad_id = 2;
  return tokenize(rows, options, encoder);
}

TEST(Engine, ARowOfWeightTwoIsTheRowTwice) {
  Batcher weighted(weighted_rows({{"abcdef", 2}, {"bca", 1}, {"xyzzy", 1}}), options_of(Batching::kPadded, 3, 1, 12));
  Batcher twice(weighted_rows({{"abcdef", 1}, {"abcdef", 1}, {"bca", 1}, {"xyzzy", 1}}),
                options_of(Batching::kPadded, 4, 1, 12));
  ASSERT_EQ(weighted.step(0).weight, 4);
  ASSERT_EQ(weighted.step(0).num_rows, 3);
  Trained a = train(tiny_options(), weighted, 2), b = train(tiny_options(), twice, 2);
  EXPECT_LT(largest_difference(a, b), kSame);
  Trained even = train(
      tiny_options(),
      Batcher(weighted_rows({{"abcdef", 1}, {"bca", 1}, {"xyzzy", 1}}), options_of(Batching::kPadded, 3, 1, 12)), 2);
  EXPECT_GT(largest_difference(a, even), 1e-3);
}

TEST(Engine, MicroBatchesOfUnevenWeightsEqualOneLargeBatch) {
  TokenizedDataset data =
      weighted_rows({{"abcdef", 3}, {"bca", 0.25f}, {"xyzzy", 1}, {"wv", 2}, {"dog", 0.5f}, {"kitten", 1}});
  for (Batching batching : {Batching::kPadded, Batching::kPacked}) {
    Trained whole = train(tiny_options(0.3), Batcher(data, options_of(Batching::kPadded, 6, 1, 12)), 2);
    Trained parts = train(tiny_options(0.3), Batcher(data, options_of(batching, 2, 3, 12)), 2);
    EXPECT_LT(largest_difference(whole, parts), kSame);
  }
}

TEST(Programs, TextIsTheSameEveryTime) {
  StepOptions options = tiny_options(0.1);
  BatchShape shape{4, 12, 4};
  EXPECT_EQ(train_step_program(options, shape).text, train_step_program(options, shape).text);
}

TEST(Programs, BackwardLeavesOutWhatNothingNeeds) {
  // Only the last layer's o_proj is past attention and works on pooled rows alone.
  StepOptions all = tiny_options();
  StepOptions few = all;
  few.model.lora.target_modules = {"down_proj"};
  BatchShape shape{4, 12, 4};
  double forward = evaluate_program(few, shape).flops;
  // The lowest adapted module is layer 0's down_proj: nothing flows back through layer 0's attention.
  EXPECT_LT(gradients_program(few, shape).flops, 2.0 * forward);
  EXPECT_GT(gradients_program(all, shape).flops, gradients_program(few, shape).flops);
  StepOptions scan = all;
  scan.model.form = LayerForm::kScan;
  EXPECT_EQ(evaluate_program(scan, shape).flops, evaluate_program(all, shape).flops);
}

TEST(Schedule, WarmupThenDown) {
  EXPECT_EQ(scheduled_learning_rate("cosine", 1, 0, 2, 6), 0);
  EXPECT_EQ(scheduled_learning_rate("cosine", 1, 1, 2, 6), 0.5);
  EXPECT_EQ(scheduled_learning_rate("cosine", 1, 2, 2, 6), 1);
  EXPECT_NEAR(scheduled_learning_rate("cosine", 1, 4, 2, 6), 0.5, 1e-15);
  EXPECT_NEAR(scheduled_learning_rate("linear", 1, 5, 2, 6), 0.25, 1e-15);
  EXPECT_EQ(scheduled_learning_rate("constant", 1, 5, 2, 6), 1);
}

}  // namespace
}  // namespace gavel

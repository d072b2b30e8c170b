// Training in float16 with a loss scale, on the tiny golden model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "engine/engine.h"
#include "io/safetensors.h"
#include "model/adapter.h"
#include "setup/random_rows.h"
#include "setup/test_support.h"

namespace gavel {
namespace {

std::filesystem::path half_model() {
  return std::filesystem::path(GAVEL_SOURCE_DIR) / "tests/train/golden";
}

/** The golden model in float16, base and products, or in float32. */
class HalfRun {
 public:
  explicit HalfRun(DType type, LossScaling scaling = {}, LayerForm form = LayerForm::kUnrolled, double clip = 0)
      : files_(ModelFiles::open(half_model())) {
    options_.model.spec = files_.spec();
    LoadedAdapterWeights adapter = read_adapter(PeftConfig::read(half_model() / "adapter"), options_.model.spec, 3);
    options_.model.lora = adapter.config.lora;
    options_.model.lora.lora_dropout = 0;
    options_.model.dtype = options_.model.compute_dtype = type;
    options_.model.form = form;
    options_.loss_scaling = scaling;
    options_.max_grad_norm = clip;
    engine_.emplace(test_client(), options_, test_compile_cache());
    engine_->load_frozen(files_);
    engine_->set_trainable(adapter.values);
  }
  PendingStats::Sums step(const Batcher& batcher, int64_t step) {
    StepBatches batches = batcher.step(step);
    return engine_->train_step(batches.micro, step, 1e-3, batches.weight, 1).get();
  }
  Engine& engine() { return *engine_; }

 private:
  ModelFiles files_;
  StepOptions options_;
  std::optional<Engine> engine_;
};

Batcher half_batches(int64_t accumulation = 1) {
  BatchOptions options;
  options.batching = Batching::kPadded;
  options.batch_size = 4 / accumulation;
  options.gradient_accumulation = accumulation;
  options.max_length = 16;
  options.seed = 3;
  static const TokenizedDataset data = random_rows(40, 16, 45);
  return Batcher(data, options);
}

bool equal_states(const TrainedState& a, const TrainedState& b) {
  auto equal = [](const std::vector<HostTensor>& x, const std::vector<HostTensor>& y) {
    for (size_t i = 0; i < x.size(); ++i)
      if (std::memcmp(x[i].data(), y[i].data(), x[i].bytes()) != 0) return false;
    return x.size() == y.size();
  };
  return equal(a.weights, b.weights) && equal(a.m, b.m) && equal(a.v, b.v);
}

TEST(Float16, FiftyStepsAreThoseOfFloat32UpToItsRounding) {
  const Batcher batcher = half_batches();
  HalfRun half(DType::kF16), whole(DType::kF32);
  double largest = 0, mean = 0;
  for (int64_t step = 0; step < 50; ++step) {
    const PendingStats::Sums a = half.step(batcher, step), b = whole.step(batcher, step);
    ASSERT_TRUE(a.applied) << "step " << step;
    EXPECT_EQ(a.loss_scale, 65536);
    EXPECT_EQ(b.loss_scale, 0);  // float32 has none
    EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 0.02 * b.gradient_norm) << "step " << step;
    const double difference = std::abs(a.loss - b.loss) / 4;
    largest = std::max(largest, difference);
    mean += difference / 50;
  }
  EXPECT_GT(largest, 0);  // it is another type
  EXPECT_LT(largest, 2e-3);
  RecordProperty("losses differ by", fmt::format("at most {:.2e}, {:.2e} in the mean", largest, mean));
}

TEST(Float16, AnOverflowIsLeftOutAndHalvesTheScale) {
  for (int64_t accumulation : {1, 2}) {
    SCOPED_TRACE(accumulation);
    const Batcher batcher = half_batches(accumulation);
    HalfRun run(DType::kF16, {.initial = 0x1p100});  // no gradient of float16 bears it
    const TrainedState before = run.engine().state();
    double scale = 0x1p100;
    int64_t skipped = 0;
    for (;; ++skipped) {
      const PendingStats::Sums sums = run.step(batcher, 0);
      if (sums.applied) break;
      scale /= 2;
      EXPECT_TRUE(sums.overflowed);
      EXPECT_TRUE(std::isfinite(sums.loss));
      EXPECT_EQ(sums.loss_scale, scale);
      ASSERT_TRUE(equal_states(run.engine().state(), before));
      EXPECT_EQ(run.engine().state().loss_scale->good_steps, 0);
      ASSERT_LT(skipped, 110);
    }
    EXPECT_GT(skipped, 50);
    EXPECT_FALSE(equal_states(run.engine().state(), before));
    EXPECT_EQ(run.engine().state().loss_scale->scale, scale);
    EXPECT_EQ(run.engine().state().loss_scale->good_steps, 1);
  }
}

TEST(Float16, TheScaleGrowsAfterGoodSteps) {
  const Batcher batcher = half_batches();
  HalfRun run(DType::kF16, {.initial = 1024, .interval = 3});
  std::vector<double> scales;
  for (int64_t step = 0; step < 7; ++step) scales.push_back(run.step(batcher, step).loss_scale);
  EXPECT_THAT(scales, testing::ElementsAre(1024, 1024, 2048, 2048, 2048, 4096, 4096));
}

TEST(Float16, TheScaleIsNoPartOfTheGradients) {
  for (LayerForm form : {LayerForm::kUnrolled, LayerForm::kScan})
    for (double clip : {0.0, 0.01}) {
      const Batcher batcher = half_batches();
      HalfRun small(DType::kF16, {.initial = 4096}, form, clip), large(DType::kF16, {.initial = 16384}, form, clip);
      const PendingStats::Sums a = small.step(batcher, 0), b = large.step(batcher, 0);
      EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-3 * a.gradient_norm);
      const TrainedState x = small.engine().state(), y = large.engine().state();
      for (size_t i = 0; i < x.m.size(); ++i)
        for (size_t j = 0; j < x.m[i].as<float>().size(); ++j)
          EXPECT_NEAR(x.m[i].as<float>()[j], y.m[i].as<float>()[j], 1e-3 * a.gradient_norm);
    }
}

TEST(Float16, StateGoesToTheHostAndBackWithItsScale) {
  const Batcher batcher = half_batches();
  HalfRun whole(DType::kF16, {.initial = 1024, .interval = 3}), parts(DType::kF16, {.initial = 7, .interval = 3});
  for (int64_t step = 0; step < 2; ++step) whole.step(batcher, step);
  parts.engine().set_state(whole.engine().state());
  for (int64_t step = 2; step < 4; ++step) {
    const PendingStats::Sums a = whole.step(batcher, step), b = parts.step(batcher, step);
    EXPECT_EQ(a.loss, b.loss);
    EXPECT_EQ(a.loss_scale, b.loss_scale);
  }
  EXPECT_TRUE(equal_states(whole.engine().state(), parts.engine().state()));
  EXPECT_EQ(parts.engine().state().loss_scale->scale, 2048);
  EXPECT_EQ(parts.engine().state().loss_scale->good_steps, 1);
}

TEST(Float16, AWeightBeyondItsRangeIsNamed) {
  const TempFolder folder("gavel_float16");
  std::filesystem::copy(half_model() / "config.json", folder.path());
  const auto file = SafetensorsFile::open(half_model() / "model.safetensors");
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  for (float value : {65504.0f, 65505.0f, -70000.0f}) {
    std::vector<std::pair<std::string, HostTensor>> tensors;
    for (const auto& [key, info] : file->tensors()) {
      HostTensor tensor = file->tensor(key).to(DType::kF32), copy(DType::kF32, tensor.shape());
      std::memcpy(copy.mutable_data(), tensor.data(), tensor.bytes());
      if (key == name) copy.as_mutable<float>()[5] = value;
      tensors.emplace_back(key, std::move(copy));
    }
    write_safetensors(folder.path() / "model.safetensors", tensors, {});
    const ModelFiles files = ModelFiles::open(folder.path());
    StepOptions options;
    options.model.spec = files.spec();
    options.model.dtype = DType::kF16;
    Engine engine(test_client(), options, test_compile_cache());
    std::string found;
    try {
      engine.load_frozen(files);
    } catch (const Error& error) {
      found = error.what();
    }
    if (value == 65504.0f)
      EXPECT_EQ(found, "");
    else
      EXPECT_THAT(found, testing::AllOf(testing::HasSubstr(name), testing::HasSubstr("element 5"),
                                        testing::HasSubstr("65504")));
  }
}

TEST(ModelFlops, AreThoseOfTheProgramThatComputesNothingTwice) {
  StepOptions unrolled;
  unrolled.model.spec = ModelFiles::open(half_model()).spec();
  unrolled.model.lora = {4, 8, 0, {"o_proj", "v_proj"}, false};
  StepOptions scan = unrolled;
  scan.model.form = LayerForm::kScan;
  const BatchShape shape{4, 16, 4};
  const double model = total(model_flops(unrolled, shape));
  EXPECT_EQ(model, train_step_program(unrolled, shape).flops);
  EXPECT_EQ(model, total(model_flops(scan, shape)));
  EXPECT_LT(model, train_step_program(scan, shape).flops);
  EXPECT_GT(model, evaluate_program(unrolled, shape).flops);
}

}  // namespace
}  // namespace gavel

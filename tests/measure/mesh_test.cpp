// Eight virtual CPU devices must compute what one does.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "engine/engine.h"
#include "io/safetensors.h"
#include "measure/parity.h"
#include "model/adapter.h"
#include "nn/cpu_kernels.h"
#include "nn/plain_attention.h"
#include "setup/random_rows.h"
#include "setup/test_support.h"
#include "spec/family.h"
#include "spec/mesh_llama.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<pjrt::Client> eight_devices() {
  static std::shared_ptr<pjrt::Client> client = make_client("cpu", 8);
  return client;
}

const std::vector<Mesh>& meshes() {
  static const std::vector<Mesh> all = {{8, 1, 1}, {1, 8, 1}, {1, 4, 2}, {2, 2, 2}, {1, 1, 8}};
  return all;
}

struct MeshCase {
  Kernels kernels;
  LayerForm form;
};

class MeshParity : public testing::TestWithParam<MeshCase> {};

int64_t batch_of(const fs::path& folder) {
  return SafetensorsFile::open(folder / "batch.safetensors")->tensors().at("input_ids").shape[1];
}

TEST_P(MeshParity, SharedGoldensOnEveryMeshThatDividesTheBatch) {
  fs::path folder = shared_folder() / "goldens";
  if (!fs::exists(folder)) GTEST_SKIP() << "no folder " << folder;
  auto [kernels, form] = GetParam();
  int compared = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    ParityReport one = run_parity(entry.path(), form, kernels, test_client(), test_compile_cache());
    for (const Mesh& mesh : meshes()) {
      if (batch_of(entry.path()) % mesh.batch_parts() != 0) continue;
      ParityReport report = run_parity(entry.path(), form, kernels, eight_devices(), test_compile_cache(), mesh);
      EXPECT_TRUE(report.passed()) << entry.path().filename() << " " << to_string(mesh) << "\n"
                                   << format_parity(report);
      // What is split takes an eighth on each device of these meshes; the rest (adapters, state) stays whole.
      if (entry.path().filename() == "mesh_b8_h8" && mesh.dp == 1) {
        EXPECT_LT(report.argument_bytes, one.argument_bytes) << to_string(mesh);
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 5);
}

INSTANTIATE_TEST_SUITE_P(Forms, MeshParity,
                         testing::Values(MeshCase{Kernels(), LayerForm::kScan},
                                         MeshCase{Kernels(cpu_kernels()), LayerForm::kScan},
                                         MeshCase{Kernels(cpu_kernels()), LayerForm::kUnrolled},
                                         MeshCase{Kernels(plain_attention_kernels()), LayerForm::kScan}),
                         [](const auto& info) {
                           const Kernels& kernels = info.param.kernels;
                           return std::string(kernels.plain()           ? "Plain"
                                              : kernels.name() == "cpu" ? "Cpu"
                                                                        : "Cudnn") +
                                  (info.param.form == LayerForm::kScan ? "Scan" : "Unrolled");
                         });

TEST(MeshParityOfScans, WhatAScanKeepsIsSplitToo) {
  const fs::path folder = shared_folder() / "goldens" / "mesh_b8_h8";
  if (!fs::exists(folder)) GTEST_SKIP() << "no folder " << folder;
  for (Kernels kernels : {Kernels(), Kernels(cpu_kernels())})
    for (Recompute recompute : {Recompute::kAttention, Recompute::kNone}) {
      ParityReport report =
          run_parity(folder, LayerForm::kScan, kernels, eight_devices(), test_compile_cache(), {2, 2, 2}, recompute);
      EXPECT_TRUE(report.passed()) << kernels.name() << "\n" << format_parity(report);
    }
}

/** Families differ in what a block is made of, which all meshes split by the same rules: one mesh is enough. */
void expect_parity_of_families(const MeshCase& which) {
  fs::path folder = shared_folder() / "goldens_families";
  if (!fs::exists(folder)) GTEST_SKIP() << "no folder " << folder;
  int compared = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const Mesh mesh = batch_of(entry.path()) % 4 == 0 ? Mesh{2, 2, 2} : Mesh{1, 1, 8};
    ParityReport report =
        run_parity(entry.path(), which.form, which.kernels, eight_devices(), test_compile_cache(), mesh);
    EXPECT_TRUE(report.passed()) << entry.path().filename() << " " << to_string(mesh) << "\n" << format_parity(report);
    ++compared;
  }
  EXPECT_GE(compared, 5);
}

TEST(MeshParityOfFamilies, PlainScan) {
  expect_parity_of_families({Kernels(), LayerForm::kScan});
}

TEST(MeshParityOfFamilies, CpuUnrolled) {
  expect_parity_of_families({Kernels(cpu_kernels()), LayerForm::kUnrolled});
}

/** All meshes divide it in part. */
StepOptions small_options(Kernels kernels, LayerForm form, double dropout) {
  StepOptions options;
  ModelConfig c = mesh_llama(2);
  c.initializer_range = 0.2;
  options.model.spec = decoder_spec(c);
  options.model.lora = {4, 8, dropout, all_linear_names(), false};
  options.model.kernels = kernels;
  options.model.form = form;
  return options;
}

/** Of each trained tensor. */
float start_value(size_t element) {
  return static_cast<float>(0.2 * (random_uniform(3, element) - 0.5));
}

struct Result {
  std::vector<HostTensor> gradients, weights;
  std::vector<double> losses;
};

Result train(StepOptions step, const Mesh& mesh, std::vector<PartitionRule> rules, Batching batching,
             int64_t batch_size, int64_t accumulation) {
  step.model.placement = Placement(mesh, std::move(rules), step.model.spec);
  BatchOptions options;
  options.batching = batching;
  options.batch_size = batch_size;
  options.gradient_accumulation = accumulation;
  options.max_length = 32;
  options.bucket_multiple = 8;
  options.shuffle = false;
  // The same on one device, so that both see the same shapes.
  options.sequence_multiple = 8;
  Batcher batcher(random_rows(24, 16, 60), options);
  Engine engine(mesh.devices() == 1 ? test_client() : eight_devices(), step, test_compile_cache());
  engine.random_frozen(7);
  std::vector<HostTensor> start;
  for (const auto& parameter : trainable_layout(step.model).parameters) {
    HostTensor value(DType::kF32, parameter.shape);
    auto numbers = value.as_mutable<float>();
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = start_value(i);
    start.push_back(value);
  }
  engine.set_trainable(start);
  Result result;
  result.gradients = engine.gradients(batcher.step(0).micro[0], 11).first;
  for (int64_t i = 0; i < 2; ++i) {
    StepBatches batches = batcher.step(i);
    auto sums = engine.train_step(batches.micro, i, 1e-3, static_cast<double>(batches.num_rows), 11).get();
    result.losses.push_back(sums.loss / static_cast<double>(batches.num_rows));
    result.losses.push_back(sums.gradient_norm);
  }
  result.weights = engine.trainable();
  return result;
}

double largest_difference(const std::vector<HostTensor>& a, const std::vector<HostTensor>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < a[i].as<float>().size(); ++j)
      largest = std::max(largest, std::fabs(double{a[i].as<float>()[j]} - b[i].as<float>()[j]));
  return largest;
}

void expect_same(const Result& one, const Result& many, const std::string& what) {
  EXPECT_LT(largest_difference(one.gradients, many.gradients), 1e-5) << what;
  // AdamW divides tiny gradients by their own size, so rounding shows in the weights: 2e-5 is 2 % of a step.
  EXPECT_LT(largest_difference(one.weights, many.weights), 2e-5) << what;
  for (size_t i = 0; i < one.losses.size(); ++i) EXPECT_NEAR(one.losses[i], many.losses[i], 1e-5) << what;
}

TEST(MeshTraining, EqualsOneDeviceWithDropoutPackingAndAccumulation) {
  const Mesh mesh{2, 2, 2};
  for (auto [kernels, batching] :
       {std::pair(Kernels(), Batching::kPacked), std::pair(Kernels(cpu_kernels()), Batching::kPadded),
        std::pair(Kernels(plain_attention_kernels()), Batching::kPacked)}) {
    StepOptions step = small_options(kernels, LayerForm::kScan, 0.2);
    // Six rows a micro-batch: filled up to eight sequences, and a number of pairs that no mesh divides.
    Result one = train(step, {}, {}, batching, 6, 2);
    expect_same(one, train(step, mesh, {}, batching, 6, 2),
                fmt::format("{} {}", kernels.name(), batching == Batching::kPacked ? "packed" : "padded"));
  }
}

TEST(MeshTraining, AdaptersMayBeSplitByRule) {
  auto rules = parse_rules("lora_A$: [null, fsdp]\nlora_B$: [fsdp, null]\nscore$: [null, [dp, fsdp]]\n", "rules");
  StepOptions step = small_options(Kernels(), LayerForm::kScan, 0);
  Result one = train(step, {}, {}, Batching::kPadded, 8, 1);
  expect_same(one, train(step, {2, 4, 1}, rules, Batching::kPadded, 8, 1), "split adapters");
}

TEST(MeshTraining, AFrozenHeadMayBeSplitToo) {
  auto rules = parse_rules("score$: [null, [dp, fsdp]]\n", "rules");
  StepOptions step = small_options(Kernels(), LayerForm::kScan, 0);
  step.model.freeze_head = true;
  const size_t head = trainable_layout(step.model).head;
  const Result one = train(step, {}, {}, Batching::kPadded, 4, 2);
  const Result many = train(step, {2, 4, 1}, rules, Batching::kPadded, 4, 2);
  expect_same(one, many, "split head");
  auto found = many.weights[head].as<float>();
  for (size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], start_value(i)) << i;
}

TEST(MeshTraining, RatesThatDifferAndHeadOnlyStepsAreTheSameOnAMesh) {
  auto rules = parse_rules("lora_A$: [null, fsdp]\nlora_B$: [fsdp, null]\n", "rules");
  for (auto [form, accumulation] : {std::pair(LayerForm::kScan, 2), std::pair(LayerForm::kUnrolled, 1)}) {
    StepOptions step = small_options(Kernels(), form, 0);
    // None above the step's, which expect_same's tolerance is a share of.
    step.rates = {0.75, 0.5, 0.25, 1};
    Result one = train(step, {}, {}, Batching::kPadded, 8, accumulation);
    expect_same(one, train(step, {2, 2, 2}, rules, Batching::kPadded, 8, accumulation),
                form == LayerForm::kScan ? "scan" : "unrolled");
  }
}

/** What several processes run before a checkpoint: each then holds all on its first device. */
TEST(MeshTraining, SplitAdaptersAreGatheredOnTheDevices) {
  StepOptions step = small_options(Kernels(), LayerForm::kScan, 0);
  Mesh mesh{2, 4, 1};
  step.model.placement =
      Placement(mesh, parse_rules("lora_A$: [null, fsdp]\nlora_B$: [[dp, fsdp], null]\n", "rules"), step.model.spec);
  DeviceMesh devices(eight_devices(), mesh);
  std::vector<ShardedArray> arrays;
  std::vector<HostTensor> values;
  auto specs = trainable_layout(step.model).parameters;
  auto axes = trainable_axes(step.model);
  std::vector<const ShardedArray*> arguments;
  bool split = false;
  for (size_t i = 0; i < specs.size(); ++i) {
    values.push_back(initial_value(specs[i], {}, 0.2, i));
    auto numbers = values.back().as_mutable<float>();
    for (size_t k = 0; k < numbers.size(); ++k) numbers[k] = static_cast<float>(k + i);
    arrays.push_back(devices.to_devices(values.back(), axes[i]));
    split = split || arrays.back().shards[0].shape() != specs[i].shape;
  }
  EXPECT_TRUE(split);
  for (const ShardedArray& array : arrays) arguments.push_back(&array);
  ProgramText text = gather_program(step);
  auto gathered = devices.execute(eight_devices()->compile(text.text, devices.compile_options(), text.name), arguments);
  ASSERT_EQ(gathered.size(), values.size());
  for (size_t i = 0; i < values.size(); ++i)
    for (const pjrt::Buffer& shard : gathered[i].shards) {
      HostTensor found = shard.to_host();
      ASSERT_EQ(found.shape(), values[i].shape());
      EXPECT_TRUE(std::ranges::equal(found.as<float>(), values[i].as<float>())) << specs[i].name;
    }
}

TEST(MeshTraining, HeadsThatDoNotDivideStayTogether) {
  StepOptions step = small_options(Kernels(), LayerForm::kUnrolled, 0);
  step.model.placement = Placement({1, 1, 8}, {}, step.model.spec);  // 4 key-value heads
  EXPECT_FALSE(step.model.placement.splits_heads());
  auto notes = placement_notes(step.model);
  ASSERT_FALSE(notes.empty());
  EXPECT_NE(notes[0].find("must divide both"), std::string::npos) << notes[0];
  Result one = train(step, {}, {}, Batching::kPadded, 8, 1);
  expect_same(one, train(step, {1, 1, 8}, {}, Batching::kPadded, 8, 1), "1x1x8");
}

TEST(MeshTraining, ArgumentsShrinkAsTheyShould) {
  // Weights that every axis divides: per device exactly their share, the rest whole.
  StepOptions step = small_options(Kernels(), LayerForm::kScan, 0);
  BatchShape shape{8, 16, 8};
  auto bytes = [&](const Mesh& mesh) {
    StepOptions placed = step;
    placed.model.placement = Placement(mesh, {}, step.model.spec);
    Engine engine(mesh.devices() == 1 ? test_client() : eight_devices(), placed, test_compile_cache());
    return engine.train_program(shape).executable.memory().arguments;
  };
  int64_t split = 0, norms = 0, trained = 0;
  for (const auto& p : frozen_parameters(step.model))
    (p.tensor.role == TensorRole::kNorm ? norms : split) += 4 * num_elements(p.shape);
  for (const auto& p : trainable_layout(step.model).parameters) trained += 3 * 4 * num_elements(p.shape);
  constexpr int64_t kPrevious = 4, kScalars = 4, kKey = 1;  // elements of four bytes, whole on each device
  int64_t tokens = 4 * 4 * shape.sequences * shape.length, small = 4 * (kPrevious + kScalars + shape.rows * 5 + kKey);
  EXPECT_EQ(bytes({}), split + norms + trained + tokens + small);
  EXPECT_EQ(bytes({1, 8, 1}), split / 8 + norms + trained + tokens / 8 + small);
  EXPECT_EQ(bytes({8, 1, 1}), split + norms + trained + tokens / 8 + small);
  EXPECT_EQ(bytes({1, 2, 4}), split / 8 + norms + trained + tokens / 2 + small);
}

TEST(MeshTraining, WrongBatchesAndTooFewDevicesAreRefused) {
  StepOptions step = small_options(Kernels(), LayerForm::kScan, 0);
  step.model.placement = Placement({1, 8, 1}, {}, step.model.spec);
  EXPECT_THROW(Engine(test_client(), step, test_compile_cache()), Error);
}

}  // namespace
}  // namespace gavel

// What accelerators' programs must be, looked for in what the plugins' compilers make of a step: a few layers of Llama-3-8B's shape.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/file.h"
#include "engine/device_traits.h"
#include "engine/programs.h"
#include "plan/has_compiler.h"
#include "plan/plan.h"
#include "setup/run_options.h"
#include "setup/test_support.h"
#include "spec/family.h"

namespace gavel {
namespace {

using testing::HasSubstr;

/** A step of so many layers of a built-in shape, compiled for the target. */
Plan plan_of(const std::string& target, int64_t layers, std::vector<std::string> settings,
             const std::string& shape = "llama-3-8b") {
  const TempFolder folder(fmt::format("gavel_accelerator_{}", layers));
  ModelConfig config = built_in_shape(shape);
  config.num_hidden_layers = layers;
  write_file(folder.path() / "config.json", config.to_json(3, "bfloat16"));
  settings.insert(settings.begin(), {"data.train=not-there.csv", "output=none", "lora.lora_dropout=0",
                                     "model.path=" + folder.path().string()});
  return make_plan(parse_recipe("", "test", settings), {.target = target, .remedies = false});
}

double executed(const Plan& plan) {
  const ExecutedWork& work = plan.prediction.work;
  return work.flops + work.float32_flops + work.attention_flops;
}

/** 4 x 1024 tokens of three layers on an H100, with rank 16 on all linear layers; compiled once for all tests. */
const Plan& h100_plan(const std::string& setting) {
  static std::map<std::string, Plan> plans;
  auto found = plans.find(setting);
  if (found == plans.end())
    found =
        plans
            .emplace(setting,
                     plan_of("h100", 3, {"lora.r=16", "lora.target_modules=all-linear", "train.batch_size=4", setting}))
            .first;
  return found->second;
}
constexpr const char* kAuto = "train.layers=auto";

TEST(H100Program, NothingButTheHeadIsMultipliedInFloat32) {
  if (!has_compiler("cuda")) GTEST_SKIP() << "the CUDA plugin was not fetched (gavel doctor --fetch cuda)";
  for (const char* setting : {kAuto, "train.recompute=none"}) {
    const Plan& plan = h100_plan(setting);
    ASSERT_TRUE(plan.compiled) << plan.refusal;
    EXPECT_GT(executed(plan), 1e12) << setting;
    EXPECT_LT(plan.prediction.work.float32_flops, 1e9) << setting;
    EXPECT_GT(plan.prediction.work.attention_flops, 0) << setting;
  }
  // Where it is asked for it is seen.
  const Plan float32 = plan_of("h100", 2, {"model.compute_dtype=float32", "train.batch_size=1", "data.max_length=64"});
  EXPECT_GT(float32.prediction.work.float32_flops, 1e10);
}

TEST(H100Program, NoLayerIsComputedAgainWhereNothingIsRecomputed) {
  if (!has_compiler("cuda")) GTEST_SKIP() << "the CUDA plugin was not fetched (gavel doctor --fetch cuda)";
  const double least = h100_plan(kAuto).useful_flops;
  EXPECT_NEAR(executed(h100_plan(kAuto)) / least, 1, 0.02);
  // A loop also computes what flows back through its first layer to the embeddings, which are not trained.
  const Plan &none = h100_plan("train.recompute=none"), &all = h100_plan("train.recompute=all");
  EXPECT_TRUE(none.scan && all.scan);
  EXPECT_EQ(none.useful_flops, least);
  EXPECT_NEAR(executed(none) / least, 1, 0.05);
  EXPECT_GT(executed(all) / least, 1.2);
}

TEST(H100Program, LayersAreWrittenOutWithAMicroBatchThatFits) {
  if (!has_compiler("cuda")) GTEST_SKIP() << "the CUDA plugin was not fetched (gavel doctor --fetch cuda)";
  const Plan& whole = h100_plan(kAuto);
  EXPECT_FALSE(whole.scan);
  EXPECT_EQ(whole.shape.sequences, 4);
  EXPECT_THAT(format_plan(whole), HasSubstr("train.layers: unrolled (auto): "));
  // On a device with less memory, of the same optimizer step.
  const Plan split = plan_of("l4", 3, {"lora.r=4", "train.batch_size=128"});
  EXPECT_FALSE(split.scan);
  EXPECT_TRUE(split.fits);
  EXPECT_GT(split.accumulation, 1);
  EXPECT_EQ(split.shape.sequences * split.accumulation, 128);
  EXPECT_THAT(split.layer_choice, HasSubstr("(the same optimizer step)"));
}

/** Gemma 2 bends its scores in each layer, which cuDNN's call has no word for; Gemma 3 does not. No plugin is asked. */
TEST(H100Program, SoftCapsTakeTheBlockwiseForm) {
  auto calls = [](const char* shape, int64_t length) {
    ModelConfig config = built_in_shape(shape);
    config.num_hidden_layers = 2;
    config.layer_types.resize(std::min<size_t>(config.layer_types.size(), 2));
    Recipe recipe;
    recipe.lora.r = 4;
    recipe.data.max_length = length;
    recipe.train.layers = Recipe::Layers::kUnrolled;
    const StepOptions step = step_options(recipe, decoder_spec(config), device_traits("cuda", false, 90));
    const std::string text = gradients_program(step, {1, length, 1}).text;
    EXPECT_EQ(text.find("__cudnn$fmha") != std::string::npos, text.find("Backward") != std::string::npos);
    return std::pair(text.find("__cudnn$fmha") != std::string::npos, text.find("stablehlo.while") != std::string::npos);
  };
  EXPECT_EQ(calls("gemma-2-2b", 2048), std::pair(false, true));
  EXPECT_EQ(calls("gemma-2-2b", 1024), std::pair(false, false)) << "whole scores are small here";
  EXPECT_EQ(calls("gemma-3-270m", 2048), std::pair(true, false));
}

TEST(V6eProgram, NoGatherOfWeightsIsWaitedFor) {
  if (!has_compiler("tpu")) GTEST_SKIP() << "libtpu was not fetched (gavel doctor --fetch tpu)";
  const Plan plan = plan_of("tpu-v6e-8", 3, {"train.batch_size=16", "mesh.fsdp=8"}, "llama-3.2-1b");
  ASSERT_TRUE(plan.compiled) << plan.refusal;
  ASSERT_TRUE(plan.collectives.has_value());
  EXPECT_TRUE(plan.scan) << "TPUs' layers are as they were";
  EXPECT_THAT(plan.layer_choice, "");
  // Forward and backward each looped layer's weights are gathered: two bytes of 60.8 million numbers.
  const Collectives& sent = *plan.collectives;
  EXPECT_GT(sent.bytes.at("all-gather"), 2 * 2 * 2 * 60.8e6);
  // What is waited for are sums, and the embeddings' rows that devices exchange.
  double others = 0;
  for (const auto& [kind, bytes] : sent.received)
    if (kind != "all-gather") others += bytes;
  EXPECT_LE(sent.waited_for, others + 0.01 * sent.received.at("all-gather"));
}

}  // namespace
}  // namespace gavel

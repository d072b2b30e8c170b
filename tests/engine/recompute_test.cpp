#include "engine/recompute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/engine.h"
#include "nn/cpu_kernels.h"
#include "setup/test_support.h"
#include "spec/family.h"
#include "spec/mesh_llama.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr BatchShape kShape{2, 16, 2};

StepOptions llama_step(LayerForm form, Recompute recompute, Kernels kernels = {}) {
  StepOptions step;
  step.model.spec = decoder_spec(mesh_llama(5));
  step.model.lora = {4, 8, 0, {"v_proj", "down_proj"}, false};
  step.model.form = form;
  step.model.recompute = recompute;
  step.model.kernels = kernels;
  return step;
}

ProgramText scan_with(Recompute recompute, Kernels kernels = {}) {
  return gradients_program(llama_step(LayerForm::kScan, recompute, kernels), kShape);
}

TEST(Recompute, WithKernelsNoneMakesTheProductsOfWrittenOutLayers) {
  const Kernels kernels(cpu_kernels());
  const double unrolled = gradients_program(llama_step(LayerForm::kUnrolled, Recompute::kAll, kernels), kShape).flops;
  // A loop computes what flows back to the embeddings too: through queries, keys and values of the first layer.
  const double to_embeddings = 2.0 * 32 * 64 * (64 + 32 + 32);
  EXPECT_EQ(scan_with(Recompute::kNone, kernels).flops, unrolled + to_embeddings);
  EXPECT_GT(scan_with(Recompute::kAttention, kernels).flops, unrolled);
}

TEST(Recompute, InPlainStableHloTheProductsOfLinearsAreSpared) {
  const double all = scan_with(Recompute::kAll).flops, none = scan_with(Recompute::kNone).flops;
  // Four looped layers of 32 tokens: queries, keys, values and what becomes of attention, gate and up; down was never computed
  // again, since only the next layer reads what it gives.
  const double linears = 2.0 * 32 * (64 * (64 + 32 + 32 + 64) + 2 * 64 * 96);
  // The branches: v's both products (that of down only up to its narrow one), then scores and what they weigh.
  const double branches = 2.0 * 32 * (4 * (64 + 32) + 4 * 96);
  const double spared = (all - none) / 4;
  EXPECT_GE(spared, linears + branches);
  EXPECT_LT(spared, 1.1 * (linears + branches));
  EXPECT_LT(scan_with(Recompute::kAttention).flops, all);
  EXPECT_GT(scan_with(Recompute::kAttention).flops, none);
}

TEST(Recompute, WhatIsKeptIsCounted) {
  EXPECT_EQ(scan_with(Recompute::kAll).kept_bytes, 0);
  const double attention = scan_with(Recompute::kAttention).kept_bytes, none = scan_with(Recompute::kNone).kept_bytes;
  // Of four layers, 32 tokens, float32: queries, keys and values of 64, 32 and 32, and what attention gives, of which the middle
  // is computed again; then the middle in its place, gate and up, and both adapters' narrow products.
  EXPECT_EQ(attention, 4.0 * 32 * 4 * (64 + 32 + 32 + 64));
  EXPECT_EQ(none, 4.0 * 32 * 4 * (64 + 32 + 32 + 64 + 96 + 96 + 4 + 4));
  // The kernel reads what attention gave and its log-sum-exp as well.
  EXPECT_EQ(scan_with(Recompute::kAttention, Kernels(cpu_kernels())).kept_bytes,
            4.0 * 32 * 4 * (64 + 32 + 32 + 64 + 8 + 4));
}

TEST(Recompute, AForwardPassKeepsNothing) {
  const StepOptions none = llama_step(LayerForm::kScan, Recompute::kNone);
  EXPECT_EQ(evaluate_program(none, kShape).text,
            evaluate_program(llama_step(LayerForm::kScan, Recompute::kAll), kShape).text);
}

TEST(Recompute, WrittenOutLayersAreTheSameWhateverIsAsked) {
  EXPECT_EQ(gradients_program(llama_step(LayerForm::kUnrolled, Recompute::kNone), kShape).text,
            gradients_program(llama_step(LayerForm::kUnrolled, Recompute::kAll), kShape).text);
}

TEST(Recompute, IsTriedFromTheOneThatKeepsMost) {
  StepOptions step = llama_step(LayerForm::kScan, Recompute::kAttention);
  EXPECT_THAT(recompute_candidates(step), ElementsAre(Recompute::kAttention));
  step.chooses_recompute = true;
  EXPECT_THAT(recompute_candidates(step), ElementsAre(Recompute::kNone, Recompute::kAttention, Recompute::kAll));
}

TEST(Recompute, ALineSaysWhatItCostsAndSpares) {
  const ProgramText all = scan_with(Recompute::kAll), none = scan_with(Recompute::kNone);
  EXPECT_THAT(describe_recompute(Recompute::kNone, true, none, all),
              testing::AllOf(HasSubstr("train.recompute: none (auto): 0.00 GB of activations are kept"),
                             HasSubstr("TFLOP a micro-batch (")));
  EXPECT_THAT(describe_recompute(Recompute::kAll, false, all, all), HasSubstr("train.recompute: all: nothing but"));
}

TEST(Recompute, MemoryIsWhatTheCompilerSaysAndWhatWaitsBesideIt) {
  pjrt::MemoryStats memory;
  memory.arguments = 100;
  memory.outputs = 40;
  memory.aliased = 30;
  memory.temporaries = 7;
  memory.generated_code = 2;
  EXPECT_EQ(bytes_needed(memory, 1000), 1119);
  EXPECT_TRUE(is_out_of_memory("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"));
  EXPECT_FALSE(is_out_of_memory("INVALID_ARGUMENT: unknown op"));
}

TEST(Recompute, AStepsMemoryIsKnownBeforeWeightsAreThere) {
  const StepOptions step = llama_step(LayerForm::kUnrolled, Recompute::kAll);
  auto bytes_of = [&](int64_t rows, bool accumulates) {
    return Engine(test_client(), step, test_compile_cache()).step_bytes({rows, 16, rows}, accumulates);
  };
  const std::optional<double> small = bytes_of(2, false), large = bytes_of(64, false), part = bytes_of(2, true);
  ASSERT_TRUE(small && large && part);
  double weights = 0;
  for (const FrozenParameter& p : frozen_parameters(step.model))
    weights += static_cast<double>(num_elements(p.shape)) * static_cast<double>(byte_size(p.dtype));
  EXPECT_GT(*small, weights);
  EXPECT_GT(*large, *small);
  // Gradients that are added up, in place of what the optimizer does; its state waits beside the program.
  EXPECT_GT(*part, weights);
}

TEST(Programs, AdaptersAreMultipliedInTheTypeOfTheBase) {
  // What asks for float32 products is the head alone, which reads few rows.
  for (LayerForm form : {LayerForm::kScan, LayerForm::kUnrolled}) {
    StepOptions step = llama_step(form, Recompute::kAll);
    step.model.compute_dtype = step.model.dtype = DType::kBF16;
    const std::string text = train_step_program(step, kShape).text;
    size_t products = 0;
    for (size_t at = text.find("dot_general"); at != std::string::npos; at = text.find("dot_general", at + 1)) {
      const std::string line = text.substr(at, text.find('\n', at) - at);
      ++products;
      if (line.find("HIGHEST") != std::string::npos) {
        EXPECT_THAT(line, HasSubstr("tensor<3x64xf32>"));
      }
    }
    EXPECT_GT(products, 20U);
  }
}

}  // namespace
}  // namespace gavel

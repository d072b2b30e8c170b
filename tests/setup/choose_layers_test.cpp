#include "setup/choose_layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/device_traits.h"
#include "setup/run_options.h"
#include "spec/family.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/** Llama-3-8B's shape with so few layers that a test need not wait for its text: 1.05 GB of embeddings, 0.44 of each layer. */
const DecoderSpec& spec() {
  static const DecoderSpec made = [] {
    ModelConfig config = built_in_shape("llama-3-8b");
    config.num_hidden_layers = 5;
    return decoder_spec(config);
  }();
  return made;
}

Recipe recipe_of(int64_t rows, int64_t length) {
  Recipe recipe;
  recipe.train.batch_size = rows;
  recipe.data.max_length = length;
  recipe.lora.r = 4;
  recipe.lora.lora_dropout = 0;
  return recipe;
}

StepOptions step_of(const Recipe& recipe, std::string_view platform = "cuda", const Mesh& mesh = {}) {
  StepOptions step = step_options(recipe, spec(), device_traits(platform, false, 90));
  step.model.placement = placement_of(recipe, mesh, spec());
  return step;
}

/** A compiler whose programs need 4 GB and so many bytes a token. */
class FakeCompiler {
 public:
  explicit FakeCompiler(double bytes_a_token) : bytes_a_token_(bytes_a_token) {}
  StepBytes figures() {
    return [this](const StepOptions& step, const BatchShape& shape, int64_t accumulation) -> std::optional<double> {
      EXPECT_EQ(step.model.form, LayerForm::kUnrolled);
      tried.push_back(shape.rows);
      micro_batches.push_back(accumulation);
      if (shape.rows > refuses_above) return std::nullopt;
      return 4e9 + bytes_a_token_ * static_cast<double>(shape.sequences * shape.length);
    };
  }
  std::vector<int64_t> tried, micro_batches;
  int64_t refuses_above = INT64_MAX;

 private:
  double bytes_a_token_;
};

TEST(ChooseLayers, WrittenOutWhereTheWholeMicroBatchFits) {
  const Recipe recipe = recipe_of(16, 1024);
  FakeCompiler compiler(5e5);
  const ChosenLayers chosen = choose_layers(recipe, step_of(recipe), 20e9, compiler.figures());
  EXPECT_TRUE(chosen.unrolled);
  EXPECT_EQ(chosen.recipe.train.layers, Recipe::Layers::kUnrolled);
  EXPECT_EQ(chosen.recipe.train.batch_size, 16);
  EXPECT_EQ(chosen.recipe.train.gradient_accumulation, 1);
  EXPECT_THAT(compiler.tried, ElementsAre(16));
  EXPECT_THAT(chosen.note,
              AllOf(testing::StartsWith("train.layers: unrolled (auto): 12.2 GB for 16 x 1024 tokens, of 20.0 GB that "
                                        "a step may need; a scan that computes no linear again would stack "),
                    HasSubstr(" GB of activations an optimizer step, with "), testing::EndsWith(" % more products")));
  // What is settled is what step_options makes of it.
  const StepOptions step = step_options(chosen.recipe, spec(), device_traits("cuda", false, 90));
  EXPECT_EQ(step.model.form, LayerForm::kUnrolled);
  EXPECT_FALSE(step.chooses_layers || step.chooses_recompute);
}

TEST(ChooseLayers, SmallerMicroBatchesAreOfTheSameOptimizerStep) {
  Recipe recipe = recipe_of(16, 1024);
  recipe.train.gradient_accumulation = 3;
  FakeCompiler compiler(5e5);
  const ChosenLayers chosen = choose_layers(recipe, step_of(recipe), 9e9, compiler.figures());
  // Sixteen rows would need 12.2 GB, eight 8.1; that sixteen do not fit is seen by trying, or from what a scan would keep.
  EXPECT_EQ(compiler.tried.back(), 8);
  EXPECT_EQ(compiler.micro_batches.back(), 6);
  EXPECT_EQ(chosen.recipe.train.batch_size, 8);
  EXPECT_EQ(chosen.recipe.train.gradient_accumulation, 6);
  EXPECT_THAT(chosen.note, HasSubstr("unrolled (auto) with train.batch_size=8 train.gradient_accumulation=6 (the same "
                                     "optimizer step): 8.1 GB for 8 x 1024 tokens"));
}

TEST(ChooseLayers, WhatCannotFitIsNotCompiled) {
  const Recipe recipe = recipe_of(16, 1024);
  FakeCompiler hungry(1.2e6);  // 19.7 GB of activations for sixteen rows
  const ChosenLayers chosen = choose_layers(recipe, step_of(recipe), 10e9, hungry.figures());
  // Of sixteen rows what a scan would keep would fit, so they are tried; eight are known not to fit from that.
  EXPECT_THAT(hungry.tried, ElementsAre(16, 4));
  EXPECT_EQ(chosen.recipe.train.batch_size, 4);
  // With less than what the weights and a scan's activations take nothing of that size is tried at all.
  FakeCompiler compiler(1.2e6);
  choose_layers(recipe, step_of(recipe), 6.5e9, compiler.figures());
  ASSERT_FALSE(compiler.tried.empty());
  EXPECT_LT(compiler.tried.front(), 16);
}

TEST(ChooseLayers, ARefusalIsNoFigure) {
  const Recipe recipe = recipe_of(16, 1024);
  FakeCompiler compiler(5e5);
  compiler.refuses_above = 2;
  const ChosenLayers chosen = choose_layers(recipe, step_of(recipe), 20e9, compiler.figures());
  EXPECT_THAT(compiler.tried, ElementsAre(16, 8, 4, 2));
  EXPECT_EQ(chosen.recipe.train.batch_size, 2);
  EXPECT_EQ(chosen.recipe.train.gradient_accumulation, 8);
}

TEST(ChooseLayers, AScanStaysWhereNothingFits) {
  const Recipe recipe = recipe_of(4, 1024);
  FakeCompiler compiler(5e6);
  const ChosenLayers chosen = choose_layers(recipe, step_of(recipe), 9e9, compiler.figures());
  EXPECT_FALSE(chosen.unrolled);
  EXPECT_EQ(chosen.recipe, recipe);
  EXPECT_THAT(compiler.tried, ElementsAre(4, 1)) << "two are known not to fit, one needs 9.1 GB";
  EXPECT_THAT(chosen.note, HasSubstr("train.layers: scan (auto): written out, layers need more than the 9.0 GB"));
}

TEST(ChooseLayers, WhatTheRecipeSaysStays) {
  FakeCompiler compiler(1);
  auto note_of = [&](const Recipe& recipe, const StepOptions& step, double limit = 1e12) {
    const ChosenLayers chosen = choose_layers(recipe, step, limit, compiler.figures());
    EXPECT_EQ(chosen.recipe, recipe);
    return chosen.note;
  };
  Recipe recipe = recipe_of(16, 1024);
  for (const char* platform : {"cpu", "tpu"}) EXPECT_EQ(note_of(recipe, step_of(recipe, platform)), "") << platform;
  EXPECT_EQ(note_of(recipe, step_of(recipe, "cuda", {1, 8, 1})), "") << "gathered layer by layer";
  EXPECT_EQ(note_of(recipe, step_of(recipe), -1), "") << "memory that nobody knows";
  for (auto layers : {Recipe::Layers::kScan, Recipe::Layers::kUnrolled}) {
    Recipe asked = recipe;
    asked.train.layers = layers;
    EXPECT_EQ(note_of(asked, step_of(asked)), "");
  }
  for (auto recompute : {Recipe::Recompute::kAll, Recipe::Recompute::kAttention, Recipe::Recompute::kNone}) {
    Recipe asked = recipe;
    asked.train.recompute = recompute;
    EXPECT_EQ(note_of(asked, step_of(asked)), "");
  }
  Recipe nf4 = recipe;
  nf4.model.dtype = Recipe::BaseType::kNf4;
  EXPECT_EQ(note_of(nf4, step_of(nf4)), "") << "whose matrices a loop makes one layer at a time";
  EXPECT_THAT(compiler.tried, IsEmpty());
  // With nothing said the same figures do choose.
  EXPECT_TRUE(choose_layers(recipe, step_of(recipe), 1e12, compiler.figures()).unrolled);
}

TEST(ChooseLayers, PartsAreWholeRowsWithEnoughTokensOnEachDevice) {
  auto parts_of = [](const Recipe& recipe, const Mesh& mesh = {}) {
    return micro_batch_parts(recipe, step_of(recipe, "cuda", mesh));
  };
  EXPECT_THAT(parts_of(recipe_of(16, 1024)), ElementsAre(1, 2, 4, 8, 16));
  EXPECT_THAT(parts_of(recipe_of(16, 512)), ElementsAre(1, 2, 4, 8));
  EXPECT_THAT(parts_of(recipe_of(12, 2048)), ElementsAre(1, 2, 3, 4, 6, 12));
  EXPECT_THAT(parts_of(recipe_of(1, 64)), ElementsAre(1)) << "as it is, however few";
  EXPECT_THAT(parts_of(recipe_of(16, 1024), {8, 1, 1}), ElementsAre(1, 2));
  EXPECT_THAT(parts_of(recipe_of(12, 1024), {8, 1, 1}), ElementsAre(1)) << "filled up already";
  Recipe pairs = recipe_of(4, 512);
  pairs.task = Recipe::TaskKind::kReward;
  EXPECT_THAT(parts_of(pairs), ElementsAre(1, 2, 4)) << "a row is two texts";
}

}  // namespace
}  // namespace gavel

#include "setup/run_options.h"

#include <gtest/gtest.h>

#include "io/expect_error.h"
#include "spec/family.h"

namespace gavel {
namespace {

TEST(RunOptions, TextsLongerThanTheRopeCanTurnAreRefused) {
  Recipe recipe;
  recipe.model.path = "models/long";
  recipe.train.kernels = Recipe::Kernels::kPlain;
  ModelConfig config = built_in_shape("smollm2-135m");
  config.max_position_embeddings = 512;
  config.rope.scaling.type = "dynamic";
  config.rope.scaling.factor = 2;
  const DecoderSpec spec = decoder_spec(config);
  const DeviceTraits device;
  recipe.data.max_length = 512;
  EXPECT_NO_THROW(step_options(recipe, spec, device));
  recipe.data.max_length = 513;
  expect_error([&] { step_options(recipe, spec, device); },
               {"data.max_length is 513", "the rope of models/long", "up to 512 tokens"});
}

TEST(RunOptions, AFrozenHeadIsHeldAndNothingElse) {
  const DecoderSpec spec = decoder_spec(built_in_shape("smollm2-135m"));
  for (bool freeze : {false, true}) {
    Recipe recipe;
    recipe.lora.freeze_head = freeze;
    recipe.train.kernels = Recipe::Kernels::kPlain;
    const TrainableLayout layout = trainable_layout(step_options(recipe, spec, DeviceTraits()).model);
    for (size_t i = 0; i < layout.parameters.size(); ++i)
      EXPECT_EQ(layout.parameters[i].held, freeze && i == layout.head) << layout.parameters[i].name;
  }
}

}  // namespace
}  // namespace gavel

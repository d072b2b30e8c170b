#pragma once
#include <optional>
#include <vector>

#include "data/text_encoder.h"
#include "engine/engine.h"
#include "io/model_files.h"
#include "recipe/recipe.h"
#include "spec/decoder_spec.h"
#include "spec/model_config.h"
#include "text/tokenizer.h"

namespace gavel {

// From a recipe to its base model. All functions throw Error with what to do.

/** What a recipe's model.path and model.tokenizer name. */
struct BaseModel {
  std::optional<ModelFiles> files;  // none with random_init
  ModelConfig config;               // with the tokenizer's pad token
  DecoderSpec spec;
  Tokenizer tokenizer;
};
BaseModel open_base_model(const Recipe& recipe);

/** model.path's config: of its files, or with random_init also of a config.json alone or a built-in shape's name. */
ModelConfig load_config(const Recipe& recipe, std::optional<ModelFiles>& files);

/** The tokenizer of the recipe: model.tokenizer, else the one beside or inside the model. Its pad token is its own,
 * else the config's, else its end-of-text token, as the reference notebook chooses it. */
Tokenizer load_tokenizer(const Recipe& recipe, const ModelConfig& config);

/** With a fingerprint of the tokenizer's content and of this program's build, so that a token cache made by another
 * tokenizer, or by a program that may encode otherwise, is not used. Reads the whole program: to be made once. */
TextEncoder make_encoder(const Tokenizer& tokenizer);

/** The frozen weights: the model's, or with random_init numbers of the recipe's seed. */
void load_weights(Engine& engine, const Recipe& recipe, const BaseModel& base);

/** Values that training starts from, in the order of trainable_layout: lora.init_adapter's, else PEFT's fresh start. */
std::vector<HostTensor> initial_trainable(const Recipe& recipe, const StepOptions& options);

}  // namespace gavel

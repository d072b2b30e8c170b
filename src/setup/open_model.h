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

// Opens the base model that a recipe names. All functions throw Error that says what to do when they can't.

/** Downloads what of model.path is of the Hugging Face hub and not in the cache: of a model that starts at random the config and
 * tokenizer alone. The recipe must be the user's word. */
void fetch_base_model(const Recipe& recipe);

/** The model and tokenizer of a recipe's model.path and model.tokenizer. */
struct BaseModel {
  std::optional<ModelFiles> files;  // none with random_init
  DecoderSpec spec;
  Tokenizer tokenizer;
};
BaseModel open_base_model(const Recipe& recipe);

/** What a model is, of its files where they are open. */
DecoderSpec spec_of(const ModelConfig& config, const std::optional<ModelFiles>& files);

/** The config of model.path, whose files are opened into `files`. With model.random_init a folder's config.json alone
 * or the name of a built-in shape will do; `files` then stays empty. */
ModelConfig load_config(const Recipe& recipe, std::optional<ModelFiles>& files);

/** The tokenizer of the recipe: model.tokenizer, else the one beside or inside the model. Its pad token is the config's, by
 * which transformers finds the token that the head reads, else its own, else the end-of-text token, as in the reference
 * notebook; a line tells of two that differ. Throws Error when it has more tokens than the model has embeddings. */
Tokenizer load_tokenizer(const Recipe& recipe, const ModelConfig& config);

/** The tokenizer as a TextEncoder. Its fingerprint is of the tokenizer's content and of this program's build, so that a
 * token cache made by another tokenizer or another build is not used. Slow, since it reads the program's whole file. */
TextEncoder make_encoder(const Tokenizer& tokenizer);

/** Loads the frozen weights into the engine: the model's, or with random_init random ones of train.seed. */
void load_weights(Engine& engine, const Recipe& recipe, const BaseModel& base);

/** The recipe with the rank, scaling, DoRA and target modules of lora.init_adapter, whose function is kept; a line tells of
 * each that the recipe has otherwise. Without lora.init_adapter the recipe as it is; so too where its folder is gone and
 * the run resumes, which does not read it. */
Recipe with_adapter_settings(const Recipe& recipe);

/** The weights that training starts from, float32 in the order of trainable_layout: lora.init_adapter's, else fresh
 * ones as PEFT makes them, with the head that model.head says. Throws Error when the base's head has another shape than
 * the recipe's task. */
std::vector<HostTensor> initial_trainable(const Recipe& recipe, const StepOptions& options, const BaseModel& base);

}  // namespace gavel

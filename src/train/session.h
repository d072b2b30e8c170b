#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/batcher.h"
#include "data/preferences.h"
#include "io/model_files.h"
#include "pjrt/client.h"
#include "recipe/recipe.h"
#include "text/tokenizer.h"
#include "train/programs.h"

namespace gavel {

// From a recipe to the objects that carry it out. All functions throw Error with what to do.

/** The tokenizer of the recipe: model.tokenizer, else the one beside or inside the model. Its pad token is its own,
 * else the config's, else its end-of-text token (the origin's choice). */
Tokenizer load_tokenizer(const Recipe& recipe, const LlamaConfig& config);

/** With a fingerprint of the tokenizer's content and of this program's build, so that a token cache made by another
 * tokenizer, or by a program that may encode otherwise, is not used. */
TextEncoder make_encoder(const Tokenizer& tokenizer);

/** The tokenizer knows the chat template that data.template: chat asks for. */
EncodeOptions encode_options(const Recipe& recipe, const Tokenizer& tokenizer);
ReadOptions read_options(const Recipe& recipe, Purpose purpose);
BatchOptions batch_options(const Recipe& recipe);

/** A client of the device; on the CPU with the kernels of src/kernels registered, where the plugin takes them. */
std::shared_ptr<pjrt::Client> make_client(const std::string& device);
/** What `auto` chooses on this client: the CPU kernels where they are registered, else plain StableHLO. */
Kernels best_kernels(const pjrt::Client& client);

/** The recipe's device. Throws when the mesh asks for more than one: this version trains on one device. */
std::shared_ptr<pjrt::Client> open_device(const Recipe& recipe);

/** The client decides what `auto` means. */
StepOptions step_options(const Recipe& recipe, const LlamaConfig& config, const pjrt::Client& client);

/** model.path's config: of its files, or with random_init also of a config.json alone or a built-in shape's name. */
LlamaConfig load_config(const Recipe& recipe, std::optional<ModelFiles>& files);

/** Values that training starts from, in the order of trainable_parameters: lora.init_adapter's, else PEFT's fresh start. */
std::vector<HostTensor> initial_trainable(const Recipe& recipe, const StepOptions& options);

/** Where compiled programs are kept. */
std::filesystem::path compile_cache_folder();

}  // namespace gavel

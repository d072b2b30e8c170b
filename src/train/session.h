#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cluster/process_group.h"
#include "data/batcher.h"
#include "data/preferences.h"
#include "io/model_files.h"
#include "pjrt/client.h"
#include "recipe/recipe.h"
#include "task/task.h"
#include "text/tokenizer.h"
#include "train/device_traits.h"
#include "train/programs.h"

namespace gavel {

class Engine;

// From a recipe to the objects that carry it out. All functions throw Error with what to do.

/** What a recipe's model.path and model.tokenizer name. */
struct BaseModel {
  std::optional<ModelFiles> files;  // none with random_init
  ModelConfig config;               // with the tokenizer's pad token
  DecoderSpec spec;
  Tokenizer tokenizer;
};
BaseModel open_base_model(const Recipe& recipe);

/** The tokenizer of the recipe: model.tokenizer, else the one beside or inside the model. Its pad token is its own,
 * else the config's, else its end-of-text token (the origin's choice). */
Tokenizer load_tokenizer(const Recipe& recipe, const ModelConfig& config);

/** With a fingerprint of the tokenizer's content and of this program's build, so that a token cache made by another
 * tokenizer, or by a program that may encode otherwise, is not used. */
TextEncoder make_encoder(const Tokenizer& tokenizer);

/** How rows become tokens. The tokenizer knows the chat template that data.template: chat asks for. */
TokenizeOptions tokenize_options(const Recipe& recipe, const Tokenizer& tokenizer);
ReadOptions read_options(const Recipe& recipe, Purpose purpose);
/** What is learnt from the recipe's rows. */
std::shared_ptr<const Task> task_of(const Recipe& recipe);
/** Sequences come in multiples of what the mesh shares a batch out over; packing is as the device likes it. */
BatchOptions batch_options(const Recipe& recipe, const DeviceTraits& device, const Mesh& mesh = {});

/** A client of the device; on the CPU with the kernels of src/kernels registered, where the plugin takes them. `cpu_devices`: virtual devices
 * that share the processor, on the CPU only: for trying out a mesh. With several processes each sees the devices of all;
 * on the CPU that throws, since its plugin joins none. */
std::shared_ptr<pjrt::Client> make_client(const std::string& device, int64_t cpu_devices = 1,
                                          const ProcessGroup& group = {});
/** The recipe's device; on the CPU with as many virtual devices as the mesh names (an axis of -1 counts 1). */
std::shared_ptr<pjrt::Client> open_device(const Recipe& recipe, const ProcessGroup& group = {});

/** This process among those of a run: the launcher's group, or where there is none but the plugin knows of several hosts
 * (TPU pods) the plugin's, without a store. */
ProcessGroup processes_of(const ProcessGroup& launched, const pjrt::Client& client);

/** The mesh over the devices of all processes. Throws when it does not fit them. */
Mesh mesh_of(const Recipe& recipe, const pjrt::Client& client);

/** How the model lies on the mesh by the recipe's rules. */
Placement placement_of(const Recipe& recipe, const Mesh& mesh, const DecoderSpec& spec);

/** The frozen weights: the model's, or with random_init numbers of the recipe's seed. */
void load_weights(Engine& engine, const Recipe& recipe, const BaseModel& base);

/** The client decides what `auto` means. Prints a line for each axis that a parameter can not be split over. */
StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const pjrt::Client& client);
/** The same for devices that need not be there, without a placement. */
StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const DeviceTraits& device);

/** model.path's config: of its files, or with random_init also of a config.json alone or a built-in shape's name. */
ModelConfig load_config(const Recipe& recipe, std::optional<ModelFiles>& files);

/** Values that training starts from, in the order of trainable_layout: lora.init_adapter's, else PEFT's fresh start. */
std::vector<HostTensor> initial_trainable(const Recipe& recipe, const StepOptions& options);

/** Where compiled programs are kept. */
std::filesystem::path compile_cache_folder();

}  // namespace gavel

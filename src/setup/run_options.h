#pragma once
#include <memory>
#include <string>

#include "data/batcher.h"
#include "data/dataset.h"
#include "engine/device_traits.h"
#include "engine/programs.h"
#include "pjrt/client.h"
#include "recipe/recipe.h"
#include "rows/preferences.h"
#include "shard/mesh.h"
#include "task/task.h"
#include "text/tokenizer.h"

namespace gavel {

// Makes of a recipe's settings the options of each part of the program. All functions throw Error that says what to do
// when they can't.

/** The task that the recipe trains: judging with model.num_labels labels. */
std::shared_ptr<const Task> task_of(const Recipe& recipe);

/** How rows become tokens. `tokenizer` gives the chat template for data.template: chat. */
TokenizeOptions tokenize_options(const Recipe& recipe, const Tokenizer& tokenizer);
ReadOptions read_options(const Recipe& recipe, Purpose purpose);
/** The same for the rows that are trained on: with what counts in the loss alone. */
ReadOptions training_read_options(const Recipe& recipe, Purpose purpose);
/** How rows become training batches. Sequences come in multiples of mesh.batch_parts(); packed rows share one sequence
 * where the device's attention costs nothing for keys that a query does not see. Without `spec` the model is taken for one
 * without sliding windows, which keep a row's texts from sharing the tokens that they begin with. */
BatchOptions batch_options(const Recipe& recipe, const DeviceTraits& device, const Mesh& mesh = {},
                           const DecoderSpec* spec = nullptr);

/** How the model lies on the mesh by the recipe's rules. */
Placement placement_of(const Recipe& recipe, const Mesh& mesh, const DecoderSpec& spec);

/** A mesh, and how it came to be where the recipe leaves that open ("" where not). */
struct ChosenMesh {
  Mesh mesh;
  std::string note;
};

/** The recipe's mesh over so many devices, its -1 resolved. `mesh: auto`: a copy of the weights on each device (dp), where weights, state
 * and gradients take no more than half of `memory`, the bytes that a device has, so that as much is left for activations; else
 * they are split (fsdp), as where memory is 0 or less: not known. `step`: of one device. Throws Error when the mesh does not fit. */
ChosenMesh choose_mesh(const Recipe& recipe, const StepOptions& step, int64_t devices, int64_t memory);
/** The same over the devices of all processes. */
ChosenMesh mesh_of(const Recipe& recipe, const DecoderSpec& spec, const pjrt::Client& client);

/** The training step, placed on the recipe's mesh of the client's devices, whose DeviceTraits decide what `auto` means; without
 * an auxiliary head, whose classes only the data tell.
 * Logs a line for each axis that a parameter can't be split over, and what `mesh: auto` became. */
StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const pjrt::Client& client);
/** The same for a device that need not be there; the placement is that of one device. */
StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const DeviceTraits& device);

}  // namespace gavel

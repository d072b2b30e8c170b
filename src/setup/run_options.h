#pragma once
#include <memory>

#include "data/batcher.h"
#include "data/dataset.h"
#include "rows/preferences.h"
#include "engine/device_traits.h"
#include "engine/programs.h"
#include "pjrt/client.h"
#include "recipe/recipe.h"
#include "task/task.h"
#include "text/tokenizer.h"

namespace gavel {

// From a recipe's settings to the options of each part. All functions throw Error with what to do.

/** What is learnt from the recipe's rows. */
std::shared_ptr<const Task> task_of(const Recipe& recipe);

/** How rows become tokens. The tokenizer knows the chat template that data.template: chat asks for. */
TokenizeOptions tokenize_options(const Recipe& recipe, const Tokenizer& tokenizer);
ReadOptions read_options(const Recipe& recipe, Purpose purpose);
/** Sequences come in multiples of what the mesh shares a batch out over; packing is as the device likes it. */
BatchOptions batch_options(const Recipe& recipe, const DeviceTraits& device, const Mesh& mesh = {});

/** How the model lies on the mesh by the recipe's rules. */
Placement placement_of(const Recipe& recipe, const Mesh& mesh, const DecoderSpec& spec);

/** The client decides what `auto` means. Prints a line for each axis that a parameter can not be split over. */
StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const pjrt::Client& client);
/** The same for devices that need not be there, without a placement. */
StepOptions step_options(const Recipe& recipe, const DecoderSpec& spec, const DeviceTraits& device);

}  // namespace gavel

#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/programs.h"
#include "pjrt/client.h"
#include "recipe/recipe.h"

namespace gavel {

// Whether a training step's layers are a scan or written out, where `train.layers: auto` leaves that to the device's memory
// (StepOptions::chooses_layers). Written out they keep all activations and stack none, so they are faster; where a micro-batch's do
// not fit, smaller ones do, of which an optimizer step has more.

/** A recipe whose train.layers, batch_size and gradient_accumulation are settled: rows of an optimizer step are as many as before. */
struct ChosenLayers {
  Recipe recipe;
  /** One line: what was chosen, its memory and its gain; "" where nothing was to be chosen. */
  std::string note;
  bool unrolled = false;  // it was chosen here
};

/** Rows of a micro-batch, filled up to what the mesh shares a batch out over, each with the task's texts of data.max_length tokens:
 * the largest that a run of the recipe has. */
BatchShape largest_micro_batch(const Recipe& recipe, const StepOptions& step, int64_t rows);

/** Bytes that a device needs for a step of this recipe, or for one of its micro-batches beside what waits meanwhile, by the
 * compiler's figure; nothing where the compiler refuses. */
using StepBytes = std::function<std::optional<double>(const StepOptions&, const BatchShape&, int64_t accumulation)>;

/** Parts that a micro-batch may be split into, from 1 on: whole rows, as many on each device, and no fewer tokens than matrix products
 * want to be bound by their arithmetic. */
std::vector<int64_t> micro_batch_parts(const Recipe& recipe, const StepOptions& step);

/** Layers written out with the largest micro-batch whose step needs no more than `limit` bytes; else the recipe as it is, which is a
 * scan. `step`: of the recipe, with its placement. Where weights are split over fsdp a scan stays: its loop is what keeps no more than
 * one layer's whole weights on a device. */
ChosenLayers choose_layers(const Recipe& recipe, const StepOptions& step, double limit, const StepBytes& bytes_of);

/** The same for the client's devices, by compiling for them (through the cache of programs, where the run finds them again). Where the
 * devices are of several processes, which have to choose alike, nothing is chosen. `auxiliary_outputs`: ModelOptions'. */
ChosenLayers choose_layers(const Recipe& recipe, const DecoderSpec& spec, const std::shared_ptr<pjrt::Client>& client,
                           int64_t auxiliary_outputs = 0);

}  // namespace gavel

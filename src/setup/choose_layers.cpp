#include "setup/choose_layers.h"

#include "engine/engine.h"
#include "engine/recompute.h"
#include "setup/open_device.h"
#include "setup/run_options.h"

namespace gavel {

namespace {

/** Of a micro-batch on a device. A product of fewer reads its weights for longer than it computes: GPUs do 150 to 300 products in
 * the time that two bytes take. With four times as many a smaller micro-batch costs little but its kernels' starts. */
constexpr int64_t kLeastTokens = 1024;

/** Base weights on a device that has a copy of what mp leaves it. */
double held_bytes(const ModelOptions& model) {
  double bytes = 0;
  for (const FrozenParameter& parameter : frozen_parameters(model))
    bytes += static_cast<double>(num_elements(parameter.shape)) * static_cast<double>(byte_size(parameter.dtype));
  return bytes / static_cast<double>(model.placement.mesh().mp);
}

std::string describe_choice(const Recipe& given, const Recipe& chosen, const BatchShape& shape, double bytes,
                            double limit, const ProgramText& scan, const ProgramText& unrolled) {
  const int64_t parts = given.train.batch_size / chosen.train.batch_size;
  const std::string micro =
      parts == 1 ? ""
                 : fmt::format(" with train.batch_size={} train.gradient_accumulation={} (the same optimizer step)",
                               chosen.train.batch_size, chosen.train.gradient_accumulation);
  return fmt::format(
      "train.layers: unrolled (auto){}: {:.1f} GB for {} x {} tokens, of {:.1f} GB that a step may need; a scan that "
      "computes no linear again would stack {:.1f} GB of activations an optimizer step, with {:.1f} % more products",
      micro, bytes / 1e9, shape.sequences, shape.length, limit / 1e9,
      scan.kept_bytes * static_cast<double>(given.train.gradient_accumulation) / 1e9,
      100 * (scan.flops / unrolled.flops - 1));
}

}  // namespace

BatchShape largest_micro_batch(const Recipe& recipe, const StepOptions& step, int64_t rows) {
  const int64_t parts = step.model.placement.mesh().batch_parts(), filled = (rows + parts - 1) / parts * parts;
  return {filled * step.task->texts_per_row(), recipe.data.max_length, filled};
}

std::vector<int64_t> micro_batch_parts(const Recipe& recipe, const StepOptions& step) {
  const int64_t rows = recipe.train.batch_size, devices = step.model.placement.mesh().batch_parts();
  std::vector<int64_t> parts = {1};
  for (int64_t count = 2; count <= rows; ++count) {
    if (rows % count != 0 || rows / count % devices != 0) continue;
    const int64_t tokens = rows / count / devices * step.task->texts_per_row() * recipe.data.max_length;
    if (tokens >= kLeastTokens) parts.push_back(count);
  }
  return parts;
}

ChosenLayers choose_layers(const Recipe& recipe, const StepOptions& step, double limit, const StepBytes& bytes_of) {
  const Mesh& mesh = step.model.placement.mesh();
  if (!step.chooses_layers || mesh.fsdp > 1 || limit <= 0) return {recipe, ""};
  StepOptions looped = step, written = step;
  looped.model.form = LayerForm::kScan;
  looped.model.recompute = Recompute::kNone;
  written.model.form = LayerForm::kUnrolled;
  written.chooses_layers = written.chooses_recompute = false;
  const BatchShape whole = largest_micro_batch(recipe, step, recipe.train.batch_size);
  const ProgramText scan = train_step_program(looped, whole), unrolled = train_step_program(written, whole);

  const double held = held_bytes(written.model);
  // Of the whole micro-batch: at first what a scan would keep, which is less; then by what the last try needed.
  double activations = scan.kept_bytes / static_cast<double>(mesh.devices());
  int64_t least_parts = 1;
  for (int64_t parts : micro_batch_parts(recipe, step)) {
    if (parts < least_parts || held + activations / static_cast<double>(parts) > limit) continue;
    ChosenLayers chosen{recipe, "", true};
    Recipe::Train& train = chosen.recipe.train;
    train.layers = Recipe::Layers::kUnrolled;
    train.batch_size /= parts;
    train.gradient_accumulation *= parts;
    const BatchShape shape = largest_micro_batch(chosen.recipe, written, train.batch_size);
    const std::optional<double> bytes = bytes_of(written, shape, train.gradient_accumulation);
    if (bytes && *bytes <= limit) {
      chosen.note = describe_choice(recipe, chosen.recipe, shape, *bytes, limit, scan, unrolled);
      return chosen;
    }
    if (bytes) activations = (*bytes - held) * static_cast<double>(parts);
    // What a compiler refuses may want any number of bytes more.
    else
      least_parts = 2 * parts;
  }
  return {recipe,
          fmt::format("train.layers: scan (auto): written out, layers need more than the {:.1f} GB that a step may "
                      "need, with every micro-batch of {} tokens and more on a device",
                      limit / 1e9, kLeastTokens)};
}

ChosenLayers choose_layers(const Recipe& recipe, const DecoderSpec& spec, const std::shared_ptr<pjrt::Client>& client,
                           int64_t auxiliary_outputs) {
  StepOptions step = step_options(recipe, spec, device_traits(*client));
  // Devices are asked of their memory only where it decides.
  if (!step.chooses_layers || client->global_devices().size() != client->devices().size()) return {recipe, ""};
  step.model.placement = placement_of(recipe, mesh_of(recipe, spec, *client).mesh, spec);
  step.model.auxiliary_outputs = auxiliary_outputs;
  const auto memory = static_cast<double>(client->memory(client->device(0)).limit);
  return choose_layers(recipe, step, kShareToPlan * memory,
                       [&](const StepOptions& tried, const BatchShape& shape, int64_t accumulation) {
                         return Engine(client, tried, compile_cache_folder()).step_bytes(shape, accumulation > 1);
                       });
}

}  // namespace gavel

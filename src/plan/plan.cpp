#include "plan/plan.h"

#include <algorithm>
#include <cctype>
#include <chrono>

#include "base/file.h"
#include "base/log.h"
#include "data/statistics.h"
#include "engine/engine.h"
#include "engine/recompute.h"
#include "io/model_path.h"
#include "pjrt/platform_options.h"
#include "pjrt/topology.h"
#include "plan/hlo_module.h"
#include "plan/ticker.h"
#include "setup/choose_layers.h"
#include "setup/data_files.h"
#include "setup/open_device.h"
#include "setup/open_model.h"
#include "setup/run_data.h"
#include "setup/run_options.h"
#include "spec/family.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** The config of the recipe's model, whose files are opened into `files` where only they have it, or of the built-in shape that
 * it names or seems to mean. */
ModelConfig plan_config(const Recipe& recipe, std::string& model, std::vector<std::string>& notes,
                        std::optional<ModelFiles>& files) {
  const std::string& path = recipe.model.path;
  model = path;
  if (fs::exists(fs::path(path) / "config.json")) return ModelConfig::from_file(fs::path(path) / "config.json");
  constexpr HubNeed kConfig{.weights = false, .tokenizer = false};
  if (is_fetched_model(path, kConfig)) {
    const fs::path config = is_hub_model(path) ? resolve_model_path(path, kConfig) / "config.json" : fs::path();
    return fs::exists(config) ? ModelConfig::from_file(config) : load_config(recipe, files);
  }
  std::vector<std::string> shapes = built_in_shapes();
  if (std::find(shapes.begin(), shapes.end(), path) != shapes.end()) return built_in_shape(path);
  if (fs::exists(path)) return load_config(recipe, files);
  std::string name = fs::path(path).filename().string(), best;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const std::string& shape : shapes)
    if (name.find(shape) != std::string::npos && shape.size() > best.size()) best = shape;
  if (best.empty() && is_hub_model(path)) {
    // Weights say nothing that a plan needs.
    fetch_model(path, kConfigAndTokenizer);
    return plan_config(recipe, model, notes, files);
  }
  if (best.empty()) return load_config(recipe, files);  // says what is missing
  notes.push_back(fmt::format("{} is not there: planned with the built-in shape {}", path, best));
  model = best;
  return built_in_shape(best);
}

/** Where the recipe's program is compiled: a client for the CPU, a description of the hardware for the rest.
 */
class Compiler {
 public:
  Compiler(const Target& target, Say say, double say_every_seconds)
      : target_(target), say_(std::move(say)), say_every_seconds_(say_every_seconds) {
    prepare_environment(target);
    if (target.plugin == "cpu") {
      client_ = make_client("cpu", target.devices);
      return;
    }
    auto plugin = pjrt::Plugin::load(target.plugin);
    topology_.emplace(pjrt::Topology::create(plugin, target.plugin == "tpu" ? target.topology : "", target.options));
    auto devices = static_cast<int64_t>(topology_->devices().size());
    if (devices != target.devices)
      fail("target {}: the plugin describes {} devices, expected {}", target.name, devices, target.devices);
  }

  DeviceTraits traits() const {
    return client_ ? device_traits(*client_) : device_traits(target_.plugin, true, target_.compute_capability);
  }

  /** Calls read(program) once it is compiled. Throws PjrtError when the compiler refuses. Without the option of deterministic
   * runs: a compiler without the GPU then finds no form for products. What they cost in memory stands in the text. */
  template <class Read>
  void compile(const ProgramText& text, Read read) const {
    const Ticker ticker(say_, fmt::format("compiling for {}", target_.name), say_every_seconds_);
    pjrt::CompileOptions options;
    options.num_partitions = target_.devices;
    if (client_) {
      pjrt::Executable executable = client_->compile(text.text, options, text.name);
      read(executable.program());
    } else {
      if (target_.devices > 1)
        for (int64_t device = 0; device < target_.devices; ++device) options.device_ids.push_back(device);
      pjrt::add_platform_options(options, *topology_, static_cast<int64_t>(target_.usable_bytes()));
      read(topology_->compile(text.text, options, text.name));
    }
  }

 private:
  Target target_;
  Say say_;
  double say_every_seconds_;
  std::shared_ptr<pjrt::Client> client_;
  std::optional<pjrt::Topology> topology_;
};

StepOptions plan_options(const Recipe& recipe, const DecoderSpec& spec, const Mesh& mesh, const Compiler& compiler) {
  StepOptions options = step_options(recipe, spec, compiler.traits());
  options.model.placement = placement_of(recipe, mesh, spec);
  return options;
}

double bytes_of(const Mesh& mesh, const DimensionAxes& axes, const Shape& shape, DType dtype) {
  return static_cast<double>(num_elements(shard_of(mesh, axes, shape, 0).shape)) *
         static_cast<double>(byte_size(dtype));
}

/** What the arguments of the step take, by the sharding. */
void count_arguments(const StepOptions& step, const BatchShape& shape, DeviceBytes& bytes) {
  const ModelOptions& model = step.model;
  const Mesh& mesh = model.placement.mesh();
  auto frozen = frozen_parameters(model);
  auto axes = frozen_axes(model);
  for (size_t i = 0; i < frozen.size(); ++i) bytes.weights += bytes_of(mesh, axes[i], frozen[i].shape, frozen[i].dtype);
  auto trained = trainable_layout(model).parameters;
  axes = trainable_axes(model);
  for (size_t i = 0; i < trained.size(); ++i) bytes.trainable += bytes_of(mesh, axes[i], trained[i].shape, DType::kF32);
  bytes.optimizer = 2 * bytes.trainable;
  const int64_t tokens = shape.sequences * shape.length / mesh.batch_parts();
  // Targets, a weight, a margin, and the place that the head reads in each text.
  const int64_t numbers_of_row =
      step.task->num_targets() + 1 + (step.task->has_margins() ? 1 : 0) + step.task->texts_per_row();
  bytes.batch = 4 * (4 * static_cast<double>(tokens) + static_cast<double>(shape.rows * numbers_of_row) + 5);
}

/** Of a device's memory, the bytes that a step may need whose layers or recomputing are chosen: of GPUs what Engine takes, since what
 * the plugin has is asked for; of TPUs less, since what libtpu keeps for itself is known on the device alone. */
double bytes_to_plan(const Plan& plan) {
  return (plan.target.plugin == "cuda" ? kShareToPlan : 0.85) * plan.target.usable_bytes();
}

WorkRates rates_of(const Target& target, DType compute) {
  const Efficiencies share;
  const double products = target.peak_flops(compute);
  return {share.products * products, share.products * target.f32_flops, share.attention * products,
          share.memory * target.bandwidth, share.kernel};
}

/** Compiles a step and fills in the memory of the plan. */
void compile_one(const Compiler& compiler, const StepOptions& step, const BatchShape& shape, int64_t accumulation,
                 Plan& plan) {
  auto program = [&](Recompute recompute) {
    StepOptions with = step;
    with.model.recompute = recompute;
    return accumulation > 1 ? accumulate_program(with, shape) : train_step_program(with, shape);
  };
  const ProgramText text = program(step.model.recompute);
  const auto repeats = static_cast<double>(accumulation);
  plan.shape = shape;
  plan.accumulation = accumulation;
  plan.flops_per_step = text.flops * repeats;
  plan.scan = step.model.form == LayerForm::kScan;
  plan.recompute = step.model.recompute;
  plan.chose_recompute = step.chooses_recompute;
  plan.kept_bytes = text.kept_bytes;
  plan.spared_flops = plan.scan ? program(Recompute::kAll).flops * repeats - plan.flops_per_step : 0;
  plan.per_device = {};
  plan.prediction = {};
  plan.per_device.capacity = plan.target.usable_bytes();
  count_arguments(step, shape, plan.per_device);
  auto start = std::chrono::steady_clock::now();
  auto seconds = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  try {
    compiler.compile(text, [&](const pjrt::Program& program) {
      plan.compile_seconds = seconds();
      pjrt::MemoryStats memory = program.memory();
      DeviceBytes& bytes = plan.per_device;
      bytes.temporaries = static_cast<double>(memory.temporaries);
      bytes.code = static_cast<double>(memory.generated_code);
      // While micro-batches add up their gradients, the optimizer's state waits beside the program.
      double waiting = accumulation > 1 ? bytes.optimizer : 0;
      bytes.total = bytes_needed(memory, waiting);
      plan.compiled = true;
      plan.fits = bytes.total <= bytes.capacity;
      if (auto optimized = program.optimized(); optimized && optimized->format.starts_with("hlo")) {
        const hlo::Module module = hlo::read_module(optimized->code);
        const int64_t layers = step.model.spec.num_hidden_layers;
        plan.prediction.work = count_work(module, rates_of(plan.target, step.model.compute_dtype), layers);
        plan.collectives = count_collectives(module, layers, plan.target.devices);
        plan.collectives->waited_for *= static_cast<double>(accumulation);
        for (auto& [kind, count] : plan.collectives->bytes) count *= static_cast<double>(accumulation);
        for (auto& [kind, count] : plan.collectives->received) count *= static_cast<double>(accumulation);
        for (auto& [kind, count] : plan.collectives->calls) count *= accumulation;
      }
    });
  } catch (const pjrt::PjrtError& error) {
    if (!is_out_of_memory(error.what())) throw;
    plan.compile_seconds = seconds();
    plan.compiled = plan.fits = false;
    plan.refusal = error.what();
    plan.per_device.total =
        plan.per_device.weights + plan.per_device.trainable + plan.per_device.optimizer + plan.per_device.batch;
  }
}

/** The same of the step that computes least again among those that fit, where that is to be chosen. */
void compile_step(const Compiler& compiler, const StepOptions& step, const BatchShape& shape, int64_t accumulation,
                  const Say& say, Plan& plan) {
  double seconds = 0;
  for (Recompute recompute : recompute_candidates(step)) {
    StepOptions tried = step;
    tried.model.recompute = recompute;
    compile_one(compiler, tried, shape, accumulation, plan);
    seconds += plan.compile_seconds;
    if (!step.chooses_recompute || recompute == Recompute::kAll) break;
    if (plan.compiled && plan.per_device.total <= bytes_to_plan(plan)) break;
    say(fmt::format(
        "train.recompute={} needs {}; trying what keeps less", recompute_name(recompute),
        plan.compiled ? fmt::format("{:.1f} of {:.1f} GB", plan.per_device.total / 1e9, plan.per_device.capacity / 1e9)
                      : "more than there is"));
  }
  plan.compile_seconds = seconds;
}

/** The recipe's step, or the one with its layers written out where that is to be chosen and fits; gives the recipe of what
 * was compiled. */
Recipe compile_chosen(const Compiler& compiler, const Recipe& recipe, const StepOptions& step, const BatchShape& shape,
                      const Say& say, Plan& plan) {
  double seconds = 0;
  ChosenLayers chosen = choose_layers(
      recipe, step, bytes_to_plan(plan),
      [&](const StepOptions& tried, const BatchShape& micro, int64_t accumulation) -> std::optional<double> {
        say(fmt::format("train.layers=unrolled: trying micro-batches of {} x {} tokens", micro.sequences,
                        micro.length));
        compile_one(compiler, tried, micro, accumulation, plan);
        seconds += plan.compile_seconds;
        return plan.compiled ? std::optional(plan.per_device.total) : std::nullopt;
      });
  plan.layer_choice = chosen.note;
  // What fits is what was compiled last.
  if (!chosen.unrolled) compile_step(compiler, step, shape, recipe.train.gradient_accumulation, say, plan);
  plan.compile_seconds = chosen.unrolled ? seconds : plan.compile_seconds + seconds;
  return std::move(chosen.recipe);
}

/** Least time of an optimizer step, by the target's peak figures. */
void bound_time(const StepOptions& step, Plan& plan) {
  const ModelOptions& model = step.model;
  auto devices = static_cast<double>(plan.target.devices);
  auto repeats = static_cast<double>(plan.accumulation);
  double layers = 0;
  for (const FrozenParameter& p : frozen_parameters(model))
    if (p.tensor.in_layers())
      layers += static_cast<double>(num_elements(p.shape)) * static_cast<double>(byte_size(p.dtype));
  // Each device reads its mp share of every layer forward and backward; a scan that computes the layer again does in between.
  double passes = plan.scan && plan.recompute != Recompute::kNone ? 3 : 2;
  double gathered = layers / static_cast<double>(model.placement.mesh().mp);
  plan.bytes_per_step = repeats * passes * gathered + 4 * plan.per_device.optimizer;
  const Target& target = plan.target;
  plan.compute_dtype = model.compute_dtype;
  const double fsdp = static_cast<double>(model.placement.mesh().fsdp);
  if (fsdp > 1) plan.estimated_gather_bytes = repeats * passes * gathered;
  if (plan.collectives) {
    plan.received_bytes = 0;
    for (const auto& [kind, bytes] : plan.collectives->received)
      plan.received_bytes +=
          kind == "all-reduce" && target.sums_in_switch ? std::min(bytes, plan.collectives->bytes.at(kind)) : bytes;
  } else {
    plan.received_bytes = plan.estimated_gather_bytes * (1 - 1 / fsdp);
  }
  if (const double peak = target.peak_flops(model.compute_dtype); peak > 0)
    plan.bounds.compute = plan.flops_per_step / devices / peak;
  if (target.bandwidth > 0) plan.bounds.memory = plan.bytes_per_step / target.bandwidth;
  if (target.link_bandwidth > 0) plan.bounds.links = plan.received_bytes / target.link_bandwidth;
  if (model.compute_dtype == DType::kBF16 && target.bf16_flops == 0 && target.f32_flops > 0)
    plan.notes.push_back(
        fmt::format("{} has no bfloat16 products: the time is that of float32 ones", target.device_name));
}

/** Expected time of an optimizer step, of the work that was counted in one run of the program and the bytes of bound_time(). */
void predict_time(Plan& plan) {
  Prediction& p = plan.prediction;
  const auto repeats = static_cast<double>(plan.accumulation);
  ExecutedWork& work = p.work;
  for (double* count :
       {&work.flops, &work.float32_flops, &work.attention_flops, &work.bytes, &work.seconds, &work.cycles})
    *count *= repeats;
  work.launches *= plan.accumulation;
  const Target& target = plan.target;
  p.by_cycles = target.clock > 0 && work.cycles > 0;
  if (target.clock > 0 && !p.by_cycles) return;  // its kernels' work is not in the program's text
  if (target.f32_flops <= 0 || work.launches == 0) return;
  p.kernels = p.by_cycles ? work.cycles / target.clock : work.seconds;
  double links = 0;
  if (target.link_bandwidth > 0 && plan.collectives) {
    const double rate = target.link_bandwidth * Efficiencies().links;
    links = plan.received_bytes / rate;
    p.waiting = std::min(links, plan.collectives->waited_for / rate);
  }
  // What is sent beside other work costs time only where it takes longer than all of that.
  p.seconds = std::max(p.kernels + p.waiting, links);
  p.waiting = p.seconds - p.kernels;
}

std::optional<DataPlan> plan_data(const Recipe& recipe, const ModelConfig& config, const DeviceTraits& device,
                                  const Mesh& mesh, std::vector<std::string>& notes) {
  if (!train_files_exist(recipe)) return std::nullopt;
  if (!recipe.model.tokenizer && !fs::exists(recipe.model.path) &&
      !is_fetched_model(recipe.model.path, kTokenizerFiles)) {
    notes.push_back(
        fmt::format("data {}: not counted: {} has no tokenizer here; name one with model.tokenizer (a tokenizer.json "
                    "or its folder)",
                    recipe.data.train.text(), recipe.model.path));
    return std::nullopt;
  }
  try {
    RunData rows = RunDataLoader(recipe, load_tokenizer(recipe, config)).get();
    const DecoderSpec spec = decoder_spec(config);
    Batcher batcher(std::move(rows.train.tokens), batch_options(recipe, device, mesh, &spec));
    DataPlan data;
    data.rows = batcher.dataset().num_rows();
    data.steps_per_epoch = batcher.steps_per_epoch();
    PaddingWaste waste = batcher.waste();
    data.padding = waste.wasted();
    data.tokens_per_epoch = static_cast<double>(waste.tokens);
    for (int64_t row = 0; row < data.rows; ++row) {
      auto length = static_cast<double>(batcher.dataset().length(row));
      data.mean_tokens += length / static_cast<double>(data.rows);
      data.longest = std::max(data.longest, length);
    }
    return data;
  } catch (const Error& error) {
    notes.push_back(fmt::format("data {}: not counted: {}", recipe.data.train.text(), error.what()));
    return std::nullopt;
  }
}

/** Tries what is easily changed, most harmless first, until something fits. */
void find_remedies(const Recipe& recipe, const DecoderSpec& spec, const Compiler& compiler, const Say& say,
                   Plan& plan) {
  auto attempt = [&](const std::string& text, const Recipe& changed, const Mesh& mesh, int64_t rows,
                     int64_t accumulation) {
    say(fmt::format("it does not fit; trying {}", text));
    Plan other = plan;
    StepOptions step = plan_options(changed, spec, mesh, compiler);
    compile_step(compiler, step, largest_micro_batch(changed, step, rows), accumulation, say, other);
    if (other.fits)
      plan.remedies.push_back(fmt::format("{}: {:.2f} GB per device, which fits", text, other.per_device.total / 1e9));
    return other.fits;
  };
  Recipe changed = recipe;
  Mesh mesh = plan.mesh;
  int64_t rows = recipe.train.batch_size;
  std::string text;
  if (!plan.scan || plan.recompute != Recompute::kAll) {
    text = plan.scan ? "train.recompute=all" : "train.layers=scan";
    changed.train.layers = Recipe::Layers::kScan;
    changed.train.recompute = plan.scan ? Recipe::Recompute::kAll : Recipe::Recompute::kAuto;
    if (attempt(text, changed, mesh, rows, plan.accumulation)) return;
  }
  if (mesh.dp > 1) {
    mesh = {1, mesh.dp * mesh.fsdp, mesh.mp};
    text += fmt::format("{}mesh.dp=1 mesh.fsdp={}", text.empty() ? "" : " ", mesh.fsdp);
    if (attempt(text, changed, mesh, rows, plan.accumulation)) return;
  }
  for (int64_t factor = 2; rows / factor >= mesh.batch_parts() && factor <= 8; factor *= 2)
    if (attempt(fmt::format("{}{}train.batch_size={} train.gradient_accumulation={} (the same optimizer step)", text,
                            text.empty() ? "" : " ", rows / factor, recipe.train.gradient_accumulation * factor),
                changed, mesh, rows / factor, recipe.train.gradient_accumulation * factor))
      return;
  if (changed.data.max_length > 512) {
    changed.data.max_length /= 2;
    int64_t smallest = std::min(rows, mesh.batch_parts());
    if (attempt(fmt::format("{}{}train.batch_size={} data.max_length={}", text, text.empty() ? "" : " ", smallest,
                            changed.data.max_length),
                changed, mesh, smallest, plan.accumulation))
      return;
  }
  double weights = plan.per_device.weights * static_cast<double>(plan.target.devices);
  plan.remedies.push_back(
      fmt::format("estimate: the weights alone are {:.1f} GB over all devices; take more devices, or ones "
                  "with more memory",
                  weights / 1e9));
}

}  // namespace

const char* StepBounds::decided_by() const {
  if (links > compute && links > memory) return "links";
  return memory > compute ? "memory" : "matrix products";
}

double Plan::mean_share() const {
  const double planned = static_cast<double>(shape.sequences * shape.length * accumulation);
  if (!data || data->steps_per_epoch == 0 || planned <= 0) return 1;
  return data->tokens_per_epoch / static_cast<double>(data->steps_per_epoch) / planned;
}

double Plan::predicted_mfu() const {
  const double peak = target.peak_flops(compute_dtype) * static_cast<double>(target.devices);
  return prediction.seconds > 0 && peak > 0 ? useful_flops / peak / prediction.seconds : 0;
}

StepBounds Plan::mean_bounds() const {
  StepBounds mean = bounds;
  mean.compute *= mean_share();
  return mean;
}

Plan make_plan(const Recipe& recipe, const PlanOptions& options) {
  const Say say = options.say ? options.say : [](const std::string& text) { spdlog::info("plan: {}", text); };
  Plan plan;
  int64_t cpu_devices = 1;
  for (int64_t size : {recipe.mesh.dp, recipe.mesh.fsdp, recipe.mesh.mp})
    if (size > 0) cpu_devices *= size;
  plan.target = find_target(options.target, cpu_devices);
  std::optional<ModelFiles> files;
  ModelConfig config = plan_config(recipe, plan.model, plan.notes, files);
  const DecoderSpec spec = spec_of(config, files);
  say(fmt::format("{} on {}: {} x {}", plan.model, plan.target.name, plan.target.devices, plan.target.device_name));
  Compiler compiler(plan.target, say, options.say_every_seconds);
  const ChosenMesh chosen =
      choose_mesh(recipe, step_options(recipe, spec, compiler.traits()), plan.target.devices,
                  plan.target.plugin == "cpu" ? 0 : static_cast<int64_t>(plan.target.usable_bytes()));
  plan.mesh = chosen.mesh;
  if (!chosen.note.empty()) plan.notes.push_back(chosen.note);
  StepOptions step = plan_options(recipe, spec, plan.mesh, compiler);
  for (std::string& note : placement_notes(step.model)) plan.notes.push_back(std::move(note));
  BatchShape shape = largest_micro_batch(recipe, step, recipe.train.batch_size);
  if (shape.rows != recipe.train.batch_size)
    plan.notes.push_back(
        fmt::format("batches of {} are filled up to {} with rows of weight zero, for {} parts of the mesh",
                    recipe.train.batch_size, shape.rows, plan.mesh.batch_parts()));
  for (const FrozenParameter& p : frozen_parameters(step.model)) plan.parameters += p.parameters();
  for (const TrainableParameter& p : trainable_layout(step.model).parameters)
    (p.held ? plan.parameters : plan.trained) += movable_elements(p, step.model.lora);
  plan.parameters += plan.trained;

  say(fmt::format("compiling a step of {} x {} tokens, which can take minutes", shape.sequences, shape.length));
  const Recipe settled = compile_chosen(compiler, recipe, step, shape, say, plan);
  StepOptions kept = step;
  kept.model.form = LayerForm::kUnrolled;
  plan.useful_flops = train_step_program(kept, plan.shape).flops * static_cast<double>(plan.accumulation);
  bound_time(step, plan);
  predict_time(plan);
  if (!plan.fits && options.remedies) find_remedies(recipe, spec, compiler, say, plan);

  if (train_files_exist(recipe)) say(fmt::format("reading {}", recipe.data.train.text()));
  plan.data = plan_data(settled, config, compiler.traits(), plan.mesh, plan.notes);
  if (recipe.train.max_steps)
    plan.total_steps = *recipe.train.max_steps;
  else if (plan.data)
    plan.total_steps = recipe.train.epochs * plan.data->steps_per_epoch;
  return plan;
}

}  // namespace gavel

#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numbers>
#include <thread>

#include "base/log.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/random.h"
#include "engine/recompute.h"
#include "pjrt/compile_cache.h"

namespace gavel {

namespace {

std::string key_of(const char* name, const BatchShape& s) {
  return fmt::format("{} {} {} {}", name, s.sequences, s.length, s.rows);
}

using Arguments = std::vector<const ShardedArray*>;

void append(Arguments& arguments, const std::vector<ShardedArray>& arrays) {
  for (const ShardedArray& array : arrays) arguments.push_back(&array);
}

/** Moves the next `count` outputs out. */
std::vector<ShardedArray> take_outputs(std::vector<ShardedArray>& outputs, size_t& at, size_t count) {
  std::vector<ShardedArray> taken;
  for (size_t i = 0; i < count; ++i) taken.push_back(std::move(outputs[at++]));
  return taken;
}

/** Of an array that is whole on each device. */
const pjrt::Buffer& first(const ShardedArray& array) {
  return array.shards.front();
}

/** A different number for every step; the layers' masks are drawn from it. */
uint32_t dropout_key(uint64_t seed, int64_t step) {
  return static_cast<uint32_t>(random_bits(mix64(seed) ^ 0xd10u, static_cast<uint64_t>(step)));
}

}  // namespace

BatchShape shape_of(const Batch& batch) {
  return {batch.input_ids.shape()[0], batch.input_ids.shape()[1], batch.labels.shape()[0]};
}

PendingStats::Sums PendingStats::get() {
  HostTensor tensor = stats_->get();
  auto values = tensor.as<float>();
  auto at = [&](Stat which) { return values[static_cast<size_t>(which)]; };
  const bool scaled = values.size() > static_cast<size_t>(Stat::kLossScale);
  return {at(Stat::kLossSum),      at(Stat::kCorrect),      at(Stat::kGradientNorm),
          at(Stat::kApplied) == 1, at(Stat::kApplied) == 2, scaled ? at(Stat::kLossScale) : 0};
}

Engine::Engine(std::shared_ptr<pjrt::Client> client, StepOptions options, std::filesystem::path cache)
    : devices_(std::move(client), options.model.placement.mesh()),
      traits_(device_traits(devices_.client())),
      options_(std::move(options)),
      head_only_options_(options_),
      rates_(options_.rates, trainable_layout(options_.model).parameters),
      // A cached program is one process's; with several, all must compile or none.
      cache_(devices_.is_whole() ? std::move(cache) : std::filesystem::path()),
      trained_(trainable_layout(options_.model).parameters),
      trainable_axes_(trainable_axes(options_.model)) {
  head_only_options_.model.freeze_adapters = true;
}

ShardedArray Engine::place_frozen(const FrozenParameter& parameter,
                                  const std::function<HostTensor(size_t layer)>& read) {
  const Placement& placement = options_.model.placement;
  DimensionAxes axes = placement.parameter(parameter.name, parameter.tensor, parameter.stacked);
  if (!parameter.stacked) return devices_.to_devices(read(0), axes, pjrt::HostMemory::kShare);

  // Every different part is filled layer by layer. On the CPU the parts are where the weights stay, so all are filled in
  // one reading; elsewhere one part at a time is on the host, until it has arrived.
  struct Part {
    Shard shard;
    HostTensor values;
    std::vector<size_t> devices;
  };
  std::vector<Part> parts;
  const std::vector<int64_t>& places = devices_.own_places();
  for (size_t device = 0; device < places.size(); ++device) {
    Shard shard = shard_of(devices_.mesh(), axes, parameter.shape, places[device]);
    auto same = std::find_if(parts.begin(), parts.end(), [&](const Part& part) { return part.shard == shard; });
    if (same == parts.end()) same = parts.insert(parts.end(), {shard, {}, {}});
    same->devices.push_back(device);
  }
  auto fill = [&](std::span<Part> some) {
    for (Part& part : some) part.values = HostTensor(parameter.dtype, part.shard.shape);
    for (size_t layer = 0; layer < parameter.sources.size(); ++layer) {
      HostTensor whole = read(layer);
      for (Part& part : some) {
        Shard one{{part.shard.start.begin() + 1, part.shard.start.end()},
                  {part.shard.shape.begin() + 1, part.shard.shape.end()}};
        HostTensor rows = slice_tensor(whole, one);
        std::memcpy(static_cast<char*>(part.values.mutable_data()) + layer * rows.bytes(), rows.data(), rows.bytes());
      }
    }
  };
  ShardedArray array;
  array.shards.resize(places.size());
  if (traits_.is_host) fill(parts);
  for (Part& part : parts) {
    if (!traits_.is_host) fill({&part, 1});
    for (size_t device : part.devices)
      array.shards[device] = devices_.to_device(part.values, device, pjrt::HostMemory::kShare);
    for (size_t device : part.devices) array.shards[device].wait();
    part.values = {};
  }
  return array;
}

/** The scales of a quantised weight, which are made with its codes and placed behind them. */
class Engine::HeldScales {
 public:
  /** Keeps the scales and gives the codes. */
  HostTensor keep(QuantisedWeight weight, size_t layer) {
    if (layer >= of_layers_.size()) of_layers_.resize(layer + 1);
    of_layers_[layer] = std::move(weight.scales);
    return std::move(weight.codes);
  }
  /** Whether the parameter is scales, those of the codes placed last; then they are placed too. */
  bool place(const FrozenParameter& parameter, Engine& engine) {
    if (parameter.part != HeldPart::kScales) return false;
    engine.frozen_.push_back(engine.place_frozen(parameter, [&](size_t layer) { return of_layers_.at(layer); }));
    of_layers_.clear();
    return true;
  }

 private:
  std::vector<HostTensor> of_layers_;
};

void Engine::load_frozen(const ModelFiles& files) {
  frozen_.clear();
  warn_if_weights_are_large();
  HeldScales scales;
  for (const FrozenParameter& parameter : frozen_parameters(options_.model)) {
    if (scales.place(parameter, *this)) continue;
    bool copied = parameter.stacked || devices_.size() > 1 || parameter.part == HeldPart::kCodes;
    frozen_.push_back(place_frozen(parameter, [&](size_t layer) {
      if (layer > 0) files.release(parameter.sources[layer - 1]);
      if (parameter.part == HeldPart::kCodes)
        return scales.keep(files.read_quantised(parameter.sources[layer], *parameter.quantisation), layer);
      HostTensor tensor = files.read(parameter.sources[layer], parameter.dtype);
      if (auto at = first_not_finite(tensor)) {
        if (parameter.dtype == DType::kF16)
          fail(
              "{}: {}: element {} is beyond 65504, where float16 ends, or is no number at all: take model.dtype: "
              "float32",
              files.path().string(), parameter.sources[layer], *at);
        fail("{}: {}: element {} is not a finite number (NaN or infinity): the file is damaged, or not meant for {}",
             files.path().string(), parameter.sources[layer], *at, dtype_name(parameter.dtype));
      }
      copied = copied || !tensor.is_view();
      return tensor;
    }));
    // A tensor that the one device uses where it is mapped keeps its pages.
    if (copied) files.release(parameter.sources.back());
  }
}

void Engine::warn_if_weights_are_large() const {
  if (!traits_.is_host) return;
  size_t bytes = 0;
  for (const FrozenParameter& parameter : frozen_parameters(options_.model))
    bytes += static_cast<size_t>(num_elements(parameter.shape)) * byte_size(parameter.dtype);
  warn_if_short_of_memory(bytes, "the base weights",
                          options_.model.storage().is_narrow() ? "take a smaller model"
                          : options_.model.dtype == DType::kBF16
                              ? "take a smaller model, or model.dtype: int8, which holds it in half as much"
                              : "take a smaller model, or model.dtype: bfloat16 or int8");
}

void Engine::random_frozen(uint64_t seed) {
  frozen_.clear();
  warn_if_weights_are_large();
  uint64_t stream = seed;
  // A uniform of the same variance as the initialiser's normal: only the size of the numbers matters here.
  double width = options_.model.spec.initializer_range * 2 * std::numbers::sqrt3;
  HeldScales scales;
  for (const FrozenParameter& parameter : frozen_parameters(options_.model)) {
    if (scales.place(parameter, *this)) continue;
    // As files hold them: what norms multiply by is 1.
    const bool is_norm = parameter.tensor.role == TensorRole::kNorm;
    const auto one = static_cast<float>(1 - options_.model.spec.norm.offset);
    stream = mix64(stream);
    const Shape& shape = parameter.whole;
    auto count = static_cast<size_t>(num_elements(shape));
    frozen_.push_back(place_frozen(parameter, [&](size_t layer) {
      // Codes are made of whole blocks of float32 numbers.
      const bool coded = parameter.part == HeldPart::kCodes;
      const DType dtype = coded ? DType::kF32 : parameter.dtype;
      HostTensor value(dtype, shape);
      auto* const bytes = static_cast<char*>(value.mutable_data());
      // Each number is a function of its place, so that the threads' pieces are those of one thread.
      parallel_for(count, size_t{1} << 18, 0, [&](size_t begin, size_t end) {
        HostTensor piece(DType::kF32, {static_cast<int64_t>(end - begin)});
        auto numbers = piece.as_mutable<float>();
        for (size_t i = begin; i < end; ++i)
          numbers[i - begin] =
              is_norm ? one : static_cast<float>(width * (random_uniform(stream, layer * count + i) - 0.5));
        const HostTensor converted = piece.to(dtype);
        std::memcpy(bytes + begin * byte_size(dtype), converted.data(), converted.bytes());
      });
      return coded ? scales.keep(quantise(value, *parameter.quantisation), layer) : value;
    }));
  }
}

void Engine::set_trainable(const std::vector<HostTensor>& values) {
  TrainedState state{values, {}, {}};
  for (const HostTensor& value : values) state.m.emplace_back(DType::kF32, value.shape());
  state.v = state.m;
  set_state(state);
}

void Engine::set_state(const TrainedState& state) {
  auto place = [&](const std::vector<HostTensor>& values) {
    if (values.size() != trained_.size())
      fail("engine: {} trainable tensors expected, {} given", trained_.size(), values.size());
    Arrays placed;
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i].shape() != trained_[i].shape)
        fail("engine: {} has shape {}, expected {}", trained_[i].name, to_string(values[i].shape()),
             to_string(trained_[i].shape));
      placed.push_back(devices_.to_devices(values[i], trainable_axes_[i]));
    }
    return placed;
  };
  trainable_ = place(state.weights);
  m_ = place(state.m);
  v_ = place(state.v);
  HostTensor stats(DType::kF32, {options_.stat_count()});
  auto stat = [&](Stat which) -> float& { return stats.as_mutable<float>()[static_cast<size_t>(which)]; };
  stat(Stat::kApplied) = 1;  // as after a good step
  if (options_.scales_loss()) {
    const LossScaleState scale = state.loss_scale.value_or(LossScaleState{options_.loss_scaling.initial, 0});
    stat(Stat::kLossScale) = static_cast<float>(scale.scale);
    stat(Stat::kGoodSteps) = static_cast<float>(scale.good_steps);
  }
  stats_ = devices_.to_devices(stats);
}

std::vector<HostTensor> Engine::trainable_to_host(const Arrays& arrays) {
  std::vector<HostTensor> values;
  if (!devices_.is_whole()) {
    // Other processes hold parts of what is split.
    const EngineProgram& gather = compiled("gather", [&] { return gather_program(options_); });
    Arguments arguments;
    append(arguments, arrays);
    for (ShardedArray& array : execute(gather, arguments)) values.push_back(first(array).to_host());
    return values;
  }
  for (size_t i = 0; i < trained_.size(); ++i)
    values.push_back(devices_.to_host(arrays[i], trainable_axes_[i], trained_[i].shape));
  return values;
}

std::vector<HostTensor> Engine::trainable() {
  return trainable_to_host(trainable_);
}

TrainedState Engine::state() {
  TrainedState state{trainable_to_host(trainable_), trainable_to_host(m_), trainable_to_host(v_)};
  if (!options_.scales_loss()) return state;
  const HostTensor stats = first(stats_).to_host();
  auto stat = [&](Stat which) { return stats.as<float>()[static_cast<size_t>(which)]; };
  state.loss_scale = {stat(Stat::kLossScale), stat(Stat::kGoodSteps)};
  return state;
}

EngineProgram Engine::compile(ProgramText text) {
  // On the CPU the temporaries are this process's memory, kept when freed. The compiler must not come on top of them, nor
  // stay beside them, nor each program (one for every length of batch) have a block of its own size.
  if (traits_.is_host) release_freed_memory();
  pjrt::CompileOptions compile = devices_.compile_options();
  compile.overrides.merge(traits_.compile_overrides(options_.model.deterministic));
  auto result = pjrt::compile_cached(devices_.client(), text.text, compile, {cache_}, text.name);
  if (traits_.is_host) {
    const int64_t temporaries = result.executable.memory().temporaries;
    if (temporaries > largest_temporaries_)
      warn_if_short_of_memory(
          static_cast<size_t>(temporaries) * devices_.size(), "the temporaries of " + text.name,
          "take a smaller train.batch_size, with more train.gradient_accumulation, or a smaller data.max_length");
    largest_temporaries_ = std::max(largest_temporaries_, temporaries);
    release_freed_memory_but_reserve(static_cast<size_t>(largest_temporaries_) * devices_.size());
  }
  return {std::move(result.executable), std::move(text.flops_by_op), result.hit, result.seconds};
}

template <class Make>
const EngineProgram& Engine::compiled(const std::string& key, Make make) {
  auto found = programs_.find(key);
  if (found != programs_.end()) return found->second;
  return programs_.emplace(key, compile(make())).first->second;
}

template <class Make>
const EngineProgram& Engine::compiled_step(const std::string& key, const StepOptions& options, double waiting,
                                           Make make) {
  if (auto found = programs_.find(key); found != programs_.end()) return found->second;
  const int64_t limit = devices_.client().memory(devices_.client().devices().front()).limit;
  const std::vector<Recompute> candidates = recompute_candidates(options);
  for (Recompute recompute : candidates) {
    const bool last = recompute == candidates.back();
    StepOptions tried = options;
    tried.model.recompute = recompute;
    const ProgramText text = make(tried);
    try {
      EngineProgram program = compile(text);
      if (!last && limit > 0 &&
          bytes_needed(program.executable.memory(), waiting) > kShareToPlan * static_cast<double>(limit))
        continue;
      if ((options.chooses_recompute || recompute != Recompute::kAll) && told_recompute_ != recompute &&
          options.model.form == LayerForm::kScan) {
        told_recompute_ = recompute;
        tried.model.recompute = Recompute::kAll;
        spdlog::info("{}", describe_recompute(recompute, options.chooses_recompute, text, make(tried)));
      }
      return programs_.emplace(key, std::move(program)).first->second;
    } catch (const pjrt::PjrtError& error) {
      if (last || !is_out_of_memory(error.what())) throw;
    }
  }
  fail("engine: no program for {}", key);
}

double Engine::optimizer_bytes() const {
  double bytes = 0;
  for (size_t i = 0; i < trained_.size(); ++i)
    bytes +=
        2 * sizeof(float) *
        static_cast<double>(num_elements(shard_of(devices_.mesh(), trainable_axes_[i], trained_[i].shape, 0).shape));
  return bytes;
}

const EngineProgram& Engine::train_program(const BatchShape& shape) {
  return train_program(shape, false);
}

const EngineProgram& Engine::train_program(const BatchShape& shape, bool head_only) {
  return compiled_step(key_of(head_only ? "train-head" : "train", shape), head_only ? head_only_options_ : options_, 0,
                       [&](const StepOptions& options) { return train_step_program(options, shape); });
}

const EngineProgram& Engine::accumulation_program(const BatchShape& shape, bool head_only) {
  // The optimizer's state waits beside the program.
  return compiled_step(key_of(head_only ? "accumulate-head" : "accumulate", shape),
                       head_only ? head_only_options_ : options_, optimizer_bytes(),
                       [&](const StepOptions& options) { return accumulate_program(options, shape); });
}

std::optional<double> Engine::step_bytes(const BatchShape& shape, bool accumulates) {
  try {
    const EngineProgram& program = accumulates ? accumulation_program(shape, false) : train_program(shape);
    return bytes_needed(program.executable.memory(), accumulates ? optimizer_bytes() : 0);
  } catch (const pjrt::PjrtError& error) {
    if (!is_out_of_memory(error.what())) throw;
    return std::nullopt;
  }
}

const EngineProgram& Engine::evaluation_program(const BatchShape& shape) {
  return compiled(key_of("evaluate", shape), [&] { return evaluate_program(options_, shape); });
}

void Engine::await_freed_temporaries() const {
  if (!allocated_before_) return;
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  while (allocated_memory().value_or(0) > *allocated_before_ + sent_temporaries_ / 2 &&
         std::chrono::steady_clock::now() < give_up)
    std::this_thread::sleep_for(std::chrono::microseconds(50));
}

Engine::Arrays Engine::execute(const EngineProgram& program, const std::vector<const ShardedArray*>& arguments) {
  if (traits_.is_host) {
    await_freed_temporaries();
    sent_temporaries_ = static_cast<size_t>(program.executable.memory().temporaries) * devices_.size();
    // Of less than this the rest of the program's memory tells nothing.
    allocated_before_ = sent_temporaries_ > (64 << 20) ? allocated_memory() : std::nullopt;
  }
  return devices_.execute(program.executable, arguments);
}

ShardedArray Engine::upload_scalars(const StepScalars& scalars) const {
  return devices_.to_devices(to_tensor(scalars));
}

Engine::Arrays Engine::upload(const Batch& batch, uint32_t dropout_key, bool training) const {
  int64_t parts = devices_.mesh().batch_parts(), sequences = batch.input_ids.shape()[0];
  if (sequences % parts != 0)
    fail("engine: a batch of {} sequences can't be shared out over the {} parts of mesh {}; set sequence_multiple",
         sequences, parts, to_string(devices_.mesh()));
  Arrays arrays;
  for (const BatchArgument& argument : batch_arguments(options_, shape_of(batch), training))
    arrays.push_back(devices_.to_devices(batch.*argument.source, argument.axes));
  arrays.push_back(devices_.to_devices(HostTensor::from<uint32_t>({dropout_key}, {})));
  return arrays;
}

PendingStats Engine::keep_trained(Arrays& outputs) {
  size_t at = 0, count = trainable_.size();
  trainable_ = take_outputs(outputs, at, count);
  m_ = take_outputs(outputs, at, count);
  v_ = take_outputs(outputs, at, count);
  stats_ = std::move(outputs[at]);
  return PendingStats(first(stats_).to_host_async());
}

PendingStats Engine::train_step(std::span<const Batch> micro_batches, int64_t step, double learning_rate,
                                double total_weight, uint64_t seed) {
  if (micro_batches.empty()) fail("engine: a step without batches");
  ShardedArray scalars = upload_scalars(step_scalars(options_.adam, step, learning_rate, total_weight));
  uint32_t key = dropout_key(seed, step);
  const bool head_only = step < options_.rates.head_only_steps;
  const StepOptions& options = head_only ? head_only_options_ : options_;
  Arrays rates;  // one array, or none
  if (!options_.rates.alike()) rates.push_back(devices_.to_devices(rates_.values(options_.adam, step, learning_rate)));

  if (micro_batches.size() == 1) {
    const EngineProgram& step_program = train_program(shape_of(micro_batches[0]), head_only);
    Arrays batch = upload(micro_batches[0], key, true);
    Arguments arguments;
    for (const auto* group : {&frozen_, &trainable_, &m_, &v_}) append(arguments, *group);
    arguments.push_back(&stats_);
    arguments.push_back(&scalars);
    append(arguments, rates);
    append(arguments, batch);
    auto outputs = execute(step_program, arguments);
    return keep_trained(outputs);
  }

  const size_t count = trainable_.size();
  auto none_yet = execute(compiled("zeros", [&] { return zeros_program(options_); }), {});
  size_t next = 0;
  Arrays gradients = take_outputs(none_yet, next, count);
  ShardedArray sums = std::move(none_yet[next]);
  for (const Batch& micro : micro_batches) {
    const EngineProgram& accumulate = accumulation_program(shape_of(micro), head_only);
    Arrays batch = upload(micro, key, true);
    Arguments arguments;
    for (const auto* group : {&frozen_, &trainable_, &gradients}) append(arguments, *group);
    arguments.push_back(&sums);
    if (options.scales_loss()) arguments.push_back(&stats_);
    arguments.push_back(&scalars);
    append(arguments, batch);
    auto outputs = execute(accumulate, arguments);
    size_t at = 0;
    gradients = take_outputs(outputs, at, count);
    sums = std::move(outputs[at]);
    if (traits_.is_host) first(sums).wait();  // the plugin takes the memory of whatever is sent at once
  }
  const EngineProgram& apply = compiled(head_only ? "apply-head" : "apply", [&] { return apply_program(options); });
  Arguments arguments;
  for (const auto* group : {&trainable_, &m_, &v_, &gradients}) append(arguments, *group);
  arguments.push_back(&stats_);
  arguments.push_back(&sums);
  arguments.push_back(&scalars);
  append(arguments, rates);
  auto outputs = execute(apply, arguments);
  return keep_trained(outputs);
}

PendingEvaluation Engine::start_evaluation(const Batch& batch) {
  const EngineProgram& evaluate = evaluation_program(shape_of(batch));
  Arrays uploaded = upload(batch, 0, false);
  Arguments arguments;
  for (const auto* group : {&frozen_, &trainable_, &uploaded}) append(arguments, *group);
  auto outputs = execute(evaluate, arguments);
  return {first(outputs[0]).to_host_async(), first(outputs[1]).to_host_async()};
}

std::pair<std::vector<HostTensor>, HostTensor> Engine::gradients(const Batch& batch, uint64_t seed) {
  BatchShape shape = shape_of(batch);
  const EngineProgram& program =
      compiled(key_of("gradients", shape), [&] { return gradients_program(options_, shape); });
  double weight = 0;
  for (float w : batch.weights.as<float>()) weight += w;
  ShardedArray scalars = upload_scalars(step_scalars(options_.adam, 0, 0, weight));
  Arrays uploaded = upload(batch, dropout_key(seed, 0), true);
  Arguments arguments;
  for (const auto* group : {&frozen_, &trainable_}) append(arguments, *group);
  arguments.push_back(&scalars);
  append(arguments, uploaded);
  auto outputs = execute(program, arguments);
  size_t at = 0;
  Arrays found = take_outputs(outputs, at, trainable_.size());
  return {trainable_to_host(found), first(outputs[at]).to_host()};
}

}  // namespace gavel

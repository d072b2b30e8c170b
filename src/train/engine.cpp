#include "train/engine.h"

#include <cmath>
#include <cstring>
#include <numbers>

#include "base/random.h"
#include "pjrt/compile_cache.h"

namespace gavel {

namespace {

/** Stacks the sources of one parameter, converted, into host memory that the device may use in place. */
HostTensor gather_parameter(const ModelFiles& files, const FrozenParameter& parameter, DType dtype) {
  if (parameter.sources.size() == 1 && parameter.sources[0] == parameter.name)
    return files.read(parameter.name, dtype);
  HostTensor whole(dtype, parameter.shape);
  size_t bytes = whole.bytes() / parameter.sources.size();
  for (size_t i = 0; i < parameter.sources.size(); ++i)
    std::memcpy(static_cast<char*>(whole.mutable_data()) + i * bytes,
                files.read(parameter.sources[i], dtype).data(), bytes);
  return whole;
}

std::string key_of(const char* name, const BatchShape& s) {
  return fmt::format("{} {} {} {}", name, s.sequences, s.length, s.rows);
}

}  // namespace

BatchShape shape_of(const Batch& batch) {
  return {batch.input_ids.shape()[0], batch.input_ids.shape()[1], batch.last_index.shape()[0]};
}

bool PendingStats::ready() const {
  for (const auto& part : parts_)
    if (!part.ready()) return false;
  return true;
}

PendingStats::Sums PendingStats::get() {
  Sums sums;
  for (auto& part : parts_) {
    HostTensor tensor = part.get();
    auto values = tensor.as<float>();
    if (values.size() == 1) {
      sums.gradient_norm = values[0];
      continue;
    }
    sums.loss += values[0];
    sums.correct += values[1];
    if (parts_.size() == 1) sums.gradient_norm = values[2];
  }
  return sums;
}

Engine::Engine(std::shared_ptr<pjrt::Client> client, StepOptions options, std::filesystem::path cache)
    : client_(std::move(client)), options_(std::move(options)), cache_(std::move(cache)) {}

void Engine::load_frozen(const ModelFiles& files) {
  frozen_.clear();
  for (const FrozenParameter& parameter : frozen_parameters(options_.model)) {
    HostTensor value = gather_parameter(files, parameter, options_.model.dtype);
    frozen_.push_back(client_->to_device(value, 0, pjrt::HostMemory::kShare));
  }
}

void Engine::random_frozen(uint64_t seed) {
  frozen_.clear();
  uint64_t stream = seed;
  for (const FrozenParameter& parameter : frozen_parameters(options_.model)) {
    HostTensor value(DType::kF32, parameter.shape);
    auto numbers = value.as_mutable<float>();
    bool is_norm = parameter.name.find("norm.weight") != std::string::npos;
    stream = mix64(stream);
    // A uniform of the same variance as the initialiser's normal: only the size of the numbers matters here.
    double width = options_.model.config.initializer_range * 2 * std::numbers::sqrt3;
    for (size_t i = 0; i < numbers.size(); ++i)
      numbers[i] = is_norm ? 1.0f : static_cast<float>(width * (random_uniform(stream, i) - 0.5));
    frozen_.push_back(client_->to_device(value.to(options_.model.dtype), 0, pjrt::HostMemory::kShare));
  }
}

void Engine::set_trainable(const std::vector<HostTensor>& values) {
  auto specs = trainable_parameters(options_.model.config, options_.model.lora, options_.model.num_labels);
  if (values.size() != specs.size())
    fail("engine: {} trainable tensors expected, {} given", specs.size(), values.size());
  trainable_.clear();
  m_.clear();
  v_.clear();
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].shape() != specs[i].shape)
      fail("engine: {} has shape {}, expected {}", specs[i].name, to_string(values[i].shape()),
           to_string(specs[i].shape));
    trainable_.push_back(client_->to_device(values[i]));
    HostTensor zeros(DType::kF32, values[i].shape());
    m_.push_back(client_->to_device(zeros));
    v_.push_back(client_->to_device(zeros));
  }
}

std::vector<HostTensor> Engine::trainable() const {
  std::vector<HostTensor> values;
  for (const pjrt::Buffer& buffer : trainable_) values.push_back(buffer.to_host());
  return values;
}

template <class Make>
const EngineProgram& Engine::compiled(const std::string& key, Make make) {
  auto found = programs_.find(key);
  if (found != programs_.end()) return found->second;
  ProgramText text = make();
  auto result = pjrt::compile_cached(*client_, text.text, {}, {cache_}, text.name);
  return programs_
      .emplace(key, EngineProgram{std::move(result.executable), std::move(text.flops_by_op), result.hit, result.seconds})
      .first->second;
}

const EngineProgram& Engine::train_program(const BatchShape& shape) {
  return compiled(key_of("train", shape), [&] { return train_step_program(options_, shape); });
}

const EngineProgram& Engine::evaluation_program(const BatchShape& shape) {
  return compiled(key_of("evaluate", shape), [&] { return evaluate_program(options_, shape); });
}

std::vector<pjrt::Buffer> Engine::upload(const Batch& batch, uint32_t dropout_key) {
  std::vector<pjrt::Buffer> buffers;
  for (const HostTensor* tensor : {&batch.input_ids, &batch.positions, &batch.segment_ids,
                                   &batch.dropout_rows, &batch.last_index, &batch.labels, &batch.weights})
    buffers.push_back(client_->to_device(*tensor));
  buffers.push_back(client_->to_device(HostTensor::from<uint32_t>({dropout_key}, {})));
  return buffers;
}

namespace {

void append(pjrt::Executable::Arguments& arguments, const std::vector<pjrt::Buffer>& buffers) {
  for (const pjrt::Buffer& buffer : buffers) arguments.push_back(&buffer);
}

/** Moves the next `count` outputs out. */
std::vector<pjrt::Buffer> take_outputs(std::vector<pjrt::Buffer>& outputs, size_t& at, size_t count) {
  std::vector<pjrt::Buffer> taken;
  for (size_t i = 0; i < count; ++i) taken.push_back(std::move(outputs[at++]));
  return taken;
}

/** A different number for every step; the layers' masks are drawn from it. */
uint32_t dropout_key(uint64_t seed, int64_t step) {
  return static_cast<uint32_t>(random_bits(mix64(seed) ^ 0xd10u, static_cast<uint64_t>(step)));
}

}  // namespace

void Engine::keep_trained(std::vector<pjrt::Buffer>& outputs) {
  size_t at = 0, count = trainable_.size();
  trainable_ = take_outputs(outputs, at, count);
  m_ = take_outputs(outputs, at, count);
  v_ = take_outputs(outputs, at, count);
}

PendingStats Engine::train_step(std::span<const Batch> micro_batches, int64_t step, double learning_rate,
                                double total_weight, uint64_t seed) {
  if (micro_batches.empty()) fail("engine: a step without batches");
  pjrt::Buffer scalars =
      client_->to_device(to_tensor(step_scalars(options_.adam, step, learning_rate, total_weight)));
  uint32_t key = dropout_key(seed, step);
  const size_t count = trainable_.size();
  std::vector<pjrt::HostTransfer> stats;

  if (micro_batches.size() == 1) {
    const pjrt::Executable& step_program = train_program(shape_of(micro_batches[0])).executable;
    std::vector<pjrt::Buffer> batch = upload(micro_batches[0], key);
    pjrt::Executable::Arguments arguments;
    for (const auto* group : {&frozen_, &trainable_, &m_, &v_}) append(arguments, *group);
    arguments.push_back(&scalars);
    append(arguments, batch);
    auto outputs = step_program.run(arguments);
    keep_trained(outputs);
    stats.push_back(outputs[3 * count].to_host_async());
    return PendingStats(std::move(stats));
  }

  std::vector<pjrt::Buffer> gradients;
  for (const pjrt::Buffer& buffer : trainable_)
    gradients.push_back(client_->to_device(HostTensor(DType::kF32, buffer.shape())));
  for (const Batch& micro : micro_batches) {
    BatchShape shape = shape_of(micro);
    const pjrt::Executable& accumulate =
        compiled(key_of("accumulate", shape), [&] { return accumulate_program(options_, shape); }).executable;
    std::vector<pjrt::Buffer> batch = upload(micro, key);
    pjrt::Executable::Arguments arguments;
    for (const auto* group : {&frozen_, &trainable_, &gradients}) append(arguments, *group);
    arguments.push_back(&scalars);
    append(arguments, batch);
    auto outputs = accumulate.run(arguments);
    size_t at = 0;
    gradients = take_outputs(outputs, at, count);
    stats.push_back(outputs[at].to_host_async());
  }
  const pjrt::Executable& apply = compiled("apply", [&] { return apply_program(options_); }).executable;
  pjrt::Executable::Arguments arguments;
  for (const auto* group : {&trainable_, &m_, &v_, &gradients}) append(arguments, *group);
  arguments.push_back(&scalars);
  auto outputs = apply.run(arguments);
  keep_trained(outputs);
  stats.push_back(outputs[3 * count].to_host_async());
  return PendingStats(std::move(stats));
}

PendingEvaluation Engine::start_evaluation(const Batch& batch) {
  const pjrt::Executable& evaluate = evaluation_program(shape_of(batch)).executable;
  std::vector<pjrt::Buffer> uploaded = upload(batch, 0);
  pjrt::Executable::Arguments arguments;
  for (const auto* group : {&frozen_, &trainable_, &uploaded}) append(arguments, *group);
  auto outputs = evaluate.run(arguments);
  return {outputs[0].to_host_async(), outputs[1].to_host_async()};
}

std::pair<std::vector<HostTensor>, HostTensor> Engine::gradients(const Batch& batch, uint64_t seed) {
  BatchShape shape = shape_of(batch);
  const pjrt::Executable& program =
      compiled(key_of("gradients", shape), [&] { return gradients_program(options_, shape); }).executable;
  double weight = 0;
  for (float w : batch.weights.as<float>()) weight += w;
  pjrt::Buffer scalars = client_->to_device(to_tensor(step_scalars(options_.adam, 0, 0, weight)));
  std::vector<pjrt::Buffer> uploaded = upload(batch, dropout_key(seed, 0));
  pjrt::Executable::Arguments arguments;
  for (const auto* group : {&frozen_, &trainable_}) append(arguments, *group);
  arguments.push_back(&scalars);
  append(arguments, uploaded);
  auto outputs = program.run(arguments);
  std::vector<HostTensor> values;
  for (size_t i = 0; i < trainable_.size(); ++i) values.push_back(outputs[i].to_host());
  return {std::move(values), outputs[trainable_.size() + 1].to_host()};
}

}  // namespace gavel

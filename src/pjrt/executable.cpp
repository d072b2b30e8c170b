#include "pjrt/executable.h"

#include <algorithm>

#include "pjrt/api.h"
#include "pjrt/client.h"

namespace gavel::pjrt {

namespace {

PJRT_Executable* get_executable(const Client& client, PJRT_LoadedExecutable* loaded, std::string_view name) {
  auto args = make_args<PJRT_LoadedExecutable_GetExecutable_Args>();
  args.loaded_executable = loaded;
  call(client.plugin(), &PJRT_Api::PJRT_LoadedExecutable_GetExecutable, args,
       fmt::format("{}: reading the compiled program", name));
  return args.executable;
}

}  // namespace

Program::Program(std::shared_ptr<const Plugin> plugin, PJRT_Executable* handle, std::string name)
    : plugin_(std::move(plugin)), handle_(handle), name_(std::move(name)) {}

Program::Program(Program&& other) noexcept
    : plugin_(std::move(other.plugin_)),
      handle_(std::exchange(other.handle_, nullptr)),
      name_(std::move(other.name_)) {}

Program& Program::operator=(Program&& other) noexcept {
  std::swap(plugin_, other.plugin_);
  std::swap(handle_, other.handle_);
  std::swap(name_, other.name_);
  return *this;
}

Program::~Program() {
  if (handle_ == nullptr) return;
  auto args = make_args<PJRT_Executable_Destroy_Args>();
  args.executable = handle_;
  call_quietly(*plugin_, &PJRT_Api::PJRT_Executable_Destroy, args);
}

size_t Program::num_outputs() const {
  auto args = make_args<PJRT_Executable_NumOutputs_Args>();
  args.executable = handle_;
  call(*plugin_, &PJRT_Api::PJRT_Executable_NumOutputs, args, fmt::format("{}: counting outputs", name_));
  return args.num_outputs;
}

size_t Program::num_partitions() const {
  auto args = make_args<PJRT_Executable_NumPartitions_Args>();
  args.executable = handle_;
  call(*plugin_, &PJRT_Api::PJRT_Executable_NumPartitions, args, fmt::format("{}: counting partitions", name_));
  return args.num_partitions;
}

std::vector<OutputSpec> Program::outputs() const {
  std::string context = fmt::format("{}: reading output shapes", name_);
  auto types = make_args<PJRT_Executable_OutputElementTypes_Args>();
  types.executable = handle_;
  call(*plugin_, &PJRT_Api::PJRT_Executable_OutputElementTypes, types, context);
  auto shapes = make_args<PJRT_Executable_OutputDimensions_Args>();
  shapes.executable = handle_;
  call(*plugin_, &PJRT_Api::PJRT_Executable_OutputDimensions, shapes, context);
  std::vector<OutputSpec> specs;
  const int64_t* next = shapes.dims;
  for (size_t i = 0; i < std::min(shapes.num_outputs, types.num_output_types); ++i) {
    OutputSpec spec;
    spec.dtype = from_pjrt(*plugin_, types.output_types[i], context);
    spec.shape.assign(next, next + shapes.dim_sizes[i]);
    next += shapes.dim_sizes[i];
    specs.push_back(std::move(spec));
  }
  return specs;
}

MemoryStats Program::memory() const {
  auto args = make_args<PJRT_Executable_GetCompiledMemoryStats_Args>();
  args.executable = handle_;
  call(*plugin_, &PJRT_Api::PJRT_Executable_GetCompiledMemoryStats, args,
       fmt::format("{}: reading memory statistics", name_));
  MemoryStats stats;
  stats.generated_code = args.generated_code_size_in_bytes;
  stats.arguments = args.argument_size_in_bytes;
  stats.outputs = args.output_size_in_bytes;
  stats.aliased = args.alias_size_in_bytes;
  stats.temporaries = args.temp_size_in_bytes;
  stats.host_temporaries = args.host_temp_size_in_bytes;
  stats.peak = args.peak_memory_in_bytes;
  return stats;
}

std::optional<Program::Optimized> Program::optimized() const {
  auto program = make_args<PJRT_Program>();
  auto args = make_args<PJRT_Executable_OptimizedProgram_Args>();
  args.executable = handle_;
  args.program = &program;
  std::string context = fmt::format("{}: reading the optimised program", name_);
  try {
    // First the size, then the code into our memory.
    call(*plugin_, &PJRT_Api::PJRT_Executable_OptimizedProgram, args, context);
    Optimized result{std::string(program.format, program.format_size), std::string(program.code_size, '\0')};
    program.code = result.code.data();
    call(*plugin_, &PJRT_Api::PJRT_Executable_OptimizedProgram, args, context);
    return result;
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string Program::serialize() const {
  auto args = make_args<PJRT_Executable_Serialize_Args>();
  args.executable = handle_;
  call(*plugin_, &PJRT_Api::PJRT_Executable_Serialize, args, fmt::format("{}: serialising", name_));
  struct Deleter {
    PJRT_Executable_Serialize_Args& args;
    ~Deleter() {
      if (args.serialized_executable_deleter) args.serialized_executable_deleter(args.serialized_executable);
    }
  } deleter{args};
  return std::string(args.serialized_bytes, args.serialized_bytes_size);
}

Executable::Executable(std::shared_ptr<const Client> client, PJRT_LoadedExecutable* handle, std::string_view mlir,
                       std::string name)
    : client_(std::move(client)),
      handle_(handle),
      program_(client_->shared_plugin(), get_executable(*client_, handle, name), name) {
  num_outputs_ = program_.num_outputs();
  num_partitions_ = program_.num_partitions();
  if (!mlir.empty()) arguments_ = parse_arguments(mlir);
  auto args = make_args<PJRT_LoadedExecutable_AddressableDevices_Args>();
  args.executable = handle_;
  call(client_->plugin(), &PJRT_Api::PJRT_LoadedExecutable_AddressableDevices, args,
       fmt::format("{}: reading its devices", this->name()));
  for (size_t i = 0; i < args.num_addressable_devices; ++i)
    device_ids_.push_back(client_->device_id(args.addressable_devices[i]));
}

Executable::Executable(Executable&& other) noexcept
    : client_(std::move(other.client_)),
      handle_(std::exchange(other.handle_, nullptr)),
      program_(std::move(other.program_)),
      arguments_(std::move(other.arguments_)),
      device_ids_(std::move(other.device_ids_)),
      num_outputs_(other.num_outputs_),
      num_partitions_(other.num_partitions_) {}

Executable& Executable::operator=(Executable&& other) noexcept {
  std::swap(client_, other.client_);
  std::swap(handle_, other.handle_);
  program_ = std::move(other.program_);
  std::swap(arguments_, other.arguments_);
  std::swap(device_ids_, other.device_ids_);
  std::swap(num_outputs_, other.num_outputs_);
  std::swap(num_partitions_, other.num_partitions_);
  return *this;
}

Executable::~Executable() {
  if (handle_ == nullptr) return;
  auto args = make_args<PJRT_LoadedExecutable_Destroy_Args>();
  args.executable = handle_;
  call_quietly(client_->plugin(), &PJRT_Api::PJRT_LoadedExecutable_Destroy, args);
}

void Executable::check(const std::vector<Arguments>& arguments) const {
  if (handle_ == nullptr) fail("pjrt: execute of a program that was moved from");
  if (arguments.size() != device_ids_.size())
    fail("{}: expected argument lists for {} devices, found {}", name(), device_ids_.size(), arguments.size());
  for (size_t d = 0; d < arguments.size(); ++d) {
    size_t expected = arguments_ ? arguments_->size() : arguments[0].size();
    if (arguments[d].size() != expected)
      fail("{}: expected {} arguments, found {} (device {})", name(), expected, arguments[d].size(), device_ids_[d]);
    for (size_t i = 0; i < arguments[d].size(); ++i) {
      const Buffer* buffer = arguments[d][i];
      if (buffer == nullptr || !*buffer) fail("{}: argument {} is empty (device {})", name(), i, device_ids_[d]);
      if (buffer->is_deleted())
        fail("{}: argument {} was deleted, or donated to an earlier execution (device {})", name(), i, device_ids_[d]);
      if (buffer->device_id() != device_ids_[d])
        fail("{}: argument {} lies on device {}, expected device {}", name(), i, buffer->device_id(), device_ids_[d]);
      if (!arguments_) continue;
      const ArgumentSpec& spec = (*arguments_)[i];
      // A shard is at most as large as the whole in each dimension; without partitions it is the whole.
      bool fits = spec.dtype == buffer->dtype() && spec.shape.size() == buffer->shape().size();
      for (size_t k = 0; fits && k < spec.shape.size(); ++k)
        fits = num_partitions_ == 1 ? buffer->shape()[k] == spec.shape[k] : buffer->shape()[k] <= spec.shape[k];
      if (!fits)
        fail("{}: argument {} is declared as {} {}, found {} {} (device {})", name(), i, dtype_name(spec.dtype),
             to_string(spec.shape), dtype_name(buffer->dtype()), to_string(buffer->shape()), device_ids_[d]);
    }
  }
}

std::vector<Executable::Outputs> Executable::execute(const std::vector<Arguments>& arguments,
                                                     const ExecuteOptions& options, std::vector<Event>* done) const {
  check(arguments);
  size_t num_devices = device_ids_.size();
  std::vector<std::vector<PJRT_Buffer*>> handles(num_devices);
  std::vector<PJRT_Buffer* const*> argument_lists;
  for (size_t d = 0; d < num_devices; ++d) {
    for (const Buffer* buffer : arguments[d]) handles[d].push_back(buffer->handle());
    argument_lists.push_back(handles[d].data());
  }
  std::vector<std::vector<PJRT_Buffer*>> results(num_devices, std::vector<PJRT_Buffer*>(num_outputs_));
  std::vector<PJRT_Buffer**> output_lists;
  for (auto& list : results) output_lists.push_back(list.data());
  std::vector<PJRT_Event*> events(num_devices);

  auto execute_options = make_args<PJRT_ExecuteOptions>();
  execute_options.launch_id = options.launch_id;
  execute_options.non_donatable_input_indices = options.non_donatable.data();
  execute_options.num_non_donatable_input_indices = options.non_donatable.size();
  auto args = make_args<PJRT_LoadedExecutable_Execute_Args>();
  args.executable = handle_;
  args.options = &execute_options;
  args.argument_lists = argument_lists.data();
  args.num_devices = num_devices;
  args.num_args = arguments.empty() ? 0 : arguments[0].size();
  args.output_lists = output_lists.data();
  args.device_complete_events = done == nullptr ? nullptr : events.data();
  call(client_->plugin(), &PJRT_Api::PJRT_LoadedExecutable_Execute, args, fmt::format("{}: executing", name()));

  if (done != nullptr) {
    done->clear();
    for (PJRT_Event* event : events) done->emplace_back(client_, event, fmt::format("{}: running", name()));
  }
  std::vector<Outputs> outputs(num_devices);
  for (size_t d = 0; d < num_devices; ++d)
    for (PJRT_Buffer* buffer : results[d]) outputs[d].emplace_back(client_, buffer);
  return outputs;
}

Executable::Outputs Executable::run(const Arguments& arguments, const ExecuteOptions& options, Event* done) const {
  std::vector<Event> events;
  auto outputs = execute({arguments}, options, done == nullptr ? nullptr : &events);
  if (done != nullptr) *done = std::move(events.at(0));
  return std::move(outputs.at(0));
}

}  // namespace gavel::pjrt

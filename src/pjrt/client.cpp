#include "pjrt/client.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>

#include "base/log.h"
#include "base/random.h"
#include "pjrt/api.h"
#include "pjrt/cuda_libraries.h"
#include "pjrt/key_value_callbacks.h"
#include "pjrt/platform_options.h"

namespace gavel::pjrt {

namespace {

/** The first "model name" and "flags" lines: what a CPU program's machine code depends on. */
std::string cpu_features() {
  std::ifstream stream("/proc/cpuinfo");
  std::string text;
  std::string line;
  while (std::getline(stream, line) && !line.empty())
    if (line.starts_with("model name") || line.starts_with("flags") || line.starts_with("Features"))
      text += line + "\n";
  return text;
}

int cpu_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 0;
}

/** Before a client exists only the name can tell. */
bool is_cpu(const Plugin& plugin) {
  return plugin.name() == "cpu" || plugin.path().filename().string().find("cpu") != std::string::npos;
}

/** Holds the host memory of a transfer until the plugin is done with it. */
struct HostHold {
  std::shared_ptr<const Client> client;
  HostTensor tensor;
  PJRT_Event* event;
};

void release_host_hold(PJRT_Error* error, void* argument) {
  std::unique_ptr<HostHold> hold(static_cast<HostHold*>(argument));
  const Plugin& plugin = hold->client->plugin();
  discard(plugin.api(), error);  // a failed transfer also fails the buffer, where it is reported
  auto args = make_args<PJRT_Event_Destroy_Args>();
  args.event = hold->event;
  call_quietly(plugin, &PJRT_Api::PJRT_Event_Destroy, args);
}

}  // namespace

std::shared_ptr<Client> Client::create(std::shared_ptr<const Plugin> plugin, Options options,
                                       std::shared_ptr<KeyValueStore> store) {
  std::shared_ptr<Client> client(new Client(plugin));
  client->store_ = std::move(store);
  // The CPU plugin makes four devices when it is not told; every other plugin refuses the option.
  if (is_cpu(*plugin) && !options.contains("cpu_device_count")) options["cpu_device_count"] = int64_t{1};
  auto values = to_named_values(options);
  auto create = make_args<PJRT_Client_Create_Args>();
  create.create_options = values.data();
  create.num_options = values.size();
  if (client->store_) attach(create, *client->store_);
  call(*plugin, &PJRT_Api::PJRT_Client_Create, create, "creating a client");
  client->handle_ = create.client;

  auto name = make_args<PJRT_Client_PlatformName_Args>();
  name.client = client->handle_;
  call(*plugin, &PJRT_Api::PJRT_Client_PlatformName, name, "reading the platform's name");
  client->platform_name_.assign(name.platform_name, name.platform_name_size);
  auto version = make_args<PJRT_Client_PlatformVersion_Args>();
  version.client = client->handle_;
  call(*plugin, &PJRT_Api::PJRT_Client_PlatformVersion, version, "reading the platform's version");
  client->platform_version_.assign(version.platform_version, version.platform_version_size);
  auto process = make_args<PJRT_Client_ProcessIndex_Args>();
  process.client = client->handle_;
  call(*plugin, &PJRT_Api::PJRT_Client_ProcessIndex, process, "reading the process index");
  client->process_index_ = process.process_index;

  auto all = make_args<PJRT_Client_Devices_Args>();
  all.client = client->handle_;
  call(*plugin, &PJRT_Api::PJRT_Client_Devices, all, "listing devices");
  for (size_t i = 0; i < all.num_devices; ++i) client->global_devices_.push_back(client->describe(all.devices[i]));
  std::sort(client->global_devices_.begin(), client->global_devices_.end(),
            [](const Device& a, const Device& b) { return a.id < b.id; });
  auto own = make_args<PJRT_Client_AddressableDevices_Args>();
  own.client = client->handle_;
  call(*plugin, &PJRT_Api::PJRT_Client_AddressableDevices, own, "listing this process's devices");
  for (size_t i = 0; i < own.num_addressable_devices; ++i)
    client->devices_.push_back(client->describe(own.addressable_devices[i]));
  if (client->devices_.empty()) fail("{}: the plugin found no device of its kind on this machine", plugin->name());
  return client;
}

Client::~Client() {
  if (handle_ == nullptr) return;
  auto args = make_args<PJRT_Client_Destroy_Args>();
  args.client = handle_;
  call_quietly(*plugin_, &PJRT_Api::PJRT_Client_Destroy, args);
}

int capability_of(std::string_view text) {
  int major = 0, minor = 0;
  const char* end = text.data() + text.size();
  const auto [dot, error] = std::from_chars(text.data(), end, major);
  if (error != std::errc() || dot == end || *dot != '.') return 0;
  const auto [rest, minor_error] = std::from_chars(dot + 1, end, minor);
  if (minor_error != std::errc() || rest != end || major < 0 || major > 999 || minor < 0 || minor > 9) return 0;
  return 10 * major + minor;
}

Device Client::describe(PJRT_Device* handle) const {
  Device device;
  device.handle = handle;
  auto description = make_args<PJRT_Device_GetDescription_Args>();
  description.device = handle;
  call(*plugin_, &PJRT_Api::PJRT_Device_GetDescription, description, "describing a device");
  PJRT_DeviceDescription* of = description.device_description;
  auto id = make_args<PJRT_DeviceDescription_Id_Args>();
  id.device_description = of;
  call(*plugin_, &PJRT_Api::PJRT_DeviceDescription_Id, id, "reading a device's id");
  device.id = id.id;
  auto process = make_args<PJRT_DeviceDescription_ProcessIndex_Args>();
  process.device_description = of;
  call(*plugin_, &PJRT_Api::PJRT_DeviceDescription_ProcessIndex, process, "reading a device's process");
  device.process_index = process.process_index;
  auto kind = make_args<PJRT_DeviceDescription_Kind_Args>();
  kind.device_description = of;
  call(*plugin_, &PJRT_Api::PJRT_DeviceDescription_Kind, kind, "reading a device's kind");
  device.kind.assign(kind.device_kind, kind.device_kind_size);
  auto text = make_args<PJRT_DeviceDescription_ToString_Args>();
  text.device_description = of;
  call(*plugin_, &PJRT_Api::PJRT_DeviceDescription_ToString, text, "reading a device's description");
  device.description.assign(text.to_string, text.to_string_size);
  auto attributes = make_args<PJRT_DeviceDescription_Attributes_Args>();
  attributes.device_description = of;
  call(*plugin_, &PJRT_Api::PJRT_DeviceDescription_Attributes, attributes, "reading a device's attributes");
  for (size_t i = 0; i < attributes.num_attributes; ++i) {
    const PJRT_NamedValue& one = attributes.attributes[i];
    if (one.type == PJRT_NamedValue_kString && std::string_view(one.name, one.name_size) == "compute_capability")
      device.compute_capability = capability_of({one.string_value, one.value_size});
  }
  auto local = make_args<PJRT_Device_LocalHardwareId_Args>();
  local.device = handle;
  call(*plugin_, &PJRT_Api::PJRT_Device_LocalHardwareId, local, "reading a device's local id");
  device.local_hardware_id = local.local_hardware_id;
  return device;
}

const Device& Client::device(size_t index) const {
  if (index >= devices_.size())
    fail("{}: device {} was asked for, there are {}", plugin_->name(), index, devices_.size());
  return devices_[index];
}

int Client::device_id(PJRT_Device* handle) const {
  for (const Device& device : devices_)
    if (device.handle == handle) return device.id;
  return describe(handle).id;
}

DeviceMemory Client::memory(const Device& device) const {
  DeviceMemory memory;
  auto args = make_args<PJRT_Device_MemoryStats_Args>();
  args.device = device.handle;
  try {
    call(*plugin_, &PJRT_Api::PJRT_Device_MemoryStats, args, "reading memory statistics");
  } catch (const PjrtError& error) {
    if (error.code() == PJRT_Error_Code_UNIMPLEMENTED) return memory;
    throw;
  }
  memory.in_use = args.bytes_in_use;
  if (args.peak_bytes_in_use_is_set) memory.peak = args.peak_bytes_in_use;
  if (args.bytes_limit_is_set) memory.limit = args.bytes_limit;
  return memory;
}

Executable Client::compile(std::string_view mlir, const CompileOptions& options, std::string_view name) {
  const std::string code(mlir);
  CompileOptions known = options;
  for (const std::string& refused : refused_) known.preferences.erase(refused);
  for (;;) try {
      return compile_exactly(code, known, name);
    } catch (const PjrtError& error) {
      const std::string refused = drop_refused(known, error.what());
      if (refused.empty()) throw;
      refused_.insert(refused);
      spdlog::warn("plugin {}: it does not know the option {}, which makes programs faster; compiling without it",
                   plugin_->path().string(), refused);
    }
}

Executable Client::compile_exactly(const std::string& mlir, const CompileOptions& options, std::string_view name) {
  std::string encoded = encode(options);
  std::string code(mlir);  // the field is not const
  constexpr std::string_view kFormat = "mlir";
  auto program = make_args<PJRT_Program>();
  program.code = code.data();
  program.code_size = code.size();
  program.format = kFormat.data();
  program.format_size = kFormat.size();
  auto args = make_args<PJRT_Client_Compile_Args>();
  args.client = handle_;
  args.program = &program;
  args.compile_options = encoded.data();
  args.compile_options_size = encoded.size();
  call(*plugin_, &PJRT_Api::PJRT_Client_Compile, args, fmt::format("compiling {}", name));
  return Executable(shared_from_this(), args.executable, mlir, std::string(name));
}

Executable Client::deserialize(std::string_view serialized, std::string_view mlir, std::string_view name) {
  auto args = make_args<PJRT_Executable_DeserializeAndLoad_Args>();
  args.client = handle_;
  args.serialized_executable = serialized.data();
  args.serialized_executable_size = serialized.size();
  call(*plugin_, &PJRT_Api::PJRT_Executable_DeserializeAndLoad, args, fmt::format("loading compiled {}", name));
  return Executable(shared_from_this(), args.loaded_executable, mlir, std::string(name));
}

Buffer Client::to_device(const HostTensor& tensor, const Device& device, HostMemory use) {
  auto args = make_args<PJRT_Client_BufferFromHostBuffer_Args>();
  args.client = handle_;
  args.data = tensor.data();
  args.type = to_pjrt(tensor.dtype());
  args.dims = tensor.shape().data();
  args.num_dims = tensor.shape().size();
  args.host_buffer_semantics = use == HostMemory::kShare ? PJRT_HostBufferSemantics_kImmutableZeroCopy
                                                         : PJRT_HostBufferSemantics_kImmutableUntilTransferCompletes;
  args.device = device.handle;
  call(*plugin_, &PJRT_Api::PJRT_Client_BufferFromHostBuffer, args,
       fmt::format("copying {} {} to device {}", dtype_name(tensor.dtype()), to_string(tensor.shape()), device.id));
  auto hold = std::make_unique<HostHold>(HostHold{shared_from_this(), tensor, args.done_with_host_buffer});
  auto on_ready = make_args<PJRT_Event_OnReady_Args>();
  on_ready.event = args.done_with_host_buffer;
  on_ready.callback = release_host_hold;
  on_ready.user_arg = hold.get();
  Buffer buffer(shared_from_this(), args.buffer);
  if (args.done_with_host_buffer != nullptr) {
    HostHold* held = hold.release();  // before the call: the callback may run inside it
    try {
      call(*plugin_, &PJRT_Api::PJRT_Event_OnReady, on_ready, "watching a transfer");
    } catch (...) {
      delete held;
      throw;
    }
  }
  return buffer;
}

std::string Client::fingerprint() const {
  std::string text = fmt::format("{}\n{} {}\n{} global devices", plugin_->fingerprint(), platform_name_,
                                 platform_version_, global_devices_.size());
  for (const Device& device : devices_) text += fmt::format("\n{} {} {}", device.id, device.kind, device.process_index);
  text += fmt::format("\n{} threads", cpu_threads());
  for (const char* variable : {"NPROC", "PJRT_NPROC", "XLA_FLAGS", "LIBTPU_INIT_ARGS"})
    if (const char* value = std::getenv(variable)) text += fmt::format("\n{}={}", variable, value);
  if (platform_name_ == "cuda") text += "\n" + cuda_fingerprint(plugin_->path());
  return text + "\n" + cpu_features();
}

}  // namespace gavel::pjrt

#include "pjrt/topology.h"

#include "base/log.h"
#include "pjrt/api.h"
#include "pjrt/client.h"
#include "pjrt/platform_options.h"

namespace gavel::pjrt {

Topology Topology::create(std::shared_ptr<const Plugin> plugin, const std::string& name, const Options& options) {
  auto values = to_named_values(options);
  auto args = make_args<PJRT_TopologyDescription_Create_Args>();
  args.topology_name = name.data();
  args.topology_name_size = name.size();
  args.create_options = values.data();
  args.num_options = values.size();
  call(*plugin, &PJRT_Api::PJRT_TopologyDescription_Create, args, fmt::format("describing the hardware '{}'", name));
  return Topology(std::move(plugin), args.topology);
}

Topology Topology::of(std::shared_ptr<const Client> client) {
  auto args = make_args<PJRT_Client_TopologyDescription_Args>();
  args.client = client->handle();
  call(client->plugin(), &PJRT_Api::PJRT_Client_TopologyDescription, args, "describing the client's devices");
  Topology topology(client->shared_plugin(), args.topology);
  topology.client_ = std::move(client);
  return topology;
}

Topology::Topology(Topology&& other) noexcept
    : plugin_(std::move(other.plugin_)),
      client_(std::move(other.client_)),
      handle_(std::exchange(other.handle_, nullptr)) {}

Topology& Topology::operator=(Topology&& other) noexcept {
  std::swap(plugin_, other.plugin_);
  std::swap(client_, other.client_);
  std::swap(handle_, other.handle_);
  return *this;
}

Topology::~Topology() {
  if (handle_ == nullptr || client_) return;
  auto args = make_args<PJRT_TopologyDescription_Destroy_Args>();
  args.topology = handle_;
  call_quietly(*plugin_, &PJRT_Api::PJRT_TopologyDescription_Destroy, args);
}

std::string Topology::platform_name() const {
  auto args = make_args<PJRT_TopologyDescription_PlatformName_Args>();
  args.topology = handle_;
  call(*plugin_, &PJRT_Api::PJRT_TopologyDescription_PlatformName, args, "reading the topology's platform");
  return std::string(args.platform_name, args.platform_name_size);
}

std::vector<std::string> Topology::devices() const {
  auto args = make_args<PJRT_TopologyDescription_GetDeviceDescriptions_Args>();
  args.topology = handle_;
  call(*plugin_, &PJRT_Api::PJRT_TopologyDescription_GetDeviceDescriptions, args, "listing the topology's devices");
  std::vector<std::string> devices;
  for (size_t i = 0; i < args.num_descriptions; ++i) {
    auto text = make_args<PJRT_DeviceDescription_ToString_Args>();
    text.device_description = args.descriptions[i];
    call(*plugin_, &PJRT_Api::PJRT_DeviceDescription_ToString, text, "reading a device's description");
    devices.emplace_back(text.to_string, text.to_string_size);
  }
  return devices;
}

std::string Topology::device_kind() const {
  auto args = make_args<PJRT_TopologyDescription_GetDeviceDescriptions_Args>();
  args.topology = handle_;
  call(*plugin_, &PJRT_Api::PJRT_TopologyDescription_GetDeviceDescriptions, args, "listing the topology's devices");
  if (args.num_descriptions == 0) return "";
  auto kind = make_args<PJRT_DeviceDescription_Kind_Args>();
  kind.device_description = args.descriptions[0];
  call(*plugin_, &PJRT_Api::PJRT_DeviceDescription_Kind, kind, "reading a device's kind");
  return std::string(kind.device_kind, kind.device_kind_size);
}

Program Topology::compile(std::string_view mlir, const CompileOptions& options, std::string_view name) const {
  const std::string code(mlir);
  CompileOptions known = options;
  for (;;) try {
      return compile_exactly(code, known, name);
    } catch (const PjrtError& error) {
      const std::string refused = drop_refused(known, error.what());
      if (refused.empty()) throw;
      spdlog::warn("plugin {}: it does not know the option {}, which makes programs faster; compiling without it",
                   plugin_->path().string(), refused);
    }
}

Program Topology::compile_exactly(const std::string& mlir, const CompileOptions& options, std::string_view name) const {
  std::string encoded = encode(options);
  std::string code(mlir);  // the field is not const
  constexpr std::string_view kFormat = "mlir";
  auto program = make_args<PJRT_Program>();
  program.code = code.data();
  program.code_size = code.size();
  program.format = kFormat.data();
  program.format_size = kFormat.size();
  auto args = make_args<PJRT_Compile_Args>();
  args.topology = handle_;
  args.program = &program;
  args.compile_options = encoded.data();
  args.compile_options_size = encoded.size();
  call(*plugin_, &PJRT_Api::PJRT_Compile, args, fmt::format("compiling {} for absent hardware", name));
  return Program(plugin_, args.executable, std::string(name));
}

}  // namespace gavel::pjrt

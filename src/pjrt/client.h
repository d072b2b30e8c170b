#pragma once
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/key_value.h"
#include "pjrt/buffer.h"
#include "pjrt/compile_options.h"
#include "pjrt/executable.h"
#include "pjrt/plugin.h"

struct PJRT_Client;
struct PJRT_Device;

namespace gavel::pjrt {

/** One device of the run. Lives as long as its client. */
struct Device {
  PJRT_Device* handle = nullptr;
  int id = 0;  // global, as in device assignments
  int local_hardware_id = 0;
  int process_index = 0;
  std::string kind;         // "cpu", "NVIDIA H100 80GB HBM3", …
  std::string description;  // as the plugin prints it
  /** Of NVIDIA's GPUs, times ten: 90 for "9.0"; 0 for other devices. */
  int compute_capability = 0;
};

/** Device::compute_capability of a GPU's attribute: "9.0" → 90; 0 for a text of another form. */
int capability_of(std::string_view text);

/** Memory of one device in bytes; -1 where the plugin does not say. */
struct DeviceMemory {
  int64_t in_use = -1;
  int64_t peak = -1;
  int64_t limit = -1;
};

/** The devices of one plugin. Buffers, executables and events keep it alive. */
class Client : public std::enable_shared_from_this<Client> {
 public:
  /** Options depend on the plugin, which refuses names that it does not know. CPU: cpu_device_count (int64;
   * set to 1 here when not given, since the plugin's default is 4). CUDA: memory_fraction, preallocate,
   * visible_devices, …; with `store`, by which the processes of a run meet, also node_id and num_nodes. */
  static std::shared_ptr<Client> create(std::shared_ptr<const Plugin> plugin, Options options = {},
                                        std::shared_ptr<KeyValueStore> store = nullptr);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  const Plugin& plugin() const { return *plugin_; }
  const std::shared_ptr<const Plugin>& shared_plugin() const { return plugin_; }
  /** "cpu", "cuda", "tpu", as the plugin calls it. */
  const std::string& platform_name() const { return platform_name_; }
  const std::string& platform_version() const { return platform_version_; }
  int process_index() const { return process_index_; }
  /** The devices of this process, in the plugin's order. */
  const std::vector<Device>& devices() const { return devices_; }
  /** Devices of all processes, by id: the same list in each process. */
  const std::vector<Device>& global_devices() const { return global_devices_; }
  /** Whether this process can use the device. */
  bool is_own(const Device& device) const { return device.process_index == process_index_; }
  /** Throws Error when the index is not in range. */
  const Device& device(size_t index) const;
  /** Fields are -1 when the plugin does not report memory. */
  DeviceMemory memory(const Device& device) const;

  /** Compiles StableHLO text. `name` stands in error messages. Throws PjrtError with the compiler's text. Preferences that the
   * plugin does not know are left out, of which the first time tells a warning. */
  Executable compile(std::string_view mlir, const CompileOptions& options, std::string_view name = "program");
  /** Loads what Executable::serialize gave. `mlir` (the program's text) is used to check arguments at
   * execute; it may be empty. Throws PjrtError when the plugin refuses the bytes. */
  Executable deserialize(std::string_view serialized, std::string_view mlir, std::string_view name = "program");

  /** Starts the copy of `tensor` to `device` and returns at once; the tensor's memory is held until the copy
   * is done (or, for kShare, until the buffer is freed). */
  Buffer to_device(const HostTensor& tensor, const Device& device, HostMemory use = HostMemory::kCopy);
  Buffer to_device(const HostTensor& tensor, size_t device_index = 0, HostMemory use = HostMemory::kCopy) {
    return to_device(tensor, device(device_index), use);
  }

  /** Everything about the machine and the plugin that a compiled program depends on, for cache keys. */
  std::string fingerprint() const;

  PJRT_Client* handle() const { return handle_; }
  /** The id of a device handle that the plugin gave. */
  int device_id(PJRT_Device* handle) const;

 private:
  explicit Client(std::shared_ptr<const Plugin> plugin) : plugin_(std::move(plugin)) {}
  Device describe(PJRT_Device* handle) const;
  Executable compile_exactly(const std::string& mlir, const CompileOptions& options, std::string_view name);

  std::shared_ptr<const Plugin> plugin_;
  std::shared_ptr<KeyValueStore> store_;
  PJRT_Client* handle_ = nullptr;
  std::string platform_name_;
  std::string platform_version_;
  int process_index_ = 0;
  std::set<std::string> refused_;  // names of options that the plugin does not know
  std::vector<Device> devices_, global_devices_;
};

}  // namespace gavel::pjrt

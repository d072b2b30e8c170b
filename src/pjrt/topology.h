#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "pjrt/compile_options.h"
#include "pjrt/executable.h"
#include "pjrt/plugin.h"

struct PJRT_TopologyDescription;

namespace gavel::pjrt {

class Client;

/** A description of devices that need not be there, to compile for. */
class Topology {
 public:
  /** `name` and `options` depend on the plugin. TPU: "v3:2x2", "v5e:2x4"; CUDA: options target_config (text
   * of a GpuTargetConfigProto) and topology ("1x1x8"). Throws PjrtError when the plugin refuses. */
  static Topology create(std::shared_ptr<const Plugin> plugin, const std::string& name, const Options& options = {});
  /** The devices of a client, for plugins that describe no others (CPU). */
  static Topology of(std::shared_ptr<const Client> client);
  Topology(Topology&& other) noexcept;
  Topology& operator=(Topology&& other) noexcept;
  ~Topology();

  const Plugin& plugin() const { return *plugin_; }
  std::string platform_name() const;
  /** What the first device is, such as "TPU v6 lite". */
  std::string device_kind() const;
  /** One text per device, as the plugin prints it. */
  std::vector<std::string> devices() const;

  /** Compiles without a device: memory(), outputs() and serialize() work, execution does not.
   * Throws PjrtError with the compiler's text. Preferences that the plugin does not know are left out, with a warning. */
  Program compile(std::string_view mlir, const CompileOptions& options, std::string_view name = "program") const;

 private:
  Program compile_exactly(const std::string& mlir, const CompileOptions& options, std::string_view name) const;
  Topology(std::shared_ptr<const Plugin> plugin, PJRT_TopologyDescription* handle)
      : plugin_(std::move(plugin)), handle_(handle) {}
  std::shared_ptr<const Plugin> plugin_;
  std::shared_ptr<const Client> client_;  // owns the handle when it is set
  PJRT_TopologyDescription* handle_ = nullptr;
};

}  // namespace gavel::pjrt

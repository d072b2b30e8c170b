#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pjrt/buffer.h"
#include "pjrt/event.h"
#include "pjrt/signature.h"

struct PJRT_Executable;
struct PJRT_LoadedExecutable;

namespace gavel::pjrt {

class Client;

/** Bytes per device, as the compiler planned them. */
struct MemoryStats {
  int64_t generated_code = 0;
  int64_t arguments = 0;
  int64_t outputs = 0;
  int64_t aliased = 0;  // outputs that reuse a donated argument
  int64_t temporaries = 0;
  int64_t host_temporaries = 0;
  int64_t peak = 0;  // 0 when the plugin does not say
};

struct OutputSpec {
  DType dtype = DType::kF32;
  Shape shape;  // of one device's shard
};

struct ExecuteOptions {
  /** Arguments that must survive although the program donates them. */
  std::vector<int64_t> non_donatable;
  /** Number of this launch, the same on all hosts of a multi-host run. */
  int launch_id = 0;
};

/** A compiled program, not tied to devices: what deviceless compilation gives. */
class Program {
 public:
  Program(std::shared_ptr<const Plugin> plugin, PJRT_Executable* handle, std::string name);
  Program(Program&& other) noexcept;
  Program& operator=(Program&& other) noexcept;
  ~Program();

  const std::string& name() const { return name_; }
  size_t num_outputs() const;
  size_t num_partitions() const;
  std::vector<OutputSpec> outputs() const;
  MemoryStats memory() const;
  /** The program after the compiler's work, in the plugin's format ("hlo_with_config", "hlo", "mlir"); nothing where the
   * plugin does not give it. */
  struct Optimized {
    std::string format, code;
  };
  std::optional<Optimized> optimized() const;
  /** The plugin's bytes, for Client::deserialize of the same plugin and kind of machine. */
  std::string serialize() const;

 private:
  std::shared_ptr<const Plugin> plugin_;
  PJRT_Executable* handle_ = nullptr;
  std::string name_;
};

/** A program loaded on the devices of a client. Movable only. Several threads may execute it at once. */
class Executable {
 public:
  Executable(std::shared_ptr<const Client> client, PJRT_LoadedExecutable* handle, std::string_view mlir,
             std::string name);
  Executable(Executable&& other) noexcept;
  Executable& operator=(Executable&& other) noexcept;
  ~Executable();

  using Arguments = std::vector<const Buffer*>;
  using Outputs = std::vector<Buffer>;

  /** Launches the program and returns before it is done. `arguments[d]` are the shards for devices()[d], in
   * the order of @main. Outputs likewise. A donated argument (tf.aliasing_output in the text) is deleted by
   * the call unless `options.non_donatable` names it. `done`, when given, gets one event per device.
   * Throws Error, naming the argument, when the number of devices or arguments is wrong, an argument was
   * donated or deleted before, lies on another device, or its dtype or shape does not fit; PjrtError when the
   * plugin refuses. Failures during the run surface in the outputs' to_host() and wait(). */
  std::vector<Outputs> execute(const std::vector<Arguments>& arguments, const ExecuteOptions& options = {},
                               std::vector<Event>* done = nullptr) const;
  /** The same for a program on one device. */
  Outputs run(const Arguments& arguments, const ExecuteOptions& options = {}, Event* done = nullptr) const;

  const std::string& name() const { return program_.name(); }
  /** Ids of the devices, in the order of execute's lists. */
  const std::vector<int>& device_ids() const { return device_ids_; }
  size_t num_outputs() const { return num_outputs_; }
  std::vector<OutputSpec> outputs() const { return program_.outputs(); }
  /** As declared in the program's text; nothing when the text was not given or not readable. */
  const std::optional<std::vector<ArgumentSpec>>& arguments() const { return arguments_; }
  MemoryStats memory() const { return program_.memory(); }
  const Program& program() const { return program_; }
  std::string serialize() const { return program_.serialize(); }

 private:
  void check(const std::vector<Arguments>& arguments) const;

  std::shared_ptr<const Client> client_;
  PJRT_LoadedExecutable* handle_ = nullptr;
  Program program_;
  std::optional<std::vector<ArgumentSpec>> arguments_;
  std::vector<int> device_ids_;
  size_t num_outputs_ = 0;
  size_t num_partitions_ = 1;
};

}  // namespace gavel::pjrt

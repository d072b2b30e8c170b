#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "cluster/process_group.h"
#include "pjrt/client.h"
#include "recipe/recipe.h"

namespace gavel {

// Opens the devices that a recipe names. All functions throw Error that says what to do when they can't.

/** Why the hardware behind "tpu" or "cuda" can't be on this machine, in one line; "" when it may be there, and for all other
 * devices. Plugins without their hardware may wait for minutes. */
std::string missing_hardware(const std::string& device);

/** Ends the process with one line and exit status 1 when it lives longer than `limit`: a plugin's opening can't be called
 * off. Says after a twentieth of that (at most 20 s) that it waits. */
class OpeningLimit {
 public:
  OpeningLimit(std::string device, std::chrono::milliseconds limit);
  ~OpeningLimit();
  OpeningLimit(const OpeningLimit&) = delete;
  OpeningLimit& operator=(const OpeningLimit&) = delete;

 private:
  void watch(const std::string& device, std::chrono::milliseconds limit);

  std::mutex mutex_;
  std::condition_variable ended_;
  bool is_over_ = false;
  std::thread thread_;
};

/** A client of the device ("cpu", "cuda", "tpu" or a plugin's path); on the CPU with the kernels of src/kernels
 * registered, where the plugin takes them. `cpu_devices`: on the CPU only, virtual devices that share the processor,
 * for trying out a mesh. With a `group` of several processes each sees the devices of all; on the CPU that is an Error,
 * since its plugin joins no processes. A device whose hardware is not there is an Error at once; one that does not open
 * within five minutes (GAVEL_OPEN_SECONDS) ends the process, unless it may wait for other hosts. */
std::shared_ptr<pjrt::Client> make_client(const std::string& device, int64_t cpu_devices = 1,
                                          const ProcessGroup& group = {});

/** The recipe's device; on the CPU with as many virtual devices as the mesh names (an axis of -1 counts 1). */
std::shared_ptr<pjrt::Client> open_device(const Recipe& recipe, const ProcessGroup& group = {});

/** The processes of a run: those that a launcher started, else those that the plugin knows of (the hosts of a TPU pod),
 * without a store. */
ProcessGroup processes_of(const ProcessGroup& launched, const pjrt::Client& client);

/** Where compiled programs are kept: compiled/ in Gavel's cache folder. */
std::filesystem::path compile_cache_folder();

}  // namespace gavel

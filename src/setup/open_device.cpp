#include "setup/open_device.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "engine/device_traits.h"
#include "ffi/handlers.h"
#include "nn/cpu_kernels.h"
#include "pjrt/cuda_libraries.h"
#include "pjrt/platform_options.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** Whether /dev has a node with this name and a number behind it. */
bool has_node(const fs::path& folder, std::string_view name) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string found = entry.path().filename().string();
    if (found.starts_with(name) && found.size() > name.size() &&
        found.find_first_not_of("0123456789", name.size()) == std::string::npos)
      return true;
  }
  return false;
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string missing_gpu() {
  void* driver = ::dlopen("libcuda.so.1", RTLD_LAZY);
  if (driver == nullptr)
    return "no NVIDIA driver (libcuda.so.1) on this machine; where there is a GPU, install version 580 "
           "or newer (525 for a plugin of CUDA 12)";
  ::dlclose(driver);
  // WSL has its own node.
  return has_node("/dev", "nvidia") || fs::exists("/dev/dxg") ? "" : "no NVIDIA GPU on this machine (/dev/nvidia0)";
}

/** None where it may rightly take long: hosts wait for each other. */
std::optional<std::chrono::milliseconds> opening_limit(const std::string& device, const ProcessGroup& group) {
  if (device == "cpu" || group.count > 1 || variable("TPU_WORKER_HOSTNAMES").find(',') != std::string::npos)
    return std::nullopt;
  const int64_t seconds = std::atoll(variable("GAVEL_OPEN_SECONDS").c_str());
  return std::chrono::seconds(seconds > 0 ? seconds : 300);
}

}  // namespace

std::string missing_hardware(const std::string& device) {
  if (device == "cuda") return missing_gpu();
  if (device != "tpu") return "";
  const bool named = !variable("TPU_ACCELERATOR_TYPE").empty() || !variable("TPU_WORKER_HOSTNAMES").empty();
  return named || has_node("/dev", "accel") || has_node("/dev/vfio", "")
             ? ""
             : "no TPU on this machine (/dev/accel*, /dev/vfio/*, and TPU_ACCELERATOR_TYPE is not set)";
}

OpeningLimit::OpeningLimit(std::string device, std::chrono::milliseconds limit)
    : thread_([this, device = std::move(device), limit] { watch(device, limit); }) {}

OpeningLimit::~OpeningLimit() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

void OpeningLimit::watch(const std::string& device, std::chrono::milliseconds limit) {
  const auto first = std::min<std::chrono::milliseconds>(limit / 20, std::chrono::seconds(20));
  std::unique_lock lock(mutex_);
  if (ended_.wait_for(lock, first, [this] { return is_over_; })) return;
  auto say = [&](const std::string& text) {
    [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
  };
  const double seconds = std::chrono::duration<double>(limit).count();
  say(fmt::format("device {}: its plugin is still opening it; it is given up after {:g} s (GAVEL_OPEN_SECONDS)\n",
                  device, seconds));
  if (ended_.wait_for(lock, limit - first, [this] { return is_over_; })) return;
  say(fmt::format(
      "error: device {}: its plugin did not open it within {:g} s; look for another process that holds it, or "
      "set GAVEL_OPEN_SECONDS\n",
      device, seconds));
  ::_exit(1);
}

std::shared_ptr<pjrt::Client> make_client(const std::string& device, int64_t cpu_devices, const ProcessGroup& group) {
  pjrt::Options options = pjrt::client_options(device);
  if (device == "cpu") {
    if (group.count > 1)
      fail(
          "device: cpu: this is one of {} processes, and the CPU plugin can't join several (it has no option for it); "
          "start "
          "gavel once, or take device=cuda or device=tpu",
          group.count);
    options["cpu_device_count"] = cpu_devices;
  } else if (group.count > 1 && device != "tpu") {
    // TPU hosts know of each other by their own environment.
    options["node_id"] = int64_t{group.index};
    options["num_nodes"] = int64_t{group.count};
  }
  if (const std::string missing = missing_hardware(device); !missing.empty()) fail("device: {}: {}", device, missing);
  std::optional<OpeningLimit> limit;
  if (const auto most = opening_limit(device, group)) limit.emplace(device, *most);
  const auto plugin = pjrt::Plugin::load(device);
  std::shared_ptr<pjrt::Client> client;
  try {
    client = pjrt::Client::create(plugin, options, group.store);
  } catch (const pjrt::PjrtError& error) {
    const std::string advice = device == "cuda" ? pjrt::cuda_advice(plugin->path()) : "";
    if (advice.empty()) throw;
    fail("{}\n{}", error.what(), advice);
  }
  limit.reset();
  if (device_traits(*client).kernels == Kernels(cpu_kernels())) register_cpu_kernels(client->plugin());
  return client;
}

std::shared_ptr<pjrt::Client> open_device(const Recipe& recipe, const ProcessGroup& group) {
  int64_t named = 1;
  for (int64_t size : {recipe.mesh.dp, recipe.mesh.fsdp, recipe.mesh.mp})
    if (size > 0) named *= size;
  return make_client(recipe.device, named, group);
}

ProcessGroup processes_of(const ProcessGroup& launched, const pjrt::Client& client) {
  if (launched.count > 1) return launched;
  ProcessGroup group;
  group.index = client.process_index();
  for (const pjrt::Device& device : client.global_devices())
    group.count = std::max(group.count, device.process_index + 1);
  return group;
}

std::filesystem::path compile_cache_folder() {
  return cache_folder("compiled");
}

}  // namespace gavel

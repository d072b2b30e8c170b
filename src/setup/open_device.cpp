#include "setup/open_device.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "engine/device_traits.h"
#include "ffi/handlers.h"
#include "nn/cpu_kernels.h"

namespace gavel {

std::shared_ptr<pjrt::Client> make_client(const std::string& device, int64_t cpu_devices, const ProcessGroup& group) {
  pjrt::Options options;
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
  auto client = pjrt::Client::create(pjrt::Plugin::load(device), options, group.store);
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

Mesh mesh_of(const Recipe& recipe, const pjrt::Client& client) {
  return resolve_mesh({recipe.mesh.dp, recipe.mesh.fsdp, recipe.mesh.mp},
                      static_cast<int64_t>(client.global_devices().size()));
}

std::filesystem::path compile_cache_folder() {
  return cache_folder("compiled");
}

}  // namespace gavel

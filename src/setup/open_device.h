#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "cluster/process_group.h"
#include "pjrt/client.h"
#include "recipe/recipe.h"
#include "shard/mesh.h"

namespace gavel {

// From a recipe to its devices. All functions throw Error with what to do.

/** A client of the device; on the CPU with the kernels of src/kernels registered, where the plugin takes them.
 * `cpu_devices`: virtual devices that share the processor, on the CPU only: for trying out a mesh. With several processes
 * each sees the devices of all; on the CPU that throws, since its plugin joins none. */
std::shared_ptr<pjrt::Client> make_client(const std::string& device, int64_t cpu_devices = 1,
                                          const ProcessGroup& group = {});

/** The recipe's device; on the CPU with as many virtual devices as the mesh names (an axis of -1 counts 1). */
std::shared_ptr<pjrt::Client> open_device(const Recipe& recipe, const ProcessGroup& group = {});

/** This process among those of a run: the launcher's group, or where there is none but the plugin knows of several hosts
 * (TPU pods) the plugin's, without a store. */
ProcessGroup processes_of(const ProcessGroup& launched, const pjrt::Client& client);

/** The mesh over the devices of all processes. Throws when it does not fit them. */
Mesh mesh_of(const Recipe& recipe, const pjrt::Client& client);

/** Where compiled programs are kept. */
std::filesystem::path compile_cache_folder();

}  // namespace gavel

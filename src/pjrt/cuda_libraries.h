#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace gavel::pjrt {

// The libraries of NVIDIA that the CUDA plugin loads when it needs them: it looks along its run path (../../nvidia/…/lib, where wheels
// of a Python environment lie, and `gavel doctor --fetch cuda` puts them), then where the system does.

struct CudaLibrary {
  std::string name;            // "libcudnn.so.9"
  std::filesystem::path path;  // empty: found nowhere
};

/** Where each library that a plugin at this path loads is found; the driver (libcuda.so.1) is the last. Loads none of those that lie
 * along the run path, and the others as the system does. */
std::vector<CudaLibrary> cuda_libraries(const std::filesystem::path& plugin);

/** The folder with CUDA's compiler files (nvvm/libdevice, bin/ptxas) among the wheels beside the plugin; empty when there is none. */
std::filesystem::path cuda_folder(const std::filesystem::path& plugin);

/** The oldest driver that CUDA of the plugin's major version (by its file's folder: xla_cuda12, xla_cuda13) runs with: "580". */
std::string_view needed_driver(const std::filesystem::path& plugin);
/** The version of the loaded driver ("580.65.06"); empty when there is none, or it does not say (WSL). */
std::string driver_version();

/** What keeps the plugin from its GPUs, and what to do, by what is found here; empty when nothing is missing. */
std::string cuda_advice(const std::filesystem::path& plugin);

/** A line per library that a compiled program depends on, the driver too: its file, size and time. For keys of caches. */
std::string cuda_fingerprint(const std::filesystem::path& plugin);

}  // namespace gavel::pjrt

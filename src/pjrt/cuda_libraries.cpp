#include "pjrt/cuda_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/stat.h>

#include <charconv>
#include <fstream>

namespace gavel::pjrt {

namespace fs = std::filesystem;

namespace {

struct Known {
  const char* file;
  const char* folder;  // below nvidia/
};

constexpr Known kCuda13[] = {
    {"libcudnn.so.9", "cudnn/lib"},    {"libcublas.so.13", "cu13/lib"},    {"libcublasLt.so.13", "cu13/lib"},
    {"libcudart.so.13", "cu13/lib"},   {"libnvJitLink.so.13", "cu13/lib"}, {"libcusparse.so.12", "cu13/lib"},
    {"libcusolver.so.12", "cu13/lib"}, {"libcufft.so.12", "cu13/lib"},     {"libnccl.so.2", "nccl/lib"}};
constexpr Known kCuda12[] = {{"libcudnn.so.9", "cudnn/lib"},
                             {"libcublas.so.12", "cublas/lib"},
                             {"libcublasLt.so.12", "cublas/lib"},
                             {"libcudart.so.12", "cuda_runtime/lib"},
                             {"libnvJitLink.so.12", "nvjitlink/lib"},
                             {"libcusparse.so.12", "cusparse/lib"},
                             {"libcusolver.so.11", "cusolver/lib"},
                             {"libcufft.so.11", "cufft/lib"},
                             {"libnccl.so.2", "nccl/lib"}};

bool is_cuda12(const fs::path& plugin) {
  return plugin.parent_path().filename() == "xla_cuda12";
}

/** The folders nvidia/ of the plugin's run path. */
std::vector<fs::path> nvidia_folders(const fs::path& plugin) {
  std::error_code error;
  fs::path folder = fs::canonical(plugin, error).parent_path();
  if (error) folder = fs::absolute(plugin, error).parent_path();
  return {folder.parent_path().parent_path() / "nvidia", folder.parent_path() / "nvidia"};
}

/** Where the system finds a library; it stays loaded, as the plugin would have it. */
fs::path system_library(const char* name) {
  void* handle = ::dlopen(name, RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) return {};
  link_map* map = nullptr;
  if (::dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || map == nullptr) return name;
  return map->l_name;
}

}  // namespace

std::vector<CudaLibrary> cuda_libraries(const fs::path& plugin) {
  std::vector<CudaLibrary> libraries;
  std::error_code error;
  auto add = [&](const Known& known) {
    CudaLibrary library{known.file, {}};
    for (const fs::path& folder : nvidia_folders(plugin))
      if (library.path.empty() && fs::exists(folder / known.folder / known.file, error))
        library.path = folder / known.folder / known.file;
    if (library.path.empty()) library.path = system_library(known.file);
    libraries.push_back(std::move(library));
  };
  if (is_cuda12(plugin))
    for (const Known& known : kCuda12) add(known);
  else
    for (const Known& known : kCuda13) add(known);
  libraries.push_back({"libcuda.so.1", system_library("libcuda.so.1")});
  return libraries;
}

fs::path cuda_folder(const fs::path& plugin) {
  std::error_code error;
  for (const fs::path& folder : nvidia_folders(plugin))
    for (const char* inside : {"cu13", "cuda_nvcc"})
      if (fs::exists(folder / inside / "nvvm" / "libdevice", error)) return folder / inside;
  return {};
}

std::string_view needed_driver(const fs::path& plugin) {
  // NVIDIA's "CUDA compatibility": the oldest driver of each major version's minor-version compatibility.
  return is_cuda12(plugin) ? "525" : "580";
}

std::string driver_version() {
  for (const char* path : {"/sys/module/nvidia/version", "/proc/driver/nvidia/version"}) {
    std::ifstream stream(path);
    std::string word;
    // Alone in its line, or "NVRM version: NVIDIA UNIX … Kernel Module  580.65.06  …".
    while (stream >> word)
      if (word.find('.') != std::string::npos && word.find_first_not_of("0123456789.") == std::string::npos)
        return word;
  }
  return "";
}

std::string cuda_advice(const fs::path& plugin) {
  std::string missing;
  for (const CudaLibrary& library : cuda_libraries(plugin))
    if (library.path.empty() && library.name != "libcuda.so.1")
      missing += fmt::format("{}{}", missing.empty() ? "" : ", ", library.name);
  std::string advice;
  if (!missing.empty())
    advice = fmt::format(
        "not found: {}: gavel doctor --fetch cuda brings them, or put their folders in LD_LIBRARY_PATH", missing);
  const std::string driver = driver_version();
  const std::string_view needed = needed_driver(plugin);
  int found = 0, least = 0;
  std::from_chars(driver.data(), driver.data() + driver.size(), found);
  std::from_chars(needed.data(), needed.data() + needed.size(), least);
  if (found > 0 && found < least)
    advice += fmt::format("{}NVIDIA's driver here is {}, the plugin needs {} or newer", advice.empty() ? "" : "; ",
                          driver, needed);
  return advice;
}

std::string cuda_fingerprint(const fs::path& plugin) {
  std::string text = fmt::format("driver {}", driver_version());
  for (const CudaLibrary& library : cuda_libraries(plugin)) {
    std::error_code error;
    const fs::path file = fs::canonical(library.path, error);
    struct stat status{};
    if (error || ::stat(file.c_str(), &status) != 0)
      text += fmt::format("\n{}: none", library.name);
    else
      text += fmt::format("\n{}: {}, {} bytes, modified {}.{:09}", library.name, file.filename().string(),
                          status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  }
  return text;
}

}  // namespace gavel::pjrt

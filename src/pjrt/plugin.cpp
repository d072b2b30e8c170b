#include "pjrt/plugin.h"

#include <dlfcn.h>
#include <elf.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <mutex>

#include "base/file.h"
#include "base/log.h"
#include "base/own_files.h"
#include "pjrt/api.h"

namespace gavel::pjrt {

namespace fs = std::filesystem;

namespace {

struct KnownPlugin {
  std::string_view name;
  std::string_view package;
  std::string_view file;  // inside the package
};

constexpr KnownPlugin kKnown[] = {
    {"cpu", "lammps-jax-pjrt-cpu", "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so"},
    {"cuda", "jax-cuda13-pjrt", "jax_plugins/xla_cuda13/xla_cuda_plugin.so"},
    {"tpu", "libtpu", "libtpu/libtpu.so"},
};

/** What JAX installs for the same hardware, in another file: CUDA 12's drivers are older. */
constexpr KnownPlugin kOlder[] = {{"cuda", "jax-cuda12-pjrt", "jax_plugins/xla_cuda12/xla_cuda_plugin.so"}};

// The C API up to this minor version lacks functions that Gavel can't do without.
constexpr int kOldestMinor = 55;

const KnownPlugin& known_plugin(const std::string& name) {
  std::vector<std::string> names;
  for (const KnownPlugin& known : kKnown) {
    if (known.name == name) return known;
    names.emplace_back(known.name);
  }
  fail("plugin '{}': no such plugin{}; expected cpu, cuda, tpu or the path of a .so file", name,
       did_you_mean(name, names));
}

std::string environment_name(std::string_view name) {
  std::string upper = "GAVEL_PJRT_";
  for (char c : name) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper;
}

/** Calls use(folder) for each part of a list such as PATH; not for the folder that the program happens to be started in. */
template <class Use>
void for_each_folder(const char* list, Use use) {
  std::string_view rest = list == nullptr ? "" : list;
  while (!rest.empty()) {
    const fs::path folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.native().size() + 1));
    if (folder.is_absolute()) use(folder);
  }
}

/** Where Python's packages lie, by the environment that is active and the python3 of PATH, without asking Python. */
std::vector<fs::path> python_folders() {
  std::vector<fs::path> prefixes, folders;
  std::error_code error;
  for (const char* name : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    for_each_folder(std::getenv(name), [&](const fs::path& prefix) { prefixes.push_back(prefix); });
  for_each_folder(std::getenv("PATH"), [&](const fs::path& folder) {
    if (fs::exists(folder / "python3", error)) prefixes.push_back(folder.parent_path());
  });
  for_each_folder(std::getenv("HOME"), [&](const fs::path& home) { prefixes.push_back(home / ".local"); });
  for (const char* prefix : {"/usr/local", "/usr"}) prefixes.emplace_back(prefix);
  for (const fs::path& prefix : prefixes) {
    std::vector<fs::path> versions;
    for (const auto& entry : fs::directory_iterator(prefix / "lib", error))
      if (entry.path().filename().string().starts_with("python3")) versions.push_back(entry.path());
    std::sort(versions.rbegin(), versions.rend());
    for (const fs::path& version : versions)
      for (const char* inside : {"site-packages", "dist-packages"})
        if (fs::is_directory(version / inside, error)) folders.push_back(version / inside);
  }
  return folders;
}

bool is_path(const std::string& text) {
  return text.find('/') != std::string::npos || text.ends_with(".so");
}

fs::path locate(const std::string& name) {
  if (is_path(name)) {
    std::error_code error;
    if (!fs::exists(name, error)) fail("plugin {}: there is no such file", name);
    return name;
  }
  known_plugin(name);
  std::string variable = environment_name(name);
  const char* chosen = std::getenv(variable.c_str());
  if (chosen != nullptr && *chosen != '\0') {
    std::error_code error;
    if (!fs::exists(chosen, error)) fail("plugin {}: {} names {}, which is not there", name, variable, chosen);
    return chosen;
  }
  std::string tried;
  for (const fs::path& candidate : plugin_candidates(name)) {
    std::error_code error;
    if (fs::exists(candidate, error)) return candidate;
    tried += "\n  " + candidate.string();
  }
  fail("plugin {}: not found. Tried:\n  ${} (not set){}\nFetch it with: gavel doctor --fetch {}", name, variable, tried,
       name);
}

/** dlopen's own text for a wrong file is obscure ("invalid ELF header", "file too short"). */
void check_is_library(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) fail("plugin {}: expected a shared library (.so), found a folder", path.string());
  if (fs::exists(path, error) && !fs::is_regular_file(path, error))  // a pipe would be waited for
    fail("plugin {}: expected a shared library (.so), found a device, a pipe or a socket", path.string());
  std::ifstream stream(path, std::ios::binary);
  char magic[SELFMAG] = {};
  if (!stream.read(magic, sizeof(magic)) || std::string_view(magic, SELFMAG) != ELFMAG)
    fail("plugin {}: expected a shared library (.so), found a file that is not one", path.string());
}

/** Where addresses are limited (`ulimit -v`), a plugin that finds none left while it starts ends the process without a word. It
 * takes its own size, and stacks of its threads and what a compiler needs at the least. */
void check_room(const fs::path& path) {
  constexpr uint64_t kToStart = uint64_t{256} << 20;
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  std::ifstream pages_of("/proc/self/statm");
  uint64_t pages = 0;
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (!(pages_of >> pages) || error) return;
  const uint64_t used = pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  if (used + size + kToStart > limit.rlim_cur)
    fail(
        "plugin {}: the limit on addresses (ulimit -v) is {} MB, of which {} MB are taken; expected at least {} MB "
        "more for it: "
        "raise the limit",
        path.string(), limit.rlim_cur / 1'000'000, used / 1'000'000, (size + kToStart) / 1'000'000);
}

}  // namespace

std::vector<fs::path> plugin_candidates(const std::string& name) {
  const KnownPlugin& known = known_plugin(name);
  std::vector<fs::path> paths;
  const char* chosen = std::getenv(environment_name(name).c_str());
  if (chosen != nullptr && *chosen != '\0') paths.emplace_back(chosen);
  // An installation brings the CPU's.
  if (auto own = own_library("plugins/" + fs::path(known.file).filename().string())) paths.push_back(*own);
  if (const fs::path packages = cache_folder("packages"); !packages.empty())
    paths.push_back(packages / known.package / known.file);
  for_each_folder(std::getenv("PYTHONPATH"), [&](const fs::path& folder) { paths.push_back(folder / known.file); });
  // Beside them lie the libraries that they load: one that is there is one that works.
  std::error_code error;
  for (const fs::path& folder : python_folders()) {
    auto add = [&](const KnownPlugin& plugin) {
      const fs::path path = folder / plugin.file;
      if (plugin.name == name && fs::exists(path, error) && std::find(paths.begin(), paths.end(), path) == paths.end())
        paths.push_back(path);
    };
    add(known);
    for (const KnownPlugin& older : kOlder) add(older);
  }
  return paths;
}

std::shared_ptr<const Plugin> Plugin::load(const std::string& name_or_path) {
  // A plugin may be initialised only once in a process, so the process remembers which ones were.
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<const Plugin>> loaded;
  std::error_code error;
  fs::path path = locate(name_or_path);
  std::string key = fs::canonical(path, error).string();
  if (error) key = path.string();
  std::lock_guard lock(mutex);
  auto& entry = loaded[key];
  if (!entry) entry.reset(new Plugin(name_or_path, path));
  return entry;
}

Plugin::Plugin(std::string name, fs::path path) : name_(std::move(name)), path_(std::move(path)) {
  check_is_library(path_);
  check_room(path_);
  // Plugins log notes for their own developers on standard error; only errors are of use to others. A value
  // set by the user stays.
  ::setenv("TF_CPP_MIN_LOG_LEVEL", "2", 0);
  // dlopen searches the system's folders for a name without '/'.
  void* handle = ::dlopen(fs::absolute(path_).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    std::string reason = ::dlerror();
    // "libfoo.so.9: cannot open shared object file: ..." names a library that the plugin itself needs.
    size_t colon = reason.find(": cannot open shared object file");
    if (colon != std::string::npos && reason.substr(0, colon) != fs::absolute(path_).string())
      fail("plugin {}: it needs the library {}, which is not installed or not in LD_LIBRARY_PATH ({})", path_.string(),
           reason.substr(0, colon), reason);
    fail("plugin {}: can't be loaded: {}", path_.string(), reason);
  }
  auto get_api = reinterpret_cast<const PJRT_Api* (*)()>(::dlsym(handle, "GetPjrtApi"));
  if (get_api == nullptr) {
    ::dlclose(handle);
    fail("plugin {}: the library has no function GetPjrtApi, so it is not a PJRT plugin", path_.string());
  }
  api_ = get_api();
  if (api_ == nullptr) fail("plugin {}: GetPjrtApi returned nothing", path_.string());
  // Everything up to PJRT_Compile has been in the table since the first stable versions; without it, the
  // version itself could not be read safely.
  if (api_->struct_size < offsetof(PJRT_Api, PJRT_Compile))
    fail("plugin {}: its function table has {} bytes, expected at least {}; use a newer plugin", path_.string(),
         api_->struct_size, offsetof(PJRT_Api, PJRT_Compile));
  if (api_major() != PJRT_API_MAJOR || api_minor() < kOldestMinor)
    fail("plugin {}: PJRT API {}.{}, expected {}.{} or newer with the same major number", path_.string(), api_major(),
         api_minor(), PJRT_API_MAJOR, kOldestMinor);

  auto initialize = make_args<PJRT_Plugin_Initialize_Args>();
  call(*this, &PJRT_Api::PJRT_Plugin_Initialize, initialize, "initialising the plugin");
  if (has(api_, &PJRT_Api::PJRT_Plugin_Attributes)) {
    auto attributes = make_args<PJRT_Plugin_Attributes_Args>();
    call(*this, &PJRT_Api::PJRT_Plugin_Attributes, attributes, "reading the plugin's attributes");
    attributes_ = from_named_values(attributes.attributes, attributes.num_attributes);
  }
}

int Plugin::api_major() const {
  return api_->pjrt_api_version.major_version;
}
int Plugin::api_minor() const {
  return api_->pjrt_api_version.minor_version;
}

std::string Plugin::fingerprint() const {
  std::string text = fmt::format("api {}.{}", api_major(), api_minor());
  for (const auto& [name, value] : attributes_) {
    text += fmt::format("; {}=", name);
    if (auto* integer = std::get_if<int64_t>(&value)) text += std::to_string(*integer);
    if (auto* string = std::get_if<std::string>(&value)) text += *string;
    if (auto* list = std::get_if<std::vector<int64_t>>(&value))
      for (int64_t item : *list) text += std::to_string(item) + ".";
  }
  struct stat status{};
  if (::stat(path_.c_str(), &status) == 0)
    text += fmt::format("; {} bytes, modified {}.{:09}", status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  return text;
}

const PJRT_Extension_Base* Plugin::find_extension(int type) const {
  for (const PJRT_Extension_Base* extension = api_->extension_start; extension != nullptr; extension = extension->next)
    if (static_cast<int>(extension->type) == type) return extension;
  return nullptr;
}

}  // namespace gavel::pjrt

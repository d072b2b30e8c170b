#include "usage/build_info.h"

#include <fmt/ranges.h>

#include <filesystem>
#include <vector>

#include "base/version.h"
#include "pjrt/plugin.h"

namespace gavel {

namespace {

namespace fs = std::filesystem;

/** Of the Python package that the plugin lies in, as pip leaves it beside the package: NAME-VERSION.dist-info. "" when
 * there is none. */
std::string package_version(const fs::path& plugin) {
  const std::string package = plugin.parent_path().filename().string() + "-", ending = ".dist-info";
  std::error_code error;
  for (fs::directory_iterator at(plugin.parent_path().parent_path(), error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with(package) && name.ends_with(ending))
      return name.substr(package.size(), name.size() - package.size() - ending.size());
  }
  return "";
}

std::string plugin_line() {
  for (const fs::path& path : pjrt::plugin_candidates("cpu")) {
    std::error_code error;
    if (!fs::exists(path, error)) continue;
    const std::string version = package_version(path);
    return fmt::format("{} ({})", version.empty() ? "of unknown version" : version, path.string());
  }
  return "not found; gavel doctor says how to get it";
}

std::string processor_line() {
  std::vector<std::string> has, lacks;
  const auto feature = [&](const char* name, bool there) { (there ? has : lacks).emplace_back(name); };
  feature("avx2", __builtin_cpu_supports("avx2"));
  feature("avx512f", __builtin_cpu_supports("avx512f"));
  feature("avx512_bf16", __builtin_cpu_supports("avx512bf16"));
  feature("amx_bf16", __builtin_cpu_supports("amx-bf16"));
  std::string text = has.empty() ? "" : fmt::format("with {}", fmt::join(has, ", "));
  if (!lacks.empty()) text += fmt::format("{}without {}", has.empty() ? "" : "; ", fmt::join(lacks, ", "));
  return text;
}

}  // namespace

std::string version_text(const BuildInfo& build) {
  return fmt::format("gavel {}\ncommit     {}{}\nCPU plugin {}\nprocessor  {}", version(), build.commit,
                     build.date.empty() ? "" : fmt::format(" ({})", build.date), plugin_line(), processor_line());
}

}  // namespace gavel

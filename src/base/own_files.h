#pragma once
#include <filesystem>
#include <optional>
#include <string_view>

// Where the files that come with Gavel lie. An installation (a wheel, or an unpacked tarball) has them at
//   PREFIX/bin/gavel          the program
//   PREFIX/lib/gavel/         libraries, modules that are loaded on demand, and plugins/
//   PREFIX/share/gavel/       recipes/, tools/ and models/
// and a clone at its top, above the folder that the program was built in. They are looked for beside the program alone, never
// in the folder that it was started from.

namespace gavel {

/** The file of the running program, links followed; empty without /proc. */
inline std::filesystem::path own_program() {
  std::error_code error;
  std::filesystem::path path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::filesystem::path() : path;
}

/** The prefix that the program is installed under; nothing when it is run from where it was built. */
inline std::optional<std::filesystem::path> own_prefix() {
  const std::filesystem::path folder = own_program().parent_path();
  std::error_code error;
  if (folder.filename() != "bin" || !std::filesystem::is_directory(folder.parent_path() / "share" / "gavel", error))
    return std::nullopt;
  return folder.parent_path();
}

/** A file or folder that Gavel brings, such as "recipes/demo.yaml" or "tools/fetch_packages.py"; nothing when it is not there. */
inline std::optional<std::filesystem::path> own_file(std::string_view name) {
  std::error_code error;
  if (auto prefix = own_prefix()) {
    std::filesystem::path path = *prefix / "share" / "gavel" / name;
    return std::filesystem::exists(path, error) ? std::optional(path) : std::nullopt;
  }
  for (auto folder = own_program().parent_path(); folder.has_relative_path(); folder = folder.parent_path()) {
    if (!std::filesystem::exists(folder / "tools" / "packages.lock", error)) continue;
    std::filesystem::path path = folder / name;
    return std::filesystem::exists(path, error) ? std::optional(path) : std::nullopt;
  }
  return std::nullopt;
}

/** A library that is loaded on demand, such as "gavel_parquet.so" or "plugins/NAME.so": of an installation, or beside the
 * program as it was built (the programs of tests lie one folder below). Nothing when it is not there. */
inline std::optional<std::filesystem::path> own_library(std::string_view name) {
  std::error_code error;
  const std::filesystem::path folder = own_program().parent_path();
  for (const std::filesystem::path& place : {folder / ".." / "lib" / "gavel", folder, folder.parent_path()})
    if (std::filesystem::exists(place / name, error)) return (place / name).lexically_normal();
  return std::nullopt;
}

}  // namespace gavel

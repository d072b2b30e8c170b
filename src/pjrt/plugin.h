#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.h"

struct PJRT_Api;
struct PJRT_Extension_Base;

namespace gavel::pjrt {

/** Named options of a plugin: client and topology creation, and compile overrides. */
using OptionValue = std::variant<int64_t, std::string, bool, float, std::vector<int64_t>>;
using Options = std::map<std::string, OptionValue>;

/** An error that the plugin reported; code() is PJRT_Error_Code (3 invalid argument, 12 unimplemented, …). */
class PjrtError : public Error {
 public:
  PjrtError(int code, const std::string& text) : Error(text), code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

/** A PJRT plugin: a shared library that drives one kind of device. It stays loaded until the process ends,
 * because plugins start threads that outlive every client. */
class Plugin {
 public:
  /** Loads `name_or_path`: a path to a shared library (anything with a '/' or ending in ".so"), or one of the names
   * cpu, cuda, tpu. For a name it takes the file that the environment variable GAVEL_PJRT_<NAME> names; if that is not
   * set, it looks beside an installed program, in the package folder that tools/fetch_packages.py fills, then in the
   * folders of PYTHONPATH and of installed Python environments (JAX's plugins). The same file is loaded once; later
   * calls return the same object. Throws Error that lists what was tried, names a library that is missing, or says why
   * the file is not a plugin. */
  static std::shared_ptr<const Plugin> load(const std::string& name_or_path);

  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  /** What load() was asked for first: "cpu", or a path. Used as prefix of messages. */
  const std::string& name() const { return name_; }
  const std::filesystem::path& path() const { return path_; }
  /** Version of the C API that the plugin was built with, for example 0.115. */
  int api_major() const;
  int api_minor() const;
  /** xla_version, stablehlo_current_version, … as the plugin gives them. */
  const Options& attributes() const { return attributes_; }
  /** One line that changes whenever the plugin does: API version, attributes, file size and time. */
  std::string fingerprint() const;

  const PJRT_Api* api() const { return api_; }
  /** The extension of PJRT_Extension_Type `type`, or nullptr. */
  const PJRT_Extension_Base* find_extension(int type) const;

 private:
  Plugin(std::string name, std::filesystem::path path);
  std::string name_;
  std::filesystem::path path_;
  const PJRT_Api* api_ = nullptr;
  Options attributes_;
};

/** The files that load(`name`) tries, in order; of Python environments only those that are there. Throws Error for a
 * name that is not known. */
std::vector<std::filesystem::path> plugin_candidates(const std::string& name);

}  // namespace gavel::pjrt

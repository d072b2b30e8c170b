#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "base/file.h"
#include "pjrt/client.h"

namespace gavel::pjrt {

/** Runs `body` and returns the text of the Error that it throws; "" when it throws none. */
template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

/** The default CPU plugin; nullptr when the package was not fetched. */
inline std::shared_ptr<const Plugin> cpu_plugin() {
  for (const auto& path : plugin_candidates("cpu"))
    if (std::filesystem::exists(path)) return Plugin::load("cpu");
  return nullptr;
}

/** A CPU plugin of another age (PJRT API 0.81), loaded by path. */
inline std::shared_ptr<const Plugin> older_cpu_plugin() {
  auto path = cache_folder() / "packages" / "xla-cpu-pjrt" / "xla_plugins" / "xla_cpu_pjrt" / "xla_cpu_pjrt.so";
  return std::filesystem::exists(path) ? Plugin::load(path.string()) : nullptr;
}

/** Clients are slow to make, so the tests share one per plugin and number of devices. */
inline std::shared_ptr<Client> shared_client(const std::shared_ptr<const Plugin>& plugin, int64_t devices) {
  static std::map<std::pair<const Plugin*, int64_t>, std::shared_ptr<Client>> clients;
  auto& client = clients[{plugin.get(), devices}];
  if (!client) client = Client::create(plugin, {{"cpu_device_count", devices}});
  return client;
}

/** A folder of its own for one test, removed afterwards. */
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "gavel_pjrt_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~ScratchFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace gavel::pjrt

#pragma once
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "setup/open_device.h"

namespace gavel {

/** The folder of data that is not ours; tests skip where it is absent. */
inline std::filesystem::path shared_folder() {
  const char* shared = std::getenv("GAVEL_SHARED");
  return shared != nullptr ? std::filesystem::path(shared) : std::filesystem::path(GAVEL_SOURCE_DIR) / "../shared";
}

inline std::shared_ptr<pjrt::Client> test_client() {
  static std::shared_ptr<pjrt::Client> client = make_client("cpu");
  return client;
}

/** Programs compiled by earlier test runs of this build. */
inline std::filesystem::path test_compile_cache() {
  return std::filesystem::path(GAVEL_BINARY_DIR) / "test_programs";
}

/** A folder of one test, removed at its end. */
class TempFolder {
 public:
  explicit TempFolder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() / (name + "_" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace gavel

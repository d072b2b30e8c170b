#pragma once
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"

namespace gavel {

/** A folder in memory where there is one, for targets that read real files; it goes with the process. */
class InputFolder {
 public:
  InputFolder() {
    std::filesystem::path parent =
        ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string name = (parent / "gavel_fuzz_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("{}: no temporary folder", name);
    path_ = name;
  }
  ~InputFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  InputFolder(const InputFolder&) = delete;
  InputFolder& operator=(const InputFolder&) = delete;

  /** Plain writes: AtomicFile's sync to disk would take most of the time. */
  std::filesystem::path write(const std::string& name, std::string_view bytes) const {
    std::filesystem::path path = path_ / name;
    std::FILE* file = std::fopen(path.c_str(), "wb");
    if (file == nullptr || (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) ||
        std::fclose(file) != 0)
      fail("{}: can't be written", path.string());
    return path;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace gavel

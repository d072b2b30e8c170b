#pragma once
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.h"
#include "io/gguf_samples.h"

namespace gavel {

/** A folder that goes with the object. */
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "gavel_io_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("{}: no temporary folder", name);
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  /** Writes a file and gives its path. */
  std::filesystem::path file(const std::string& name, std::string_view text) const {
    // Not write_file: its sync to disk would take most of a test's time.
    std::ofstream out(path_ / name, std::ios::binary | std::ios::trunc);
    if (!out.write(text.data(), static_cast<std::streamsize>(text.size()))) fail("{}: can't be written", name);
    return path_ / name;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/** A safetensors file of any header text. */
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  return raw(uint64_t{header.size()}) + header + data;
}

}  // namespace gavel

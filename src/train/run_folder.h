#pragma once
#include <filesystem>

namespace gavel {

/** A run's output folder, held by one process: a lock (flock) goes with the process, however it ends. */
class RunFolder {
 public:
  /** Makes the folder. Throws when another process holds it, it holds a run already, or it can't be written to. */
  explicit RunFolder(std::filesystem::path path);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path file(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace gavel

#pragma once
#include <filesystem>

namespace gavel {

/** A run's output folder, held by one process: a lock (flock) goes with the process, however it ends. */
class RunFolder {
 public:
  enum class Existing {
    kRefuse,  // a folder that holds a run is refused
    kResume,  // so is one that holds a run without checkpoints; else the run is to be gone on with
  };

  /** Makes the folder. Throws when another process holds it, it can't be written to, or `existing` refuses it. */
  RunFolder(std::filesystem::path path, Existing existing);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path file(const char* name) const { return path_ / name; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }

  /** Whether the folder is still the one that was opened. */
  bool is_there() const;
  /** Makes the folder again after somebody removed it. Throws when it can't. */
  void restore();

 private:
  void lock();

  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace gavel

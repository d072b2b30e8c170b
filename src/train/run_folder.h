#pragma once
#include <filesystem>

namespace gavel {

/** A run's output folder, which one process holds: by a lock (flock on .lock) that ends with the process, however it
 * ends. */
class RunFolder {
 public:
  /** What to do when the folder has files of a run. */
  enum class Existing {
    kRefuse,  // throw Error; of a run that has not done a step remove them
    kResume,  // accept it, for the run to go on; throw Error only when it has a trained adapter and no checkpoints
  };

  /** Makes the folder if need be and locks it. Throws Error when another process holds it, it can't be written to, or
   * `existing` says so. */
  RunFolder(std::filesystem::path path, Existing existing);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path file(const char* name) const { return path_ / name; }
  std::filesystem::path checkpoints() const { return path_ / "checkpoints"; }

  /** Whether the folder is still the one that was opened. */
  bool is_there() const;
  /** Makes and locks the folder again after somebody removed it. Throws Error when it can't. */
  void restore();

 private:
  void lock();

  std::filesystem::path path_;
  bool made_ = false;  // the folder was not there
  int lock_ = -1;
};

}  // namespace gavel

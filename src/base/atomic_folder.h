#pragma once
#include <filesystem>

namespace gavel {

/** A folder that appears whole or not at all: files are written to a hidden temporary folder beside `path`
 * (".NAME.XXXXXX"); commit() syncs them and renames it. The destructor removes it when commit() was not
 * reached; after a kill remove_leftovers() does. Throws Error naming the folder. */
class AtomicFolder {
 public:
  explicit AtomicFolder(std::filesystem::path path);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;

  /** Where to write the files. */
  const std::filesystem::path& temporary() const { return temporary_; }
  /** A folder that is at `path` already is exchanged with the new one in one step, and removed. */
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool committed_ = false;
};

/** Removes a folder so that it is never seen in part: renamed first. Throws Error naming it. */
void remove_folder(const std::filesystem::path& path);

/** Removes what killed processes left half-written or half-removed in `parent`. */
void remove_leftovers(const std::filesystem::path& parent);

/** Syncs the names in a folder to disk. Throws Error naming it. */
void sync_folder(const std::filesystem::path& path);

}  // namespace gavel

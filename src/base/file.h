#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace gavel {

/** A whole file mapped read-only. Throws Error naming the file when it can't be opened. Empty files map to an
 * empty span. */
class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  /** Maps the file behind `descriptor`, which is closed; `path` is the name that path() and messages give. */
  static std::shared_ptr<const MappedFile> adopt(int descriptor, const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const uint8_t> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  /** Tells the system that these bytes are not needed again soon. */
  void release(size_t offset, size_t size) const;

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

/** Throws Error that names the file when `text`, which was read from it, is what Git LFS leaves in the place of a large file
 * that was not downloaded. */
void refuse_lfs_pointer(std::string_view text, const std::filesystem::path& path);

/** The whole file as a string. Throws Error as MappedFile::open does. */
std::string read_text(const std::filesystem::path& path);

/** Writes to a temporary file beside `path` (".NAME.XXXXXX") and renames it at commit(); what was there stays whole
 * until then. The destructor removes the temporary file when commit() was not reached. Throws Error naming `path`. */
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /** Syncs to disk and renames. `sync` = false is for files that carry a checksum and can be made again: a power cut
   * can leave a torn one under the name. */
  void commit(bool sync = true);

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
};

/** AtomicFile in one call. */
void write_file(const std::filesystem::path& path, std::string_view text);

/** Removes what killed processes left of an AtomicFile at `path`, which must have no writer now. */
void remove_unfinished(const std::filesystem::path& path);

/** Creates the folder and its parents; an Error names it when that fails. */
void make_folder(const std::filesystem::path& path);

/** For caches: of a folder's files with this extension (".tokens") removes those used longest ago, until the others
 * have at most `max_bytes` together. Other processes may do the same: files that are gone are no error. */
void trim_folder(const std::filesystem::path& folder, std::string_view extension, uint64_t max_bytes);
/** Sets the time of last use, which trim_folder() goes by. */
void mark_used(const std::filesystem::path& path);

/** Where what can be made or fetched anew is kept, plugins and compiled programs among it: $XDG_CACHE_HOME/gavel, or
 * ~/.cache/gavel (of $HOME, else of the user's entry in the system's list). Made with access for the user alone when it is
 * not there. Empty where no folder can be trusted: the name is not absolute, it belongs to another user, or others can write
 * to it; the log says so once. */
std::filesystem::path cache_folder();
/** A folder in it, with the same checks; empty where it is empty. */
std::filesystem::path cache_folder(std::string_view part);

/** Why code or data of this file or folder can't be trusted: it belongs to neither this user nor root, or others can write to
 * it. "" where it can, or is not there. */
std::string distrust(const std::filesystem::path& path);

}  // namespace gavel

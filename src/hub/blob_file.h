#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/descriptor.h"

namespace gavel {

/** A file of the cache that is being written: BLOB.incomplete, which stays when the process ends, to be gone on with. */
class BlobFile {
 public:
  /** Opens what an earlier try left, or a new file; more than `whole_size` bytes are left from nothing. Throws Error naming it. */
  BlobFile(std::filesystem::path blob, int64_t whole_size);

  /** Bytes that an earlier try left. */
  static int64_t begun(const std::filesystem::path& blob);

  int64_t size() const { return size_; }
  /** Throws Error naming `what` when there is more than the whole. */
  void append(std::string_view part, const std::string& what);
  void empty();
  /** Takes the file away. */
  void discard();
  /** Checks the content, syncs it and gives it its name; false, and nothing is done, where the hash is another. */
  bool finish(const std::string& hash, bool lfs);

 private:
  std::filesystem::path blob_, path_;
  int64_t whole_size_, size_ = 0;
  Descriptor file_;
};

/** The lock that huggingface_hub takes on a blob too (flock), held as long as the object lives. */
class BlobLock {
 public:
  /** `on_wait` is called once when another process has it. Throws Error naming the file. */
  BlobLock(const std::filesystem::path& path, const std::function<void()>& on_wait);

 private:
  Descriptor file_;
};

/** Makes snapshots/COMMIT/FILE of the repository's folder a link to blobs/HASH. */
void link_blob(const std::filesystem::path& repository, const std::string& commit, const std::string& file,
               const std::string& hash);

}  // namespace gavel

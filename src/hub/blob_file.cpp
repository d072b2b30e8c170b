#include "hub/blob_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "hub/content_hash.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

fs::path incomplete_of(const fs::path& blob) {
  return blob.string() + ".incomplete";
}

}  // namespace

BlobFile::BlobFile(fs::path blob, int64_t whole_size)
    : blob_(std::move(blob)),
      path_(incomplete_of(blob_)),
      whole_size_(whole_size),
      file_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666)) {
  if (file_.get() < 0) fail("{}: can't be written: {}", path_.string(), std::strerror(errno));
  struct stat status{};
  if (::fstat(file_.get(), &status) != 0 || !S_ISREG(status.st_mode))
    fail("{}: can't be written: expected a regular file", path_.string());
  size_ = status.st_size;
  if (size_ > whole_size_) empty();
}

int64_t BlobFile::begun(const fs::path& blob) {
  std::error_code error;
  const auto size = fs::file_size(incomplete_of(blob), error);
  return error ? 0 : static_cast<int64_t>(size);
}

void BlobFile::append(std::string_view part, const std::string& what) {
  if (static_cast<int64_t>(part.size()) > whole_size_ - size_) {
    discard();
    fail("{}: more bytes came than the {} that the hub tells of", what, whole_size_);
  }
  // At its place, whatever another process may do to the file where locks are none.
  while (!part.empty()) {
    const ssize_t written = ::pwrite(file_.get(), part.data(), part.size(), size_);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail("{}: writing failed: {}", path_.string(), std::strerror(errno));
    size_ += written;
    part.remove_prefix(static_cast<size_t>(written));
  }
}

void BlobFile::empty() {
  if (::ftruncate(file_.get(), 0) != 0) fail("{}: can't be emptied: {}", path_.string(), std::strerror(errno));
  size_ = 0;
}

void BlobFile::discard() {
  empty();
  ::unlink(path_.c_str());
}

bool BlobFile::finish(const std::string& hash, bool lfs) {
  if (content_hash(path_, lfs) != hash) return false;
  if (::fsync(file_.get()) != 0 || ::rename(path_.c_str(), blob_.c_str()) != 0)
    fail("{}: can't be written: {}", blob_.string(), std::strerror(errno));
  return true;
}

BlobLock::BlobLock(const fs::path& path, const std::function<void()>& on_wait)
    : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0664)) {
  if (file_.get() < 0) fail("{}: can't be opened: {}", path.string(), std::strerror(errno));
  for (bool told = false; ::flock(file_.get(), LOCK_EX | LOCK_NB) != 0; told = true) {
    // Without locks there are still sizes and hashes.
    if (errno != EWOULDBLOCK && errno != EINTR) return;
    if (!told) on_wait();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

void link_blob(const fs::path& repository, const std::string& commit, const std::string& file,
               const std::string& hash) {
  const fs::path link = repository / "snapshots" / commit / file;
  fs::path target = fs::path("../../blobs") / hash;
  for (int64_t depth = std::ranges::count(file, '/'); depth > 0; --depth) target = ".." / target;
  std::error_code ignored;
  if (fs::read_symlink(link, ignored) == target || fs::is_regular_file(link, ignored)) return;
  make_folder(link.parent_path());
  const fs::path temporary = link.parent_path() / fmt::format(".{}.{}", link.filename().string(), ::getpid());
  fs::remove(temporary, ignored);
  std::error_code error;
  fs::create_symlink(target, temporary, error);
  if (!error) fs::rename(temporary, link, error);
  if (error) fail("{}: can't be made a link to {}: {}", link.string(), target.string(), error.message());
}

}  // namespace gavel

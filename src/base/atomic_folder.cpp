#include "base/atomic_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

/** A new folder ".NAME.XXXXXX" beside `path`. */
fs::path make_temporary(const fs::path& path) {
  std::string name = (path.parent_path() / fmt::format(".{}.XXXXXX", path.filename().string())).string();
  if (::mkdtemp(name.data()) == nullptr) fail("{}: can't be written: {}", path.string(), std::strerror(errno));
  return name;
}

void sync_path(const fs::path& path, int flags) {
  int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) fail("{}: can't be opened: {}", path.string(), std::strerror(errno));
  int failed = ::fsync(descriptor), error = errno;
  ::close(descriptor);
  // Some file systems can't sync a folder and say so.
  if (failed != 0 && error != EINVAL) fail("{}: can't be synced to disk: {}", path.string(), std::strerror(error));
}

bool is_temporary(const std::string& name) {
  return name.size() > 8 && name[0] == '.' && name[name.size() - 7] == '.';
}

}  // namespace

void sync_folder(const fs::path& path) {
  sync_path(path.empty() ? "." : path, O_RDONLY | O_DIRECTORY);
}

AtomicFolder::AtomicFolder(fs::path path) : path_(std::move(path)), temporary_(make_temporary(path_)) {}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::commit() {
  mode_t mask = ::umask(0);
  ::umask(mask);
  ::chmod(temporary_.c_str(), 0777 & ~mask);
  for (const auto& entry : fs::directory_iterator(temporary_))
    if (entry.is_regular_file()) sync_path(entry.path(), O_RDONLY);
  sync_folder(temporary_);
  if (fs::exists(path_)) {
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE) == 0) {
      committed_ = true;
      sync_folder(path_.parent_path());
      std::error_code ignored;
      fs::remove_all(temporary_, ignored);
      return;
    }
    // A file system that can't exchange: for a moment neither is there under its name.
    remove_folder(path_);
  }
  if (::rename(temporary_.c_str(), path_.c_str()) != 0)
    fail("{}: can't be written: {}", path_.string(), std::strerror(errno));
  committed_ = true;
  sync_folder(path_.parent_path());
}

void remove_folder(const fs::path& path) {
  fs::path aside = make_temporary(path);
  if (::rename(path.c_str(), aside.c_str()) != 0) {
    int error = errno;
    ::rmdir(aside.c_str());
    fail("{}: can't be removed: {}", path.string(), std::strerror(error));
  }
  std::error_code error;
  fs::remove_all(aside, error);
  if (error) fail("{}: can't be removed: {}", aside.string(), error.message());
}

void remove_leftovers(const fs::path& parent) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored))
    if (is_temporary(entry.path().filename().string())) fs::remove_all(entry.path(), ignored);
}

}  // namespace gavel

#include "base/file.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"

namespace gavel {

namespace fs = std::filesystem;

std::shared_ptr<const MappedFile> MappedFile::open(const fs::path& path) {
  // A pipe that nobody writes to would else be waited for, and a terminal become the process's own.
  int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) fail("{}: can't be opened: {}", path.string(), std::strerror(errno));
  return adopt(descriptor, path);
}

std::shared_ptr<const MappedFile> MappedFile::adopt(int descriptor, const fs::path& path) {
  struct stat status{};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail("{}: expected a regular file, found {}", path.string(),
         S_ISDIR(status.st_mode)    ? "a folder"
         : S_ISFIFO(status.st_mode) ? "a pipe: write what it gives to a file first"
                                    : "something else");
  }
  std::shared_ptr<MappedFile> file(new MappedFile());
  file->path_ = path;
  file->size_ = static_cast<size_t>(status.st_size);
  if (file->size_ > 0) {
    void* data = ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    int error = errno;
    ::close(descriptor);
    if (data == MAP_FAILED) {
      file->size_ = 0;
      fail("{}: can't be memory-mapped: {}", path.string(), std::strerror(error));
    }
    file->data_ = static_cast<const uint8_t*>(data);
    note_mapping(data, file->size_, file->path_.c_str());
  } else {
    ::close(descriptor);
  }
  return file;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  forget_mapping(data_);
  ::munmap(const_cast<uint8_t*>(data_), size_);
}

void MappedFile::release(size_t offset, size_t size) const {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  size_t begin = (offset + page - 1) / page * page;
  size_t end = (offset + size) / page * page;
  if (end > begin && end <= size_) ::madvise(const_cast<uint8_t*>(data_) + begin, end - begin, MADV_DONTNEED);
}

void refuse_lfs_pointer(std::string_view text, const fs::path& path) {
  if (text.starts_with("version https://git-lfs"))
    fail("{}: a pointer of Git LFS stands in the place of the file: run `git lfs pull` in its folder", path.string());
}

std::string read_text(const fs::path& path) {
  return std::string(MappedFile::open(path)->text());
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  struct stat status{};
  if (::lstat(path_.c_str(), &status) == 0 && !S_ISREG(status.st_mode) && !S_ISLNK(status.st_mode) &&
      !S_ISDIR(status.st_mode))  // a folder stands up for itself
    fail("{}: can't be written: a device, a pipe or a socket is there, which a file does not replace", path_.string());
  std::string name = (path_.parent_path() / fmt::format(".{}.XXXXXX", path_.filename().string())).string();
  descriptor_ = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor_ < 0) fail("{}: can't be written: {}", path_.string(), std::strerror(errno));
  temporary_ = name;
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t written = ::write(descriptor_, next, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EFAULT)  // where reading by ourselves gets SIGBUS
      fail("{}: not written: a file that its content comes from was cut short meanwhile", path_.string());
    if (written <= 0) fail("{}: writing failed: {}", path_.string(), std::strerror(errno));
    next += written;
    size -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit(bool sync) {
  mode_t mask = ::umask(0);
  ::umask(mask);
  ::fchmod(descriptor_, 0666 & ~mask);
  int failed = sync ? ::fsync(descriptor_) : 0;
  failed |= ::close(descriptor_);
  descriptor_ = -1;
  if (failed != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    int error = errno;
    ::unlink(temporary_.c_str());
    fail("{}: can't be written: {}", path_.string(), std::strerror(error));
  }
}

void write_file(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void remove_unfinished(const fs::path& path) {
  std::string begin = fmt::format(".{}.", path.filename().string());
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(path.parent_path(), ignored)) {
    std::string name = entry.path().filename().string();
    if (name.starts_with(begin) && name.size() == begin.size() + 6) fs::remove(entry.path(), ignored);
  }
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail("{}: the folder can't be made: {}", path.string(), error.message());
}

void trim_folder(const fs::path& folder, std::string_view extension, uint64_t max_bytes) {
  struct Entry {
    fs::file_time_type used;
    uint64_t size;
    fs::path path;
  };
  std::vector<Entry> entries;
  uint64_t total = 0;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() != extension) continue;
    std::error_code ignored;
    Entry entry{it->last_write_time(ignored), it->file_size(ignored), it->path()};
    if (ignored) continue;
    total += entry.size;
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const Entry& entry : entries) {
    if (total <= max_bytes) break;
    fs::remove(entry.path, error);
    total -= entry.size;
  }
}

void mark_used(const fs::path& path) {
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

std::string distrust(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return "";
  if (status.st_uid != ::geteuid() && status.st_uid != 0) return "belongs to another user";
  if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "can be written to by others";
  return "";
}

namespace {

/** Nothing is taken from the folder that the program happens to be started in, nor from one that all can write to. */
fs::path cache_base() {
  if (const char* base = std::getenv("XDG_CACHE_HOME"); base != nullptr && fs::path(base).is_absolute()) return base;
  const char* home = std::getenv("HOME");
  if (home == nullptr || !fs::path(home).is_absolute()) {
    const passwd* user = ::getpwuid(::geteuid());
    home = user == nullptr ? nullptr : user->pw_dir;
  }
  return home == nullptr || !fs::path(home).is_absolute() ? fs::path() : fs::path(home) / ".cache";
}

void say_once(const std::string& why) {
  static std::atomic_flag said;
  if (!said.test_and_set())
    spdlog::warn("no cache: {}; programs are compiled and texts tokenized anew each time, and nothing fetched is found",
                 why);
}

/** The folder, made for this user alone where it is not there; empty, after a line that says why, where it won't do. */
fs::path usable(fs::path folder) {
  std::error_code error;
  fs::create_directories(folder.parent_path(), error);
  if (::mkdir(folder.c_str(), S_IRWXU) == 0) return folder;
  if (errno != EEXIST) {
    say_once(fmt::format("{} can't be made ({})", folder.string(), std::strerror(errno)));
    return {};
  }
  if (const std::string why = distrust(folder); !why.empty()) {
    say_once(
        fmt::format("{} {}, so what it holds can't be trusted (a folder of your own that others can write to: empty "
                    "it, then `chmod go-w` it)",
                    folder.string(), why));
    return {};
  }
  return folder;
}

}  // namespace

fs::path cache_folder() {
  const fs::path base = cache_base();
  if (base.empty()) {
    say_once("neither XDG_CACHE_HOME nor HOME is an absolute path, and the system has no home for this user");
    return {};
  }
  return usable(base / "gavel");
}

fs::path cache_folder(std::string_view part) {
  const fs::path whole = cache_folder();
  return whole.empty() ? whole : usable(whole / part);
}

}  // namespace gavel

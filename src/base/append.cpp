#include "base/append.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace gavel {

namespace fs = std::filesystem;

int open_to_write(const fs::path& path, int flags, unsigned mode) {
  const int descriptor = ::open(path.c_str(), flags | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode);
  const int error = errno;
  struct stat found{};
  const bool there = descriptor >= 0 ? ::fstat(descriptor, &found) == 0 : ::stat(path.c_str(), &found) == 0;
  if (there && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode)) {
    if (descriptor >= 0) ::close(descriptor);
    fail("{}: expected a file to write to, found a pipe, a device or a socket: remove it", path.string());
  }
  if (descriptor < 0) fail("{}: can't be written: {}", path.string(), std::strerror(error));
  return descriptor;
}

bool is_at(int descriptor, const fs::path& path) {
  struct stat open{}, there{};
  return ::fstat(descriptor, &open) == 0 && ::stat(path.c_str(), &there) == 0 && open.st_ino == there.st_ino &&
         open.st_dev == there.st_dev;
}

void append_whole(int descriptor, const fs::path& path, std::string_view text, int64_t& size) {
  for (size_t done = 0; done < text.size();) {
    ssize_t written = ::write(descriptor, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      int error = errno;
      [[maybe_unused]] int cut = ::ftruncate(descriptor, static_cast<off_t>(size));
      fail("{}: writing failed: {}", path.string(), std::strerror(error));
    }
    done += static_cast<size_t>(written);
  }
  size += static_cast<int64_t>(text.size());
}

}  // namespace gavel

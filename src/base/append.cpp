#include "base/append.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace gavel {

namespace fs = std::filesystem;

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

#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace gavel {

RunFolder::RunFolder(std::filesystem::path path) : path_(std::move(path)) {
  make_folder(path_);
  for (const char* name : {"metrics.jsonl", "adapter_model.safetensors", "recipe.yaml"})
    if (std::filesystem::exists(path_ / name))
      fail("output: {} holds a run already ({} is there); choose another folder or remove it", path_.string(), name);
  std::filesystem::path lock = path_ / ".lock";
  lock_ = ::open(lock.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
  if (lock_ < 0) fail("output: {} can't be written: {}", lock.string(), std::strerror(errno));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock_);
    fail("output: {} is in use by another run", path_.string());
  }
}

RunFolder::~RunFolder() {
  ::unlink((path_ / ".lock").c_str());
  ::close(lock_);
}

}  // namespace gavel

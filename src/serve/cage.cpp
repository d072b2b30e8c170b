#include "serve/cage.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/descriptor.h"
#include "base/error.h"

// Later than the headers of Debian 12.
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

namespace gavel {

namespace {

/** The members of landlock_ruleset_attr up to Linux 6.7. */
struct RulesetAttributes {
  uint64_t files = 0, network = 0;
};
constexpr uint64_t kConnectTcp = 1ULL << 1;

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
constexpr uint64_t kChange = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                             LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
                             LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                             LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;

void allow(int ruleset, const std::filesystem::path& path, uint64_t access) {
  const Descriptor file(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (file.get() < 0) return;  // what is not there needs no leave
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return;
  if (!S_ISDIR(status.st_mode))
    access &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = access;
  rule.parent_fd = file.get();
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
    fail("serve: {}: the cage refuses it: {} (--no-cage does without)", path.string(), std::strerror(errno));
}

}  // namespace

bool enter_cage(const Cage& cage) {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return false;
  const uint64_t change = kChange | (version >= 3 ? LANDLOCK_ACCESS_FS_TRUNCATE : 0);
  RulesetAttributes attributes;
  attributes.files = kRead | change | LANDLOCK_ACCESS_FS_EXECUTE;
  attributes.network = version >= 4 ? kConnectTcp : 0;
  const size_t size = version >= 4 ? sizeof attributes : sizeof attributes.files;
  const Descriptor ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (ruleset.get() < 0) fail("serve: no cage can be made: {} (--no-cage does without)", std::strerror(errno));
  for (const auto& path : cage.readable) allow(ruleset.get(), path, kRead);
  for (const auto& path : cage.writable) allow(ruleset.get(), path, kRead | change);
  allow(ruleset.get(), "/dev", kRead | LANDLOCK_ACCESS_FS_WRITE_FILE);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
    fail("serve: the cage can't be entered: {} (--no-cage does without)", std::strerror(errno));
  return true;
}

}  // namespace gavel

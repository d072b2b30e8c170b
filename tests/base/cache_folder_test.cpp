// Nothing is taken from a folder that somebody else could have filled.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/scoped_variable.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

unsigned mode_of(const fs::path& path) {
  struct stat status{};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}

class CacheFolder : public testing::Test {
 protected:
  CacheFolder() { fs::create_directories(scratch_); }
  ~CacheFolder() override { fs::remove_all(scratch_); }

  const fs::path scratch_ = fs::temp_directory_path() / fmt::format("gavel_cache_folder_test_{}", ::getpid());
  ScopedVariable cache_{"XDG_CACHE_HOME", scratch_.string()};
};

TEST_F(CacheFolder, IsMadeForTheUserAlone) {
  const mode_t before = ::umask(0);
  EXPECT_EQ(cache_folder("compiled"), scratch_ / "gavel" / "compiled");
  ::umask(before);
  EXPECT_EQ(mode_of(scratch_ / "gavel"), 0700U);
  EXPECT_EQ(mode_of(scratch_ / "gavel" / "compiled"), 0700U);
  EXPECT_EQ(distrust(scratch_ / "gavel"), "");
}

TEST_F(CacheFolder, IsNotOneThatOthersCanWriteTo) {
  fs::create_directories(scratch_ / "gavel" / "compiled");
  ::chmod((scratch_ / "gavel" / "compiled").c_str(), 0777);
  EXPECT_EQ(cache_folder("compiled"), "");
  EXPECT_NE(cache_folder("tokens"), "");
  ::chmod((scratch_ / "gavel").c_str(), 0770);
  EXPECT_EQ(cache_folder(), "");
  EXPECT_EQ(cache_folder("tokens"), "");
}

TEST_F(CacheFolder, IsNotAnotherUsers) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a folder away";
  fs::create_directories(scratch_ / "gavel");
  ASSERT_EQ(::chown((scratch_ / "gavel").c_str(), 12345, 12345), 0);
  EXPECT_EQ(distrust(scratch_ / "gavel"), "belongs to another user");
  EXPECT_EQ(cache_folder(), "");
}

/** Neither the folder that the program was started in nor /tmp. */
TEST_F(CacheFolder, RelativeNamesAreNotTaken) {
  ScopedVariable home("HOME", scratch_.string());
  for (const char* value : {"", "here", "./here"}) {
    ScopedVariable cache("XDG_CACHE_HOME", value);
    EXPECT_EQ(cache_folder(), scratch_ / ".cache" / "gavel") << value;
  }
  ScopedVariable cache("XDG_CACHE_HOME", ""), nowhere("HOME", "here");
  const fs::path found = cache_folder();  // of the system's list of users, if at all
  EXPECT_TRUE(found.empty() || found.is_absolute()) << found;
  EXPECT_FALSE(found.string().starts_with("/tmp"));
}

}  // namespace
}  // namespace gavel

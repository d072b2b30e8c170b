// What a caged process can't do any more. Each case is a child of its own, as a cage has no way out.
#include "serve/cage.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>

#include "base/file.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

/** The exit status of a child that does `what`; 77 where there are no cages. */
int in_child(const std::function<int()>& what) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(what());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int opens(const fs::path& path, int flags) {
  return ::open(path.c_str(), flags | O_CLOEXEC, 0600) >= 0 ? 0 : errno;
}

class CageTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("gavel_cage_" + std::to_string(::getpid()));
    for (const char* part : {"read", "write", "none"}) {
      fs::create_directories(folder_ / part);
      write_file(folder_ / part / "file", "text");
    }
    if (caged([] { return 0; }) == 77) GTEST_SKIP() << "this kernel has no Landlock";
  }
  void TearDown() override { fs::remove_all(folder_); }
  int caged(const std::function<int()>& what) const {
    return in_child([&] {
      if (!enter_cage({{folder_ / "read", folder_ / "absent"}, {folder_ / "write"}})) return 77;
      return what();
    });
  }
  fs::path folder_;
};

TEST_F(CageTest, FilesAreAsItSays) {
  EXPECT_EQ(caged([&] { return opens(folder_ / "read/file", O_RDONLY); }), 0);
  EXPECT_EQ(caged([&] { return opens(folder_ / "read/file", O_WRONLY); }), EACCES);
  EXPECT_EQ(caged([&] { return opens(folder_ / "read/new", O_WRONLY | O_CREAT); }), EACCES);
  EXPECT_EQ(caged([&] { return ::unlink((folder_ / "read/file").c_str()) == 0 ? 0 : errno; }), EACCES);
  EXPECT_EQ(caged([&] { return opens(folder_ / "write/file", O_RDWR | O_TRUNC); }), 0);
  EXPECT_EQ(caged([&] { return opens(folder_ / "write/new", O_WRONLY | O_CREAT); }), 0);
  EXPECT_EQ(caged([&] { return opens(folder_ / "none/file", O_RDONLY); }), EACCES);
  EXPECT_EQ(caged([&] { return opens("/dev/null", O_RDWR); }), 0);
}

TEST_F(CageTest, NoProgramIsStarted) {
  EXPECT_EQ(caged([] {
              ::execl("/bin/true", "true", nullptr);
              return errno;
            }),
            EACCES);
}

TEST_F(CageTest, ASecondOneIsNarrower) {
  EXPECT_EQ(caged([&] {
              enter_cage({{folder_ / "none"}, {}});
              return opens(folder_ / "none/file", O_RDONLY);
            }),
            EACCES);
  EXPECT_EQ(caged([&] {
              enter_cage({{folder_}, {}});
              return opens(folder_ / "write/file", O_WRONLY);
            }),
            EACCES);
}

}  // namespace
}  // namespace gavel

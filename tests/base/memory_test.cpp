// How much memory is free, read from folders that look like a system's.
#include "base/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "setup/test_support.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

class FreeMemoryTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    fs::create_directories((root() / name).parent_path());
    write_file(root() / name, text);
  }
  fs::path root() const { return folder_.path(); }

 private:
  TempFolder folder_{"gavel_memory_test"};
};

TEST_F(FreeMemoryTest, ASystemThatDoesNotSay) {
  EXPECT_FALSE(free_memory(root()).has_value());
}

TEST_F(FreeMemoryTest, OfTheMachine) {
  write("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:  3000 kB\nSwapFree: 500 kB\n");
  const auto free = free_memory(root());
  ASSERT_TRUE(free);
  EXPECT_EQ(free->bytes, 3500U << 10);
  EXPECT_EQ(free->of, "this machine");
}

TEST_F(FreeMemoryTest, OfTheTightestControlGroup) {
  write("proc/meminfo", "MemAvailable: 3000 kB\n");
  write("proc/self/cgroup", "0::/box/job\n");
  write("sys/fs/cgroup/box/job/memory.max", "max\n");
  write("sys/fs/cgroup/box/job/memory.current", "1000\n");
  write("sys/fs/cgroup/box/memory.max", "100000\n");
  write("sys/fs/cgroup/box/memory.current", "70000\n");
  write("sys/fs/cgroup/box/memory.stat", "anon 1\ninactive_file 20000\n");
  const auto free = free_memory(root());
  ASSERT_TRUE(free);
  EXPECT_EQ(free->bytes, 50000U);
  EXPECT_EQ(free->of, "the control group /box");
  // Beyond its limit, as for a moment, nothing is free.
  write("sys/fs/cgroup/box/memory.current", "170000\n");
  EXPECT_EQ(free_memory(root())->bytes, 0U);
}

TEST_F(FreeMemoryTest, OfAControlGroupOfTheFirstVersion) {
  write("proc/self/cgroup", "5:devices:/\n4:memory:/box/job\n0::/\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n");
  write("sys/fs/cgroup/memory/box/job/memory.limit_in_bytes", "4000\n");
  write("sys/fs/cgroup/memory/box/job/memory.usage_in_bytes", "3000\n");
  write("sys/fs/cgroup/memory/box/job/memory.stat", "total_inactive_file 500\n");
  const auto free = free_memory(root());
  ASSERT_TRUE(free);
  EXPECT_EQ(free->bytes, 1500U);
  EXPECT_EQ(free->of, "the control group /box/job");
}

TEST_F(FreeMemoryTest, OfThisOne) {
  const auto free = free_memory();
  ASSERT_TRUE(free);
  EXPECT_GT(free->bytes, 1U << 20);
}

}  // namespace
}  // namespace gavel

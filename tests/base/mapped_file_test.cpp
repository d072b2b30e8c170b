// What befalls a file while it is mapped, and what is no file.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <csignal>
#include <numeric>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

class MappedFileTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    make_folder(folder_);
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
  void TearDown() override { fs::remove_all(folder_); }

  static uint64_t sum(const MappedFile& file) {
    return std::accumulate(file.bytes().begin(), file.bytes().end(), uint64_t{0});
  }

  // Of the test's name: tests run side by side, and one that ends its process begins again in another, where it looks for its files.
  fs::path folder_ = fs::temp_directory_path() / "gavel_mapped_file_test" /
                     testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(MappedFileTest, CutShortWhileItIsReadIsNamedAndEndsTheProgram) {
  write_file(folder_ / "other", std::string(100'000, 'o'));
  write_file(folder_ / "rows\x1b[31m.csv", std::string(100'000, 'r'));
  const auto read = [&](bool cut) {
    end_when_mapped_files_shrink();
    // Entries that come and go do not hide one that stays.
    const auto other = MappedFile::open(folder_ / "other");
    MappedFile::open(folder_ / "other");
    const auto file = MappedFile::open(folder_ / "rows\x1b[31m.csv");
    MappedFile::open(folder_ / "other");
    if (cut) fs::resize_file(file->path(), 0);
    std::_Exit(sum(*other) + sum(*file) > 0 ? 3 : 4);
  };
  EXPECT_EXIT(read(false), testing::ExitedWithCode(3), "");
  EXPECT_EXIT(read(true), testing::ExitedWithCode(1), "error: .*rows\\?\\[31m.csv: was cut short.*call again");
}

TEST_F(MappedFileTest, ASignalThatIsNotOfAFileEndsAsBefore) {
  const auto send = [] {
    end_when_mapped_files_shrink();
    ::kill(::getpid(), SIGBUS);
    for (;;) ::pause();
  };
  EXPECT_EXIT(send(), testing::KilledBySignal(SIGBUS), "");
}

TEST_F(MappedFileTest, OneThatIsWrittenFromItIsAnError) {
  write_file(folder_ / "in", std::string(100'000, 'r'));
  const auto in = MappedFile::open(folder_ / "in");
  AtomicFile out(folder_ / "out");
  fs::resize_file(folder_ / "in", 0);
  try {
    out.write(in->text());
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("out: not written"), HasSubstr("was cut short")));
  }
}

TEST_F(MappedFileTest, APipeIsRefusedAndNotWaitedFor) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  try {
    MappedFile::open(folder_ / "pipe");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("expected a regular file, found a pipe")));
  }
}

TEST_F(MappedFileTest, APipeIsNotReplacedByAFile) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(write_file(folder_ / "pipe", "text"), Error);
  EXPECT_TRUE(fs::is_fifo(folder_ / "pipe"));
}

}  // namespace
}  // namespace gavel

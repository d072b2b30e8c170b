#include "base/atomic_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

class AtomicFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(parent_);
    fs::create_directories(parent_);
  }
  void TearDown() override { fs::remove_all(parent_); }
  size_t entries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(parent_), fs::directory_iterator()));
  }

  fs::path parent_ = fs::temp_directory_path() / ("gavel_atomic_folder_" + std::to_string(::getpid()));
};

TEST_F(AtomicFolderTest, AppearsAtCommit) {
  {
    AtomicFolder folder(parent_ / "a");
    write_file(folder.temporary() / "file", "text");
    EXPECT_FALSE(fs::exists(parent_ / "a"));
    folder.commit();
  }
  EXPECT_EQ(read_text(parent_ / "a" / "file"), "text");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(AtomicFolderTest, LeavesNothingWithoutCommit) {
  {
    AtomicFolder folder(parent_ / "a");
  }
  EXPECT_EQ(entries(), 0u);
}

TEST_F(AtomicFolderTest, TakesThePlaceOfAnother) {
  for (const char* text : {"one", "two"}) {
    AtomicFolder folder(parent_ / "a");
    write_file(folder.temporary() / text, text);
    folder.commit();
  }
  EXPECT_FALSE(fs::exists(parent_ / "a" / "one"));
  EXPECT_EQ(read_text(parent_ / "a" / "two"), "two");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(AtomicFolderTest, RemovesWhatWasLeftAndNothingElse) {
  for (const char* name : {".a.Xy12Zz", "a", ".hidden", "b.Xy12Zz"}) fs::create_directories(parent_ / name);
  remove_leftovers(parent_);
  EXPECT_FALSE(fs::exists(parent_ / ".a.Xy12Zz"));
  EXPECT_EQ(entries(), 3u);
  remove_folder(parent_ / "a");
  EXPECT_EQ(entries(), 2u);
  EXPECT_THROW(remove_folder(parent_ / "a"), Error);
  EXPECT_THROW(AtomicFolder(parent_ / "none" / "a"), Error);
}

}  // namespace
}  // namespace gavel

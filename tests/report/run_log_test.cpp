#include "report/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

#include "base/error.h"
#include "base/file.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class RunLogTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  RunLog log(bool tensorboard = false) {
    return RunLog(folder_, tensorboard, 0, [this](const std::string& text) { warnings_.push_back(text); });
  }
  static MetricRow row(int64_t step) { return {{"kind", "train"}, {"step", step}, {"loss", 1.5}}; }
  std::vector<MetricRow> lines() const { return read_metrics(folder_ / "metrics.jsonl"); }

  fs::path folder_ = fs::temp_directory_path() / ("gavel_run_log_" + std::to_string(::getpid()));
  std::vector<std::string> warnings_;
};

TEST_F(RunLogTest, RowsGoToBothFiles) {
  RunLog both = log(true);
  both.write(row(1));
  both.write({{"kind", "eval"}, {"step", int64_t{1}}, {"log_loss", 1.0}});
  EXPECT_EQ(lines().size(), 2u);
  std::vector<std::string> tags;
  for (const auto& entry : fs::directory_iterator(folder_))
    if (entry.path().filename().string().starts_with("events."))
      for (const auto& event : read_events(entry.path()))
        for (const auto& scalar : event.scalars) tags.push_back(scalar.first);
  EXPECT_THAT(tags, testing::ElementsAre("train/loss", "valid/log_loss"));
}

// A full disk, played by a limit on the size of files.
TEST_F(RunLogTest, RowsWaitWhileTheDiskIsFull) {
  RunLog full = log();
  full.write(row(1));
  auto before = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  rlimit small{70, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  for (int64_t step = 2; step <= 4; ++step) full.write(row(step));
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, before);
  EXPECT_EQ(lines().size(), 1u);
  EXPECT_EQ(read_text(folder_ / "metrics.jsonl").back(), '\n');
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_THAT(warnings_[0], HasSubstr("training goes on"));
  full.write(row(5));
  ASSERT_EQ(lines().size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(metric(lines()[i], "step"), static_cast<double>(i + 1));
  EXPECT_THAT(warnings_.back(), HasSubstr("can be written again"));
}

TEST_F(RunLogTest, ARemovedFileIsBegunAnew) {
  RunLog removed = log();
  removed.write(row(1));
  fs::remove_all(folder_);
  removed.write(row(2));
  EXPECT_EQ(warnings_.size(), 1u);
  fs::create_directories(folder_);
  removed.write(row(3));
  EXPECT_EQ(lines().size(), 2u);
}

}  // namespace
}  // namespace gavel

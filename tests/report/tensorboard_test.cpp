#include "report/tensorboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using Scalars = std::vector<std::pair<std::string, float>>;

class TensorboardTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path folder_ = fs::temp_directory_path() / ("gavel_tensorboard_" + std::to_string(::getpid()));
};

TEST_F(TensorboardTest, WhatIsWrittenIsRead) {
  EventWriter writer(folder_, 0);
  writer.write(1, 100.5, {{"train/loss", 0.75}, {"train/learning_rate", 1e-4}});
  writer.write(300, 101, {{"valid/log_loss", 1.5}});
  auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_EQ(events[1].step, 1);
  EXPECT_EQ(events[1].wall_time, 100.5);
  EXPECT_EQ(events[1].scalars, (Scalars{{"train/loss", 0.75f}, {"train/learning_rate", 1e-4f}}));
  EXPECT_EQ(events[2].step, 300);
  EXPECT_THAT(writer.path().filename().string(), testing::StartsWith("events.out.tfevents."));
}

TEST_F(TensorboardTest, AResumedRunSaysWhereItGoesOn) {
  EventWriter writer(folder_, 12);
  auto events = read_events(writer.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_TRUE(events[1].starts_session);
  EXPECT_EQ(events[1].step, 12);
}

TEST_F(TensorboardTest, TheNamesOfLaterFilesSortLater) {
  std::vector<fs::path> paths;
  for (int i = 0; i < 5; ++i) paths.push_back(EventWriter(folder_, i).path());
  EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end()));
  write_file(folder_ / "events.out.tfevents.4000000000.elsewhere.1.0", "");  // the clock was set back
  EXPECT_GT(EventWriter(folder_, 5).path(), folder_ / "events.out.tfevents.4000000000.elsewhere.1.0");
}

TEST_F(TensorboardTest, CutsBackToAStepAndTakesATornEndAway) {
  fs::path path;
  {
    EventWriter writer(folder_, 0);
    path = writer.path();
    for (int step = 1; step <= 4; ++step) {
      writer.write(step, step, {{"train/loss", step}});
      if (step == 2) writer.write(step, step, {{"valid/log_loss", step}});
    }
  }
  std::string whole = read_text(path);
  write_file(path, whole.substr(0, whole.size() - 3));
  EXPECT_EQ(read_events(path).size(), 5u);
  cut_events(folder_, 2, 2);
  EXPECT_EQ(read_events(path).size(), 4u);
  EXPECT_EQ(read_text(path), whole.substr(0, fs::file_size(path)));
  cut_events(folder_, 2, 0);  // evaluated again
  EXPECT_EQ(read_events(path).size(), 3u);
  cut_events(folder_, 0, -1);
  EXPECT_EQ(read_events(path).size(), 1u);
}

TEST_F(TensorboardTest, EveryDamagedByteIsSeen) {
  fs::path path;
  {
    EventWriter writer(folder_, 0);
    path = writer.path();
    writer.write(1, 1, {{"train/loss", 1}});
  }
  std::string whole = read_text(path);
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    write_file(path, damaged);
    EXPECT_THROW(read_events(path), Error) << at;
  }
}

}  // namespace
}  // namespace gavel

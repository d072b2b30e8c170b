#include "report/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

namespace gavel {
namespace {

using testing::HasSubstr;
using testing::Not;

/** What a terminal of one line and `\r`, `\n` and erase-to-end would show, line by line. */
std::vector<std::string> screen(const std::string& output) {
  std::vector<std::string> lines(1);
  size_t column = 0;
  for (size_t i = 0; i < output.size(); ++i) {
    if (output.compare(i, 3, "\x1b[K") == 0) {
      lines.back().resize(column);
      i += 2;
    } else if (output[i] == '\r') {
      column = 0;
    } else if (output[i] == '\n') {
      lines.emplace_back();
      column = 0;
    } else {
      if (lines.back().size() <= column) lines.back().resize(column + 1, ' ');
      lines.back()[column++] = output[i];
    }
  }
  return lines;
}

class ProgressTest : public testing::Test {
 protected:
  Progress::Options options(bool terminal) {
    return {.label = "train", .out = &out_, .terminal = terminal, .width = 100, .clock = [this] { return now_; }};
  }

  std::ostringstream out_;
  double now_ = 1000;
};

TEST_F(ProgressTest, TerminalShowsOneBar) {
  Progress progress(100, options(true));
  for (int step = 1; step <= 50; ++step) {
    now_ += 0.5;
    progress.update(step, 0.75);
  }
  auto lines = screen(out_.str());
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0],
            "[====================>                   ]  train  50/100  50%  loss 0.7500  2.00 steps/s  25s left");
  EXPECT_LT(lines[0].size(), 100u);
}

TEST_F(ProgressTest, RedrawsAtMostTenTimesASecond) {
  Progress progress(100000, options(true));
  for (int step = 1; step <= 1000; ++step) {
    now_ += 0.001;
    progress.update(step);
  }
  std::string text = out_.str();
  auto draws = std::count(text.begin(), text.end(), '\r');
  EXPECT_GE(draws, 9);
  EXPECT_LE(draws, 11);
}

TEST_F(ProgressTest, LinesStayWholeAboveTheBar) {
  {
    Progress progress(10, options(true));
    progress.line("before");
    now_ += 1;
    progress.update(1, 2.0);
    progress.line("short");
    now_ += 1;
    progress.update(2, 1.0);
    auto lines = screen(out_.str());
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_EQ(lines[0], "before");
    EXPECT_EQ(lines[1], "short");
    EXPECT_THAT(lines[2], HasSubstr("2/10"));
  }
  EXPECT_EQ(screen(out_.str()), (std::vector<std::string>{"before", "short", ""}));
}

TEST_F(ProgressTest, NeverWiderThanTheTerminal) {
  for (size_t width : {1, 10, 30, 60, 61, 80, 200}) {
    out_.str("");
    auto narrow = options(true);
    narrow.width = width;
    Progress progress(1000000, narrow);
    now_ += 3;
    progress.update(999999, 1.5);
    EXPECT_LT(screen(out_.str()).back().size(), width) << width;
  }
}

TEST_F(ProgressTest, PlainLinesNowAndThenWithoutControlCharacters) {
  Progress progress(600, options(false));
  for (int step = 1; step <= 600; ++step) {
    now_ += 0.1;
    progress.update(step, 1.0986);
  }
  progress.line("note");
  progress.finish();
  progress.finish();
  EXPECT_THAT(out_.str(), Not(HasSubstr("\r")));
  EXPECT_THAT(out_.str(), Not(HasSubstr("\x1b")));
  auto lines = screen(out_.str());
  ASSERT_GE(lines.size(), 4u);
  EXPECT_THAT(lines[0], testing::MatchesRegex("train  30./600  50%  loss 1.0986  10.0 steps/s  30s left"));
  EXPECT_EQ(lines[lines.size() - 3], "note");
  EXPECT_EQ(lines[lines.size() - 2], "train: 600 steps in 1m 00s");
}

TEST_F(ProgressTest, RateFollowsTheRecentPast) {
  Progress progress(100000, options(false));
  for (int step = 1; step <= 100; ++step) {
    now_ += 1;
    progress.update(step);
  }
  EXPECT_NEAR(progress.rate(), 1, 0.05);
  int64_t done = 100;
  for (int i = 0; i < 4000; ++i) {
    now_ += 0.01;
    progress.update(done += 1);
  }
  EXPECT_NEAR(progress.rate(), 100, 5);
  EXPECT_NEAR(progress.seconds_left(), (100000.0 - 4100) / 100, 60);
}

TEST_F(ProgressTest, SlowStepsAreSecondsPerStep) {
  Progress progress(10, options(true));
  EXPECT_EQ(progress.rate(), 0);
  EXPECT_TRUE(std::isnan(progress.seconds_left()));
  for (int step = 1; step <= 3; ++step) {
    now_ += 50;
    progress.update(step);
  }
  EXPECT_THAT(screen(out_.str()).back(), HasSubstr("50s a step  5m 50s left"));
}

TEST_F(ProgressTest, UnknownTotalHasNoBar) {
  Progress progress(0, options(true));
  now_ += 1;
  progress.update(1234);
  EXPECT_EQ(screen(out_.str()).back(), "train  1,234  1234 steps/s");
}

}  // namespace
}  // namespace gavel

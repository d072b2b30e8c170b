#include "report/loss_plot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "base/error.h"
#include "base/file.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

LossPlot example(int steps) {
  LossPlot plot;
  plot.title = "Loss <of> a run & more";
  for (int i = 1; i <= steps; ++i)
    plot.train.push_back({static_cast<double>(i), 0.6 + 0.5 * std::exp(-3.0 * i / steps) + 0.1 * std::sin(i * 2.4)});
  plot.valid = {{0, 1.12}, {static_cast<double>(steps), 0.71}};
  return plot;
}

/** Every number of the attribute `name`. */
std::vector<double> numbers(const std::string& svg, const std::string& name) {
  std::vector<double> out;
  std::regex pattern(" " + name + "=\"(-?[0-9.]+)\"");
  for (std::sregex_iterator it(svg.begin(), svg.end(), pattern), end; it != end; ++it)
    out.push_back(std::stod((*it)[1]));
  return out;
}

TEST(LossPlot, HasAllItsParts) {
  std::string svg = loss_svg(example(100));
  EXPECT_THAT(svg, testing::StartsWith("<svg xmlns="));
  EXPECT_THAT(svg, HasSubstr("Loss &lt;of&gt; a run &amp; more"));
  for (const char* part : {"prefers-color-scheme: dark", "class=\"step\"", "class=\"mean\"", "class=\"point\"",
                           "optimizer step", "loss of a step", "moving mean", ">validation<", ">1.120<", ">0.710<"})
    EXPECT_THAT(svg, HasSubstr(part));
  EXPECT_EQ(numbers(svg, "cy").size(), 2u);
  EXPECT_GT(numbers(svg, "cy")[1], numbers(svg, "cy")[0]);  // a lower loss is further down
  EXPECT_EQ(svg, loss_svg(example(100)));
}

TEST(LossPlot, FiguresOfNearValidationsAreNotWrittenOverEachOther) {
  LossPlot plot = example(263);
  plot.valid = {{0, 1.12}, {130, 0.9}, {260, 0.72}, {263, 0.71}};
  const std::string svg = loss_svg(plot);
  for (const char* written : {">1.120<", ">0.900<", ">0.710<"}) EXPECT_THAT(svg, HasSubstr(written));
  EXPECT_THAT(svg, Not(HasSubstr(">0.720<")));
  EXPECT_EQ(numbers(svg, "cy").size(), 4U);
}

TEST(LossPlot, OddSeriesGiveFiniteCoordinates) {
  std::vector<LossPlot> plots(9);
  plots[1].train = {{1, 0.5}};
  plots[2].valid = {{10, 0.7}};
  plots[3].train = {{1, 0.5}, {2, 0.5}, {3, 0.5}};
  plots[4].train = {{1, NAN}, {2, INFINITY}, {3, -INFINITY}};
  plots[5].train = {{1, 1.0}, {2, NAN}, {3, 1.2}};
  plots[6].train = {{1, 1e30}, {2, 1e-30}};
  plots[7].train = {{5, 0}, {5, 1}};
  plots[8] = example(3);
  plots[8].reference = {std::log(3.0), "guessing"};
  for (size_t i = 0; i < plots.size(); ++i) {
    std::string svg = loss_svg(plots[i]);
    EXPECT_THAT(svg, Not(HasSubstr("nan"))) << i;
    EXPECT_THAT(svg, Not(HasSubstr("\"inf"))) << i;
    EXPECT_THAT(svg, Not(HasSubstr(" inf"))) << i;
    EXPECT_LT(svg.size(), 20000u) << i;
  }
  EXPECT_THAT(loss_svg(plots[0]), HasSubstr("no steps yet"));
  EXPECT_THAT(loss_svg(plots[4]), HasSubstr("no steps yet"));
  EXPECT_THAT(loss_svg(plots[8]), HasSubstr("guessing"));
  // A gap begins a new piece of the line.
  std::string gap = loss_svg(plots[5]);
  std::smatch path;
  ASSERT_TRUE(std::regex_search(gap, path, std::regex("class=\"step\" d=\"([^\"]*)\"")));
  EXPECT_THAT(path[1].str(), testing::MatchesRegex("M[0-9. ]*M[0-9. ]*"));
}

TEST(LossPlot, ASpikeDoesNotFlattenTheCurve) {
  LossPlot plot = example(500);
  double before = numbers(loss_svg(plot), "cy")[0] - numbers(loss_svg(plot), "cy")[1];
  plot.train[100].y = 50;
  std::string svg = loss_svg(plot);
  // The smoothed line still has to fit, so some of the height goes.
  EXPECT_GT(std::abs(numbers(svg, "cy")[0] - numbers(svg, "cy")[1]), 0.2 * std::abs(before));
}

TEST(LossPlot, AShortRunIsShownWhole) {
  std::string svg = loss_svg({.train = {{1, 3.0}, {2, 1.0}, {3, 0.9}}});
  std::smatch path;
  ASSERT_TRUE(std::regex_search(svg, path, std::regex("class=\"step\" d=\"M[0-9.]+ (-?[0-9.]+)")));
  EXPECT_GE(std::stod(path[1]), 92);  // the frame's top
}

TEST(LossPlot, LongRunsStaySmallFiles) {
  EXPECT_LT(loss_svg(example(200000)).size(), 100000u);
}

TEST(LossPlot, WritesAWholeFile) {
  auto path = std::filesystem::path(testing::TempDir()) / "gavel_loss_test.svg";
  write_loss_svg(path, example(20));
  EXPECT_EQ(read_text(path), loss_svg(example(20)));
  std::filesystem::remove(path);
  EXPECT_THROW(write_loss_svg("/nonexistent_folder/loss.svg", example(2)), Error);
}

TEST(Smoothed, IsTheCentredMean) {
  auto out = smoothed({{1, 0}, {2, 3}, {3, NAN}, {4, 6}, {5, 30}}, 3);
  ASSERT_EQ(out.size(), 4u);
  EXPECT_DOUBLE_EQ(out[0].y, 1.5);
  EXPECT_DOUBLE_EQ(out[1].y, 3);
  EXPECT_DOUBLE_EQ(out[2].y, 13);
  EXPECT_DOUBLE_EQ(out[3].y, 18);
  EXPECT_EQ(out[2].x, 4);
  EXPECT_TRUE(smoothed({}, 5).empty());
}

TEST(RoundTicks, CoverTheRangeInRoundSteps) {
  EXPECT_THAT(round_ticks(0, 100, 5), ElementsAre(0, 20, 40, 60, 80, 100));
  EXPECT_THAT(round_ticks(3, 97, 4), ElementsAre(0, 25, 50, 75, 100));
  EXPECT_THAT(round_ticks(-1, 1, 4), ElementsAre(-1, -0.5, 0, 0.5, 1));
  EXPECT_EQ(round_ticks(5, 5, 4).size(), 1u);
  for (double high : {1e-12, 0.3, 7.0, 1e12}) {
    auto ticks = round_ticks(high / 3, high, 6);
    EXPECT_LE(ticks.front(), high / 3 * (1 + 1e-9));
    EXPECT_GE(ticks.back(), high * (1 - 1e-9));
    EXPECT_LE(ticks.size(), 9u);
  }
}

}  // namespace
}  // namespace gavel

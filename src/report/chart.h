#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "report/scores.h"
#include "report/svg.h"

namespace gavel {

/** One curve or group of points of a chart. */
struct ChartSeries {
  enum class Mark : uint8_t {
    kLine,    // thick
    kFaint,   // thin and light, with peaks cut off: the single values behind a thick line of means
    kPoints,  // dots joined by a dotted line
    kCloud,   // many faint dots
  };
  std::string name;  // in the legend; "" = not there
  std::vector<PlotPoint> points;
  Mark mark = Mark::kLine;
  /** Which of the page's colours, 0 to 5 (further ones begin again). */
  size_t color = 0;
};

/** How the numbers of an axis are written. */
enum class AxisNumbers : uint8_t { kPlain, kScientific, kCount };

struct Chart {
  std::string title, x_name = "optimizer step";
  std::vector<ChartSeries> series;
  AxisNumbers y_numbers = AxisNumbers::kPlain;
  /** A dashed line with its name. */
  std::optional<std::pair<double, std::string>> reference;
  /** Begin the y axis at 0. */
  bool from_zero = false;
  /** The x axis counts whole things (steps, tokens): no tick between two of them. */
  bool x_whole = true;
  double width = 400, height = 250;  // in SVG units of about a pixel
};

/** The chart as an <svg> that takes its colours from the page (chart_style()). */
std::string chart_svg(const Chart& chart);

/** An <svg> of accuracy over confidence with the diagonal of a perfectly calibrated judge, and below it the share of
 * rows in each bin. */
std::string reliability_svg(const Scores& scores);

/** The CSS that charts need: classes and colours for light and dark. */
std::string chart_style();

}  // namespace gavel

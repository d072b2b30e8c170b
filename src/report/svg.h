#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** A point of a plot. */
struct PlotPoint {
  double x, y;
};

/** Text for HTML and SVG, between tags and in quoted attributes: & < > " ' are written as entities, control
 * characters become spaces, bytes that are no UTF-8 become U+FFFD. */
std::string escape_markup(std::string_view text);

/** Maps values from [low, high] to places in a picture, [from, to]. */
struct Scale {
  double low, high, from, to;
  double operator()(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

/** Points whose numbers are finite. */
std::vector<PlotPoint> finite_points(const std::vector<PlotPoint>& points);

/** At most about `most` points: of more it keeps the lowest and the highest of each stretch, so that the picture of a
 * long run looks the same and stays a small file. */
std::vector<PlotPoint> thinned(const std::vector<PlotPoint>& points, size_t most);

/** Mean of each point and its neighbours, `window` points in all (fewer at the ends); points that are not
 * finite are left out. */
std::vector<PlotPoint> smoothed(const std::vector<PlotPoint>& points, size_t window);

/** Training losses smoothed twice, with a window that follows from their number: near steps weigh more, and a single
 * high step makes no box in the curve. */
std::vector<PlotPoint> moving_mean(const std::vector<PlotPoint>& points);

/** Round numbers that cover [low, high] in about `count` intervals; the step is 1, 2, 2.5 or 5 times a power
 * of ten. */
std::vector<double> round_ticks(double low, double high, int count);

/** How many decimals tell ticks apart that lie `step` from each other. */
int tick_decimals(double step);

/** An SVG path through the points; values that are not finite leave a gap. */
std::string path_of(const std::vector<PlotPoint>& points, const Scale& x, const Scale& y);

/** The largest value when the highest fiftieth of the points is left out, as the top of a plot of noisy points;
 * -infinity without points. */
double high_without_peaks(const std::vector<PlotPoint>& points);

}  // namespace gavel

#include "report/chart.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "report/table.h"

namespace gavel {

namespace {

constexpr double kLeft = 50, kRight = 12, kTop = 40, kLegend = 20, kBottom = 40;
constexpr size_t kMostPoints = 1200, kColors = 6, kMostValues = 6;
/** Of a written value, so that the next one is not written over it. */
constexpr double kValueWidth = 40;

struct Range {
  double low = INFINITY, high = -INFINITY;
  void add(double value) {
    if (!std::isfinite(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return !(low <= high); }
};

std::string number_text(double value, double step, AxisNumbers kind) {
  if (kind == AxisNumbers::kScientific) {
    if (value == 0) return "0";
    std::string text = fmt::format("{:.1e}", value);  // 2.0e-04 → 2e-4
    size_t e = text.find('e');
    std::string digits = text.substr(0, e);
    if (digits.ends_with(".0")) digits.resize(digits.size() - 2);
    return fmt::format("{}e{}", digits, std::stoi(text.substr(e + 1)));
  }
  if (std::abs(value) >= 1000) return format_count(std::llround(value));
  return fmt::format("{:.{}f}", value, tick_decimals(step));
}

/** Coordinates and axes of a chart. */
struct Frame {
  double width, height, top;
  Scale x, y;

  double bottom() const { return height - kBottom; }
  double right() const { return width - kRight; }
};

std::string axes(const Frame& frame, const std::vector<double>& rows, const std::vector<double>& columns,
                 AxisNumbers y_numbers, const std::string& x_name) {
  std::string svg;
  double row_step = rows.size() > 1 ? rows[1] - rows[0] : 1,
         column_step = columns.size() > 1 ? columns[1] - columns[0] : 1;
  for (double tick : rows)
    svg += fmt::format(
        "<line class=\"{}\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text x=\"{}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{}</text>",
        tick == rows.front() ? "axis" : "grid", kLeft, frame.right(), frame.y(tick), frame.y(tick), kLeft - 6,
        frame.y(tick) + 4, number_text(tick, row_step, y_numbers));
  for (double tick : columns) {
    if (tick < frame.x.low - 1e-9 || tick > frame.x.high + 1e-9) continue;
    svg += fmt::format(
        "<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/><text x=\"{0:.1f}\" "
        "y=\"{3}\" "
        "text-anchor=\"middle\">{4}</text>",
        frame.x(tick), frame.bottom(), frame.bottom() + 4, frame.bottom() + 17,
        number_text(tick, column_step, AxisNumbers::kPlain));
  }
  return svg + fmt::format("<text class=\"axis-name\" x=\"{:.1f}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                           frame.right(), frame.height - 6, escape_markup(x_name));
}

std::string open_svg(double width, double height, const std::string& title) {
  std::string safe = escape_markup(title);
  return fmt::format(
      "<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\"><text class=\"chart-title\" "
      "x=\"0\" y=\"16\">{}</text>",
      width, height, safe, safe);
}

std::string legend(const Chart& chart, size_t most_letters) {
  std::string svg;
  double at = kLeft;
  for (const ChartSeries& series : chart.series) {
    if (series.name.empty()) continue;
    std::string name =
        text_width(series.name) > most_letters ? series.name.substr(0, most_letters - 1) + "…" : series.name;
    double next = at + 18 + 6.3 * static_cast<double>(text_width(name)) + 12;
    if (next > chart.width && at > kLeft) break;
    svg += fmt::format(
        "<rect class=\"c{} swatch\" x=\"{:.1f}\" y=\"29\" width=\"12\" height=\"4\" rx=\"2\"{}/><text "
        "x=\"{:.1f}\" "
        "y=\"35\">{}</text>",
        series.color % kColors, at, series.mark == ChartSeries::Mark::kFaint ? " opacity=\"0.45\"" : "", at + 17,
        escape_markup(name));
    at = next;
  }
  return svg;
}

std::string marks(const ChartSeries& series, const Frame& frame, bool values) {
  size_t color = series.color % kColors;
  std::string svg;
  switch (series.mark) {
    case ChartSeries::Mark::kLine:
      return fmt::format("<path class=\"c{} line\" d=\"{}\"/>", color,
                         path_of(thinned(finite_points(series.points), kMostPoints), frame.x, frame.y));
    case ChartSeries::Mark::kFaint: {
      const auto& points = series.points;
      return fmt::format("<path class=\"c{} faint\" d=\"{}\"/>", color,
                         path_of(points.size() <= kMostPoints ? points : thinned(finite_points(points), kMostPoints),
                                 frame.x, frame.y));
    }
    case ChartSeries::Mark::kPoints: {
      std::vector<PlotPoint> points = finite_points(series.points);
      if (points.size() > 1)
        svg += fmt::format("<path class=\"c{} dotted\" d=\"{}\"/>", color, path_of(points, frame.x, frame.y));
      for (const PlotPoint& point : points)
        svg += fmt::format(
            "<circle class=\"c{} dot\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"><title>{}: "
            "{:.4f}</title></circle>",
            color, frame.x(point.x), frame.y(point.y), points.size() > 40 ? 2 : 3.5, point.x, point.y);
      for (size_t i = 0; values && i < points.size(); ++i) {
        const double at = frame.x(points[i].x), above = frame.y(points[i].y) - 8;
        const bool inner = i != 0 && i + 1 != points.size();
        if (inner && (points.size() > kMostValues || frame.x(points[i + 1].x) - at < kValueWidth)) continue;
        svg += fmt::format("<text class=\"value\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{:.3f}</text>", at,
                           above < frame.top + 6 ? above + 24 : above,
                           at > frame.right() - 20 ? "end"
                           : at < kLeft + 20       ? "start"
                                                   : "middle",
                           points[i].y);
      }
      return svg;
    }
    case ChartSeries::Mark::kCloud: {
      // One path of zero-length strokes with round ends: small even with thousands of dots.
      std::string path;
      for (const PlotPoint& point : finite_points(series.points))
        path += fmt::format("M{:.0f} {:.0f}h0", frame.x(point.x), frame.y(point.y));
      return fmt::format("<path class=\"c{} cloud\" d=\"{}\"/>", color, path);
    }
  }
  return svg;
}

}  // namespace

std::string chart_svg(const Chart& chart) {
  Range x, y;
  size_t named = 0, point_series = 0;
  for (const ChartSeries& series : chart.series) {
    named += !series.name.empty();
    point_series += series.mark == ChartSeries::Mark::kPoints;
    // Peaks of noisy series run off the top, so that they don't flatten what matters.
    if (series.mark == ChartSeries::Mark::kFaint) y.add(high_without_peaks(series.points));
    for (const PlotPoint& point : finite_points(series.points)) {
      x.add(point.x);
      if (series.mark != ChartSeries::Mark::kFaint) y.add(point.y);
      y.low = std::min(y.low, point.y);
    }
  }
  std::string svg = open_svg(chart.width, chart.height, chart.title);
  if (y.empty())
    return svg + fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">nothing yet</text></svg>", chart.width / 2,
                             chart.height / 2);
  if (chart.reference) y.add(chart.reference->first);
  if (chart.from_zero) y.add(0);
  if (y.high - y.low < 1e-9 * std::max(1.0, std::abs(y.high))) {
    double around = y.high == 0 ? 1 : 0.1 * std::abs(y.high);
    y.low -= around;
    y.high += around;
  }
  if (x.low > 0 && x.low < 0.1 * x.high) x.low = 0;
  if (!(x.high > x.low)) x.high = x.low + 1;
  std::vector<double> rows = round_ticks(y.low, y.high, 5),
                      columns = round_ticks(x.low, x.high, chart.width > 600 ? 8 : 4);
  if (chart.x_whole)
    std::erase_if(columns,
                  [](double tick) { return std::abs(tick - std::round(tick)) > 1e-6; });  // there is no half step
  double top = kTop + (named > 0 ? kLegend / 2 : -kLegend / 2);
  Frame frame{chart.width,
              chart.height,
              top,
              {x.low, x.high, kLeft, chart.width - kRight},
              {rows.front(), rows.back(), chart.height - kBottom, top}};
  if (named > 0) svg += legend(chart, chart.width > 600 ? 40 : named > 2 ? 14 : 22);
  svg += axes(frame, rows, columns, chart.y_numbers, chart.x_name);
  // A nested <svg> clips without a name that would have to be unique on the page.
  svg += fmt::format("<svg x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" viewBox=\"{0} {1} {2} {3}\">", kLeft - 5,
                     top - 3, chart.width - kLeft - kRight + 10, frame.bottom() - top + 8);
  if (chart.reference)
    svg += fmt::format("<line class=\"reference\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>", kLeft,
                       frame.right(), frame.y(chart.reference->first), frame.y(chart.reference->first));
  for (const ChartSeries& series : chart.series) svg += marks(series, frame, point_series == 1);
  svg += "</svg>";
  if (chart.reference)
    svg +=
        fmt::format("<text class=\"note\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>", frame.right() - 2,
                    frame.y(chart.reference->first) + (frame.y(chart.reference->first) < top + 20 ? 14 : -5),
                    escape_markup(chart.reference->second));
  return svg + "</svg>";
}

std::string reliability_svg(const Scores& scores) {
  constexpr double kWidth = 400, kHeight = 340, kBars = 46, kPlotTop = 34;
  const double plot_bottom = kHeight - kBottom - kBars - 12;
  std::string svg =
      open_svg(kWidth, kHeight, fmt::format("Reliability: calibration error {:.3f}", scores.calibration_error));
  Scale x{0.2, 1, kLeft, kWidth - kRight}, y{0, 1, plot_bottom, kPlotTop};
  for (double tick : {0.0, 0.25, 0.5, 0.75, 1.0})
    svg += fmt::format(
        "<line class=\"{}\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text x=\"{}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{:.2f}</text>",
        tick == 0 ? "axis" : "grid", kLeft, kWidth - kRight, y(tick), y(tick), kLeft - 6, y(tick) + 4, tick);
  svg += fmt::format("<line class=\"reference\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>", x(0.2),
                     y(0.2), x(1.0), y(1.0));
  int64_t most = 1;
  for (const ReliabilityBin& bin : scores.bins) most = std::max(most, bin.rows);
  const double bars_top = plot_bottom + 12, bars_bottom = bars_top + kBars;
  std::vector<PlotPoint> line;
  for (const ReliabilityBin& bin : scores.bins) {
    double low = std::max(0.2, bin.low), high = bin.high, left = x(low) + 1, wide = std::max(1.0, x(high) - x(low) - 2);
    double tall = std::max(1.0, kBars * static_cast<double>(bin.rows) / static_cast<double>(most));
    std::string title =
        fmt::format("<title>confidence {:.2f} to {:.2f}: {} rows, mean confidence {:.3f}, accuracy {:.3f}</title>",
                    bin.low, bin.high, format_count(bin.rows), bin.confidence, bin.accuracy);
    double at = y(bin.accuracy), to = y(bin.confidence);
    svg += fmt::format("<rect class=\"gap\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\">{}</rect>",
                       left, std::min(at, to), wide, std::abs(at - to), title);
    svg += fmt::format("<line class=\"c0 line\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>", left,
                       left + wide, at, at);
    svg += fmt::format("<rect class=\"c0 bar\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\">{}</rect>",
                       left, bars_bottom - tall, wide, tall, title);
    line.push_back({bin.confidence, bin.accuracy});
  }
  svg += fmt::format("<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>", kLeft, kWidth - kRight,
                     bars_bottom, bars_bottom);
  svg += fmt::format("<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">rows</text>", kLeft - 6,
                     bars_bottom - kBars / 2 + 4);
  for (double tick : {0.2, 0.4, 0.6, 0.8, 1.0})
    svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:.1f}</text>", x(tick),
                       bars_bottom + 16, tick);
  svg += fmt::format(
      "<text class=\"axis-name\" x=\"{}\" y=\"{}\" text-anchor=\"end\">confidence (largest probability); "
      "line: accuracy</text>",
      kWidth - kRight, kHeight - 6);
  return svg + "</svg>";
}

std::string chart_style() {
  return R"(
:root { --c0: #2f6fde; --c1: #e8590c; --c2: #2b8a3e; --c3: #9c36b5; --c4: #c2255c; --c5: #0c8599;
  --chart-text: #5b6472; --chart-title: #1a1f29; --grid: #e9ebf0; --axis: #b6bcc8; --reference: #8a93a3; --halo: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --c0: #6ea8ff; --c1: #ff9a4d; --c2: #69db7c; --c3: #da77f2; --c4: #f783ac; --c5: #3bc9db;
  --chart-text: #a2abb9; --chart-title: #eef0f4; --grid: #2a303a; --axis: #4b5362; --reference: #8a93a3; --halo: #1b1f27; } }
.chart { display: block; width: 100%; height: auto; overflow: visible; }
.chart text { fill: var(--chart-text); font-size: 11px; }
.chart .chart-title { fill: var(--chart-title); font-size: 14px; font-weight: 600; }
.chart .axis-name { font-size: 11px; font-style: italic; }
.chart .grid { stroke: var(--grid); } .chart .axis { stroke: var(--axis); }
.chart .reference { stroke: var(--reference); stroke-dasharray: 5 4; }
.chart .note, .chart .value { paint-order: stroke; stroke: var(--halo); stroke-width: 3px; stroke-linejoin: round; }
.chart .value { font-weight: 600; }
.c0 { --own: var(--c0); } .c1 { --own: var(--c1); } .c2 { --own: var(--c2); }
.c3 { --own: var(--c3); } .c4 { --own: var(--c4); } .c5 { --own: var(--c5); }
.chart .swatch, .chart .bar { fill: var(--own); } .chart .bar { opacity: 0.75; }
.chart .line { fill: none; stroke: var(--own); stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
.chart .faint { fill: none; stroke: var(--own); stroke-width: 1; stroke-opacity: 0.3; stroke-linejoin: round; }
.chart .dotted { fill: none; stroke: var(--own); stroke-width: 1.3; stroke-dasharray: 2 4; stroke-linecap: round; }
.chart .dot { fill: var(--own); stroke: var(--halo); stroke-width: 1.5; }
.chart .cloud { stroke: var(--own); stroke-width: 4; stroke-linecap: round; stroke-opacity: 0.28; }
.chart .gap { fill: var(--c1); opacity: 0.28; }
)";
}

}  // namespace gavel

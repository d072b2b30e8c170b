#include "report/loss_plot.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "report/table.h"

namespace gavel {

namespace {

// In SVG units; the picture scales.
constexpr double kWidth = 880, kHeight = 480;
constexpr double kLeftMargin = 66, kRightMargin = 28, kTopMargin = 92, kBottomMargin = 58;
constexpr double kPlotWidth = kWidth - kLeftMargin - kRightMargin, kPlotHeight = kHeight - kTopMargin - kBottomMargin;
constexpr size_t kMostPlotted = 1600;
constexpr size_t kDense = 800;  // points above which the thin line becomes a band
/** Of a validation's figure, so that the next one's is not written over it. */
constexpr double kLabelWidth = 44;
constexpr size_t kMostLabels = 12;

constexpr const char* kStyle = R"(
  .background { fill: #ffffff; }
  text { fill: #5b6472; font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
  .title { fill: #1a1f29; font-size: 19px; font-weight: 600; }
  .value { fill: #b34700; font-size: 12px; font-weight: 600; paint-order: stroke; stroke: #ffffff; stroke-width: 3px; stroke-linejoin: round; }
  .grid { stroke: #e9ebf0; stroke-width: 1; }
  .axis { stroke: #b6bcc8; stroke-width: 1; }
  .step { fill: none; stroke: #2f6fde; stroke-width: 1; stroke-opacity: 0.32; stroke-linejoin: round; }
  .dense { stroke-opacity: 0.16; }
  .mean { fill: none; stroke: #2f6fde; stroke-width: 2.6; stroke-linejoin: round; stroke-linecap: round; }
  .valid { fill: none; stroke: #e8590c; stroke-width: 1.4; stroke-dasharray: 2 4; stroke-linecap: round; }
  .point { fill: #e8590c; stroke: #ffffff; stroke-width: 1.8; }
  .reference { stroke: #8a93a3; stroke-width: 1.2; stroke-dasharray: 6 5; }
  .note { font-size: 12px; paint-order: stroke; stroke: #ffffff; stroke-width: 3px; stroke-linejoin: round; }
  @media (prefers-color-scheme: dark) {
    .background { fill: #14171d; }
    text { fill: #a2abb9; }
    .title { fill: #eef0f4; }
    .value { fill: #ffb26b; stroke: #14171d; }
    .grid { stroke: #252a33; }
    .axis { stroke: #4b5362; }
    .step { stroke: #6ea8ff; stroke-opacity: 0.38; }
    .dense { stroke-opacity: 0.2; }
    .mean { stroke: #6ea8ff; }
    .valid { stroke: #ff9a4d; }
    .point { fill: #ff9a4d; stroke: #14171d; }
    .reference { stroke: #77808f; }
    .note { stroke: #14171d; }
  }
)";

/** One entry at `at`; returns where the next one begins. */
double legend_entry(std::string& svg, double at, const std::string& mark, const std::string& text) {
  constexpr double kMark = 26, kLetter = 7.0;
  svg += fmt::format("<g transform=\"translate({:.1f} {})\">{}<text x=\"{}\" y=\"4.5\">{}</text></g>\n", at,
                     kTopMargin - 20, mark, kMark + 6, escape_markup(text));
  return at + kMark + 6 + kLetter * static_cast<double>(text_width(text)) + 22;
}

}  // namespace

std::string loss_svg(const LossPlot& plot) {
  std::vector<PlotPoint> train = finite_points(plot.train), valid = finite_points(plot.valid);
  std::vector<PlotPoint> mean = moving_mean(train);
  bool empty = train.empty() && valid.empty();

  double low = INFINITY, high = high_without_peaks(train), first = INFINITY, last = -INFINITY;
  for (const auto* points : {&mean, &valid})
    for (const PlotPoint& point : *points) high = std::max(high, point.y);
  for (const auto* points : {&train, &valid})
    for (const PlotPoint& point : *points) {
      low = std::min(low, point.y);
      first = std::min(first, point.x);
      last = std::max(last, point.x);
    }
  if (empty) {
    low = first = 0;
    high = last = 1;
  }
  if (plot.reference && std::isfinite(plot.reference->first)) {
    low = std::min(low, plot.reference->first);
    high = std::max(high, plot.reference->first);
  }
  if (high - low < 1e-6 * std::max(1.0, std::abs(high))) {
    low -= 0.05 * std::max(0.1, std::abs(low));
    high += 0.05 * std::max(0.1, std::abs(high));
  }
  if (!(last > first)) last = first + 1;
  // A run starts at the left edge when it starts near 0.
  if (first > 0 && first < 0.1 * last) first = 0;

  std::vector<double> rows = round_ticks(low, high, 6), columns = round_ticks(first, last, 8);
  Scale x{first, last, kLeftMargin, kLeftMargin + kPlotWidth};
  Scale y{rows.front(), rows.back(), kTopMargin + kPlotHeight, kTopMargin};

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "role=\"img\" aria-label=\"{2}\">\n<style>{3}</style>\n"
      "<clipPath id=\"frame\"><rect x=\"{4}\" y=\"{5}\" width=\"{6}\" height=\"{7}\"/></clipPath>\n"
      "<rect class=\"background\" width=\"{0}\" height=\"{1}\" rx=\"10\"/>\n",
      kWidth, kHeight, "Loss by optimizer step", kStyle, kLeftMargin, kTopMargin - 2, kPlotWidth, kPlotHeight + 4);
  svg +=
      fmt::format("<text class=\"title\" x=\"{}\" y=\"32\">{}</text>\n", kLeftMargin - 42, escape_markup(plot.title));
  if (!plot.subtitle.empty())
    svg += fmt::format("<text x=\"{}\" y=\"53\">{}</text>\n", kLeftMargin - 42, escape_markup(plot.subtitle));

  int decimals = rows.size() > 1 ? tick_decimals(rows[1] - rows[0]) : 2;
  for (double tick : rows)
    svg += fmt::format(
        "<line class=\"{}\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
        "<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.{}f}</text>\n",
        tick == rows.front() ? "axis" : "grid", kLeftMargin, kLeftMargin + kPlotWidth, y(tick), y(tick),
        kLeftMargin - 10, y(tick) + 4.5, tick, decimals);
  for (double tick : columns) {
    bool whole = std::abs(tick - std::round(tick)) < 1e-6;  // there is no half step
    if (!whole || tick < first - 1e-9 || tick > last + 1e-9) continue;
    std::string name = format_count(std::llround(tick));
    svg += fmt::format(
        "<line class=\"axis\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/>"
        "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4}</text>\n",
        x(tick), kTopMargin + kPlotHeight, kTopMargin + kPlotHeight + 5, kTopMargin + kPlotHeight + 21, name);
  }
  svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">optimizer step</text>\n",
                     kLeftMargin + kPlotWidth / 2, kHeight - 14);

  if (plot.reference && std::isfinite(plot.reference->first)) {
    double at = y(plot.reference->first);
    svg += fmt::format(
        "<line class=\"reference\" x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\"/>"
        "<text class=\"note\" x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5}</text>\n",
        kLeftMargin, kLeftMargin + kPlotWidth, at, kLeftMargin + kPlotWidth - 6, at - 6,
        escape_markup(plot.reference->second));
  }
  svg += "<g clip-path=\"url(#frame)\">\n";
  // The gaps of the step line are the user's to see; the mean runs through them.
  svg += fmt::format("<path class=\"{}\" d=\"{}\"/>\n", train.size() > kDense ? "step dense" : "step",
                     path_of(train.size() <= kMostPlotted ? plot.train : thinned(train, kMostPlotted), x, y));
  svg += fmt::format("<path class=\"mean\" d=\"{}\"/>\n", path_of(thinned(mean, kMostPlotted), x, y));
  if (valid.size() > 1) svg += fmt::format("<path class=\"valid\" d=\"{}\"/>\n", path_of(valid, x, y));
  svg += "</g>\n";
  for (const PlotPoint& point : valid)
    svg += fmt::format("<circle class=\"point\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\"/>\n", x(point.x), y(point.y),
                       valid.size() > 40 ? 3 : 5);
  for (size_t i = 0; i < valid.size(); ++i) {
    const double at = x(valid[i].x);
    const bool inner = i != 0 && i + 1 != valid.size();
    if (inner && (valid.size() > kMostLabels || x(valid[i + 1].x) - at < kLabelWidth)) continue;
    const char* anchor = at < kLeftMargin + 24 ? "start" : at > kLeftMargin + kPlotWidth - 24 ? "end" : "middle";
    double shift = at < kLeftMargin + 24 ? 8 : 0;
    svg += fmt::format("<text class=\"value\" x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{:.3f}</text>\n", at + shift,
                       std::max(kTopMargin + 2, y(valid[i].y) - 11), anchor, valid[i].y);
  }
  if (empty)
    svg += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">no steps yet</text>\n",
                       kLeftMargin + kPlotWidth / 2, kTopMargin + kPlotHeight / 2);

  double at = kLeftMargin;
  if (!train.empty()) {
    at = legend_entry(svg, at, "<line class=\"step\" x2=\"26\" style=\"stroke-width: 2\"/>", "loss of a step");
    at = legend_entry(svg, at, "<line class=\"mean\" x1=\"2\" x2=\"24\"/>", "moving mean");
  }
  if (!valid.empty()) legend_entry(svg, at, "<circle class=\"point\" cx=\"18\" r=\"5\"/>", "validation");
  return svg + "</svg>\n";
}

void write_loss_svg(const std::filesystem::path& path, const LossPlot& plot) {
  write_file(path, loss_svg(plot));
}

}  // namespace gavel

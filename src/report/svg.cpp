#include "report/svg.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace gavel {

namespace {

/** Bytes of the UTF-8 letter that `text` begins with; 0 when it is none. */
size_t letter_size(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto follows = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first < 0xE0) return follows(1) ? 2 : 0;
  if (first >= 0xE0 && first < 0xF0) {
    bool is_long = first != 0xE0 || byte(1) >= 0xA0, is_surrogate = first == 0xED && byte(1) >= 0xA0;
    return follows(1) && follows(2) && is_long && !is_surrogate ? 3 : 0;
  }
  if (first >= 0xF0 && first < 0xF5) {
    bool in_range = (first != 0xF0 || byte(1) >= 0x90) && (first != 0xF4 || byte(1) < 0x90);
    return follows(1) && follows(2) && follows(3) && in_range ? 4 : 0;
  }
  return 0;
}

}  // namespace

std::string escape_markup(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t size = letter_size(text);
    if (size == 0) {
      out += "\xEF\xBF\xBD";
    } else if (size > 1) {
      out += text.substr(0, size);
    } else if (text[0] == '&') {
      out += "&amp;";
    } else if (text[0] == '<') {
      out += "&lt;";
    } else if (text[0] == '>') {
      out += "&gt;";
    } else if (text[0] == '"') {
      out += "&quot;";
    } else if (text[0] == '\'') {
      out += "&#39;";
    } else {
      bool is_control =
          (static_cast<unsigned char>(text[0]) < 0x20 && text[0] != '\n' && text[0] != '\t') || text[0] == 0x7f;
      out += is_control ? ' ' : text[0];  // XML has no control characters
    }
    text.remove_prefix(std::max<size_t>(1, size));
  }
  return out;
}

std::vector<PlotPoint> finite_points(const std::vector<PlotPoint>& points) {
  std::vector<PlotPoint> out;
  for (const PlotPoint& point : points)
    if (std::isfinite(point.x) && std::isfinite(point.y)) out.push_back(point);
  return out;
}

std::vector<PlotPoint> thinned(const std::vector<PlotPoint>& points, size_t most) {
  if (points.size() <= most) return points;
  std::vector<PlotPoint> out;
  size_t stretches = most / 2;
  auto lower = [](const PlotPoint& a, const PlotPoint& b) { return a.y < b.y; };
  for (size_t i = 0; i < stretches; ++i) {
    auto begin = points.begin() + static_cast<ptrdiff_t>(i * points.size() / stretches);
    auto end = points.begin() + static_cast<ptrdiff_t>((i + 1) * points.size() / stretches);
    auto [low, high] = std::minmax_element(begin, end, lower);
    if (low == high) {
      out.push_back(*low);
    } else {
      out.push_back(low < high ? *low : *high);
      out.push_back(low < high ? *high : *low);
    }
  }
  return out;
}

std::vector<PlotPoint> smoothed(const std::vector<PlotPoint>& points, size_t window) {
  std::vector<PlotPoint> finite = finite_points(points), out;
  std::vector<double> sums = {0};
  for (const PlotPoint& point : finite) sums.push_back(sums.back() + point.y);
  size_t half = window / 2;
  for (size_t i = 0; i < finite.size(); ++i) {
    size_t begin = i - std::min(i, half), end = std::min(finite.size(), i + half + 1);
    out.push_back({finite[i].x, (sums[end] - sums[begin]) / static_cast<double>(end - begin)});
  }
  return out;
}

std::vector<double> round_ticks(double low, double high, int count) {
  double rough = (high - low) / count;
  if (!(rough > 0) || !std::isfinite(rough)) return {low};
  double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double factor : {5.0, 2.5, 2.0, 1.0})
    if (factor * power >= rough * (1 - 1e-9)) step = factor * power;
  std::vector<double> ticks;
  double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  for (double i = first; i <= last; ++i) ticks.push_back(i * step);
  return ticks;
}

int tick_decimals(double step) {
  int decimals = 0;
  while (decimals < 9 && std::abs(step - std::round(step)) > 1e-6 * step) {
    step *= 10;
    ++decimals;
  }
  return decimals;
}

std::string path_of(const std::vector<PlotPoint>& points, const Scale& x, const Scale& y) {
  std::string path;
  bool gap = true;
  for (const PlotPoint& point : points) {
    if (!std::isfinite(point.y) || !std::isfinite(point.x)) {
      gap = true;
      continue;
    }
    // Far above the picture is as good as infinitely far.
    path += fmt::format("{}{:.1f} {:.1f}", gap ? "M" : "L", x(point.x), std::max(-1e4, y(point.y)));
    gap = false;
  }
  return path;
}

double high_without_peaks(const std::vector<PlotPoint>& points) {
  std::vector<double> values;
  for (const PlotPoint& point : points)
    if (std::isfinite(point.y)) values.push_back(point.y);
  if (values.empty()) return -INFINITY;
  auto at = values.begin() + static_cast<ptrdiff_t>(values.size() - 1 - values.size() / 50);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

std::vector<PlotPoint> moving_mean(const std::vector<PlotPoint>& points) {
  size_t window = std::max<size_t>(3, points.size() / 16);
  return smoothed(smoothed(points, window), window);
}

}  // namespace gavel

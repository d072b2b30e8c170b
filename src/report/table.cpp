#include "report/table.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace gavel {

size_t text_width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xc0) != 0x80; }));
}

std::string format_table(const std::vector<std::string>& header, const std::vector<std::vector<std::string>>& rows,
                         const std::vector<Align>& alignment) {
  std::vector<size_t> widths;
  for (const std::string& cell : header) widths.push_back(text_width(cell));
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].size() != header.size())
      fail("format_table: row {} has {} cells, the header has {}", i, rows[i].size(), header.size());
    for (size_t column = 0; column < header.size(); ++column)
      widths[column] = std::max(widths[column], text_width(rows[i][column]));
  }

  std::string text;
  auto add_line = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (size_t column = 0; column < cells.size(); ++column) {
      if (column > 0) line += "  ";
      std::string space(widths[column] - text_width(cells[column]), ' ');
      bool right = column < alignment.size() && alignment[column] == Align::kRight;
      line += right ? space + cells[column] : cells[column] + space;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  };
  add_line(header);
  std::vector<std::string> rule;
  for (size_t width : widths) rule.emplace_back(width, '-');
  add_line(rule);
  for (const auto& row : rows) add_line(row);
  return text;
}

std::string format_count(int64_t count) {
  std::string digits = fmt::format("{}", count);
  size_t first = count < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 0.995) return fmt::format("{:.2f}s", seconds);
  if (seconds < 9.95) return fmt::format("{:.1f}s", seconds);
  if (seconds > 1e15) return "?";
  int64_t whole = std::llround(seconds);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m {:02}s", whole / 60, whole % 60);
  int64_t minutes = whole / 60;
  if (minutes < 24 * 60) return fmt::format("{}h {:02}m", minutes / 60, minutes % 60);
  int64_t hours = minutes / 60;
  return fmt::format("{}d {:02}h", hours / 24, hours % 24);
}

std::string format_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would print as 1024.0.
  while (value >= 1023.95 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace gavel

#include "rows/row_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/utf8.h"

namespace gavel::detail {

std::array<std::string, kNumColumns> column_names(const ReadOptions& options) {
  const Columns c = options.format == Format::kGeneric ? options.columns : standard_columns(options.format);
  if (c.prompt.empty() || c.response_a.empty() || c.response_b.empty())
    fail("columns: prompt, response_a and response_b must all be named for the format 'generic'");
  bool some = !c.label_a.empty() || !c.label_b.empty() || !c.label_tie.empty();
  bool all = !c.label_a.empty() && !c.label_b.empty() && !c.label_tie.empty();
  if (some && !all) fail("columns: label_a, label_b and label_tie must be named together");
  if (some && !c.winner.empty()) fail("columns: name either winner or label_a, label_b and label_tie, not both");
  // Weights belong to training alone.
  const std::string weight = options.purpose == Purpose::kTrain ? options.columns.weight : "";
  return {c.id, c.prompt, c.response_a, c.response_b, c.label_a, c.label_b, c.label_tie, c.winner, weight};
}

ColumnIndex find_columns(const std::string& path, const std::array<std::string, kNumColumns>& names,
                         const ReadOptions& options, const std::vector<std::string>& header) {
  auto missing = [&](const std::string& column) {
    fail("{}: expected a column '{}', found {}{}: check data.format, or name the columns with data.columns", path,
         column, fmt::join(header, ", "), did_you_mean(column, header));
  };
  ColumnIndex index;
  index.fill(-1);
  int labels_found = 0, labels_wanted = 0;
  for (size_t c = 0; c < kNumColumns; ++c) {
    if (names[c].empty()) continue;
    auto found = std::find(header.begin(), header.end(), names[c]);
    labels_wanted += is_label(c);
    if (found != header.end()) {
      index[c] = found - header.begin();
      labels_found += is_label(c);
      if (std::find(found + 1, header.end(), names[c]) != header.end())
        fail("{}: the header names the column '{}' twice", path, names[c]);
    } else if (c >= static_cast<size_t>(options.format == Format::kChosen ? Column::kResponseA : Column::kPrompt) &&
               !is_label(c)) {
      missing(names[c]);
    }
  }
  if (labels_found < labels_wanted && (labels_found > 0 || options.purpose == Purpose::kTrain))
    for (size_t c = 0; c < kNumColumns; ++c)
      if (is_label(c) && !names[c].empty() && index[c] < 0) missing(names[c]);
  return index;
}

bool labels_found(const ColumnIndex& index) {
  return index[static_cast<size_t>(Column::kLabelA)] >= 0 || index[static_cast<size_t>(Column::kWinner)] >= 0;
}

void finish_texts(const Turns& prompt, const Turns& a, const Turns& b, ParsedRow& out) {
  auto count = [&](Oddity oddity, int64_t n) { out.occurrences[static_cast<size_t>(oddity)] += n; };
  count(Oddity::kNullTurn, prompt.null_turns + a.null_turns + b.null_turns);
  count(Oddity::kLoneSurrogate, prompt.lone_surrogates + a.lone_surrogates + b.lone_surrogates);
  count(Oddity::kInvalidUtf8, prompt.invalid_utf8 + a.invalid_utf8 + b.invalid_utf8);
  if (a.all_null && b.all_null)
    count(Oddity::kBothNull, 1);
  else if (a.empty_text() || b.empty_text())
    count(Oddity::kEmptyResponse, a.empty_text() + b.empty_text());
  if (prompt.texts.size() != a.texts.size() || prompt.texts.size() != b.texts.size()) count(Oddity::kUnequalTurns, 1);
  if (a.texts == b.texts) count(Oddity::kIdentical, 1);
}

double parse_probability(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (text == "true" || text == "True" || text == "TRUE") return 1;
  if (text == "false" || text == "False" || text == "FALSE") return 0;
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::numeric_limits<double>::quiet_NaN();
  return value;
}

void set_label(double a, double b, double tie, ParsedRow& out) {
  double sum = a + b + tie;
  // Negated comparisons, so that NaN counts as bad.
  if (!(a >= 0 && b >= 0 && tie >= 0) || !(sum > 0) || !std::isfinite(sum)) {
    ++out.occurrences[static_cast<size_t>(Oddity::kBadLabel)];
    return;
  }
  // Shares written with three digits are no oddity.
  if (std::abs(sum - 1) > 2e-3) ++out.occurrences[static_cast<size_t>(Oddity::kLabelSum)];
  out.row.label = {static_cast<float>(a / sum), static_cast<float>(b / sum), static_cast<float>(tie / sum)};
  out.row.has_label = true;
}

void set_weight(const std::string& path, const std::string& column, std::string_view text, ParsedRow& out) {
  const double number = parse_probability(text);
  const auto weight = static_cast<float>(number);
  // Negated, so that NaN is refused too.
  if (!(number >= 0 && std::isfinite(weight))) {
    std::string shown;
    append_lossy(shown, text.substr(0, 40));
    out.broken = fmt::format(
        "{}: row {}: '{}' is the row's weight (data.columns.weight): expected a number of 0 or more, found '{}'", path,
        out.row.source_row, column, shown);
    return;
  }
  out.row.weight = weight;
  if (weight == 0) ++out.occurrences[static_cast<size_t>(Oddity::kZeroWeight)];
}

bool winner_label(std::string_view winner, std::array<double, 3>& label) {
  if (winner == "model_a" || winner == "a" || winner == "A")
    label = {1, 0, 0};
  else if (winner == "model_b" || winner == "b" || winner == "B")
    label = {0, 1, 0};
  else if (winner == "tie" || winner == "tie (bothbad)" || winner == "both")
    label = {0, 0, 1};
  else
    return false;
  return true;
}

}  // namespace gavel::detail

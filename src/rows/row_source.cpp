#include "rows/row_source.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"

namespace gavel::detail {

std::array<std::string, kNumColumns> column_names(const ReadOptions& options) {
  const Columns c = options.format == Format::kGeneric ? options.columns : standard_columns(options.format);
  if (c.prompt.empty() || c.response_a.empty() || c.response_b.empty())
    fail("columns: prompt, response_a and response_b must all be named for the format 'generic'");
  bool some = !c.label_a.empty() || !c.label_b.empty() || !c.label_tie.empty();
  bool all = !c.label_a.empty() && !c.label_b.empty() && !c.label_tie.empty();
  if (some && !all) fail("columns: label_a, label_b and label_tie must be named together");
  if (!some && c.winner.empty() && options.purpose == Purpose::kTrain && options.format == Format::kGeneric)
    fail("columns: votes are needed: name data.columns.winner, or label_a, label_b and label_tie");
  if (some && !c.winner.empty()) fail("columns: name either winner or label_a, label_b and label_tie, not both");
  // Weights belong to training alone.
  const std::string weight = options.purpose == Purpose::kTrain ? options.columns.weight : "";
  return {c.id, c.prompt, c.response_a, c.response_b, c.label_a, c.label_b, c.label_tie, c.winner, weight};
}

ColumnIndex find_columns(const std::string& path, const std::array<std::string, kNumColumns>& names,
                         const ReadOptions& options, const std::vector<std::string>& header) {
  auto missing = [&](const std::string& column) {
    fail("{}: expected a column '{}', found {}{}: {}", path, column, fmt::join(header, ", "),
         did_you_mean(column, header), format_hint(header));
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

std::string format_hint(const std::vector<std::string>& header) {
  auto has_all = [&](std::initializer_list<std::string_view> names) {
    return std::all_of(names.begin(), names.end(),
                       [&](auto name) { return std::find(header.begin(), header.end(), name) != header.end(); });
  };
  if (has_all({"prompt", "response_a", "response_b", "winner"})) return "the columns are those of data.format: wsdm";
  if (has_all({"prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"}))
    return "the columns are those of data.format: lmsys";
  if (has_all({"chosen", "rejected"})) return "the columns are those of data.format: chosen";
  return "check data.format, or name the columns with data.columns";
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

}  // namespace gavel::detail

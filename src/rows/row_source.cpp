#include "rows/row_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"

namespace gavel::detail {

ColumnNames column_names(const ReadOptions& options, const std::vector<std::string>& header) {
  auto there = [&](std::string_view name) { return std::find(header.begin(), header.end(), name) != header.end(); };
  Columns c = options.format == Format::kGeneric ? options.columns : standard_columns(options.format);
  if (options.format == Format::kScored && !options.columns.score.empty()) c.winner = options.columns.score;
  if (options.format == Format::kRanked) {
    if (there("completions")) {
      c.prompt = "instruction";
      c.response_a = c.response_b = c.winner = "completions";
    } else if (there("ranks") && !there("scores")) {
      c.winner = "ranks";
    }
  }
  if (c.prompt.empty() || c.response_a.empty() || (c.response_b.empty() && options.format != Format::kScored))
    fail("columns: prompt, response_a and response_b must all be named for the format 'generic'");
  bool some = !c.label_a.empty() || !c.label_b.empty() || !c.label_tie.empty();
  bool all = !c.label_a.empty() && !c.label_b.empty() && !c.label_tie.empty();
  if (some && !all) fail("columns: label_a, label_b and label_tie must be named together");
  if (some && !c.winner.empty()) fail("columns: name either winner or label_a, label_b and label_tie, not both");
  ColumnNames names = {c.id,        c.prompt, c.response_a, c.response_b, c.label_a, c.label_b,
                       c.label_tie, c.winner, "",           "",           "",        ""};
  if (options.purpose == Purpose::kTrain) {
    names[static_cast<size_t>(Column::kWeight)] = options.columns.weight;
    names[static_cast<size_t>(Column::kMargin)] = options.columns.margin;
    if (options.format == Format::kChosen && options.score_margin > 0) {
      names[static_cast<size_t>(Column::kScoreA)] = "score_chosen";
      names[static_cast<size_t>(Column::kScoreB)] = "score_rejected";
    }
  }
  return names;
}

bool prompt_is_optional(Format format) {
  return format == Format::kChosen || format == Format::kScored || format == Format::kRanked;
}

ColumnIndex find_columns(const std::string& path, const ColumnNames& names, const ReadOptions& options,
                         const std::vector<std::string>& header) {
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
    } else if (c >= static_cast<size_t>(prompt_is_optional(options.format) ? Column::kResponseA : Column::kPrompt) &&
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

namespace {

void count_oddity(ParsedRow& out, Oddity oddity, int64_t places) {
  out.occurrences[static_cast<size_t>(oddity)] += places;
}

void count_repairs(const Turns& turns, ParsedRow& out) {
  count_oddity(out, Oddity::kNullTurn, turns.null_turns);
  count_oddity(out, Oddity::kLoneSurrogate, turns.lone_surrogates);
  count_oddity(out, Oddity::kInvalidUtf8, turns.invalid_utf8);
}

/** The margin of a pair whose scores differ so much; finite, whatever a file says. */
float margin_of(double difference, const ReadOptions& options) {
  return static_cast<float>(std::min(options.score_margin * difference, double{std::numeric_limits<float>::max()}));
}

/** A number that a cell must hold; without one ParsedRow::broken is set. */
std::optional<float> number_of(const std::string& path, const std::string& column, std::string_view what,
                               std::string_view text, double least, double most, ParsedRow& out) {
  const double number = parse_probability(text);
  const auto found = static_cast<float>(number);
  // Negated, so that NaN is refused too.
  if (number >= least && number <= most && std::isfinite(found)) return found;
  std::string shown;
  append_lossy(shown, text.substr(0, 40));
  const bool bounded = std::isfinite(most);
  out.broken =
      fmt::format("{}: row {}: '{}' is {}: expected a number{}, found '{}'", path, out.row.source_row, column, what,
                  bounded                ? fmt::format(" from {} to {}", least, most)
                  : std::isfinite(least) ? fmt::format(" of {} or more", least)
                                         : "",
                  shown);
  return std::nullopt;
}

}  // namespace

void take_texts(Turns prompt, Turns a, Turns b, ParsedRow& out) {
  for (const Turns* turns : {&prompt, &a, &b}) count_repairs(*turns, out);
  if (a.all_null && b.all_null)
    count_oddity(out, Oddity::kBothNull, 1);
  else if (a.empty_text() || b.empty_text())
    count_oddity(out, Oddity::kEmptyResponse, a.empty_text() + b.empty_text());
  if (prompt.texts.size() != a.texts.size() || prompt.texts.size() != b.texts.size())
    count_oddity(out, Oddity::kUnequalTurns, 1);
  if (a.texts == b.texts) count_oddity(out, Oddity::kIdentical, 1);
  out.row.prompt = std::move(prompt.texts);
  out.row.response_a = std::move(a.texts);
  out.row.response_b = std::move(b.texts);
}

void take_texts(Turns prompt, Turns answer, ParsedRow& out) {
  for (const Turns* turns : {&prompt, &answer}) count_repairs(*turns, out);
  if (answer.empty_text()) count_oddity(out, Oddity::kEmptyResponse, 1);
  if (prompt.texts.size() != answer.texts.size()) count_oddity(out, Oddity::kUnequalTurns, 1);
  out.row.prompt = std::move(prompt.texts);
  out.row.response_a = std::move(answer.texts);
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

void set_numbers(const std::string& path, const ColumnNames& names, const ReadOptions& options,
                 const std::function<std::string(Column)>& cell, ParsedRow& out) {
  constexpr double kAny = std::numeric_limits<double>::infinity();
  auto name_of = [&](Column column) -> const std::string& { return names[static_cast<size_t>(column)]; };
  auto take = [&](Column column, std::string_view what, double least, double most) {
    return number_of(path, name_of(column), what, cell(column), least, most, out);
  };
  if (!name_of(Column::kWeight).empty())
    if (auto weight = take(Column::kWeight, "the row's weight (data.columns.weight)", 0, kAny)) {
      out.row.weight = *weight;
      if (*weight == 0) count_oddity(out, Oddity::kZeroWeight, 1);
    }
  if (!name_of(Column::kMargin).empty())
    if (auto margin = take(Column::kMargin, "the pair's margin (data.columns.margin)", 0, kAny))
      out.row.margin = *margin;
  if (!name_of(Column::kScoreA).empty()) {
    auto chosen = take(Column::kScoreA, "a score (reward.score_margin)", -kAny, kAny);
    auto rejected =
        chosen ? take(Column::kScoreB, "a score (reward.score_margin)", -kAny, kAny) : std::optional<float>();
    // An answer that was chosen against its score has no margin.
    if (chosen && rejected) out.row.margin = margin_of(std::max(0.0, double{*chosen} - double{*rejected}), options);
  }
  if (options.format == Format::kScored) {
    const std::string text = cell(Column::kWinner);
    if (!std::isfinite(parse_probability(text)))
      count_oddity(out, Oddity::kBadLabel, 1);
    else if (auto score = number_of(path, name_of(Column::kWinner), "the answer's score", text,
                                    options.unit_scores ? 0 : -kAny, options.unit_scores ? 1 : kAny, out))
      out.row.score = *score;
  }
}

void set_label_of_scores(double a, double b, const ReadOptions& options, ParsedRow& out) {
  if (!std::isfinite(a) || !std::isfinite(b)) return count_oddity(out, Oddity::kBadLabel, 1);
  set_label(a > b, a < b, a == b, out);
  if (options.purpose == Purpose::kTrain && options.score_margin > 0)
    out.row.margin = margin_of(std::abs(a - b), options);
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

#include "rows/row_source.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "rows/layouts.h"

namespace gavel {

std::unique_ptr<RowSource> open_rows(const std::filesystem::path& path, const ReadOptions& options) {
  return open_rows(open_table(path), options);
}

std::unique_ptr<RowSource> open_rows(const TableFile& table, const ReadOptions& options) {
  switch (table.kind) {
    case TableKind::kParquet:
      return open_parquet_rows(table.file, options);
    case TableKind::kJson:
      return open_jsonl_rows(table.file, options);
    case TableKind::kCsv:
      break;
  }
  return open_csv_rows(table.file, options);
}

std::vector<std::string> columns_of(const TableFile& table) {
  switch (table.kind) {
    case TableKind::kParquet:
      return parquet_columns(table.file);
    case TableKind::kJson:
      return jsonl_columns(table.file);
    case TableKind::kCsv:
      break;
  }
  return csv_columns(table.file);
}

}  // namespace gavel

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
  const bool conversations = options.format == Format::kConversations;
  if (conversations && !there("id") && there("question_id")) c.id = "question_id";
  if ((c.prompt.empty() && !conversations) || c.response_a.empty() ||
      (c.response_b.empty() && options.format != Format::kScored))
    fail("columns: prompt, response_a and response_b must all be named for the format 'generic'");
  bool some = !c.label_a.empty() || !c.label_b.empty() || !c.label_tie.empty();
  bool all = !c.label_a.empty() && !c.label_b.empty() && !c.label_tie.empty();
  if (some && !all) fail("columns: label_a, label_b and label_tie must be named together");
  if (!some && c.winner.empty() && options.purpose == Purpose::kTrain && options.format == Format::kGeneric)
    fail("columns: votes are needed: name data.columns.winner, or label_a, label_b and label_tie");
  if (some && !c.winner.empty()) fail("columns: name either winner or label_a, label_b and label_tie, not both");
  ColumnNames names = {c.id, c.prompt, c.response_a, c.response_b, c.label_a, c.label_b, c.label_tie, c.winner};
  if (options.purpose == Purpose::kTrain) {
    const Columns& own = options.columns;
    const bool pairs = options.format != Format::kRanked && options.format != Format::kScored;
    if (!pairs && (!own.teacher_a.empty() || !own.auxiliary_a.empty()))
      fail("data.columns.{}: is of a row that is one pair of answers, which rows of data.format: {} are not",
           own.teacher_a.empty() ? "auxiliary" : "teacher_a", options.format == Format::kRanked ? "ranked" : "scored");
    names[static_cast<size_t>(Column::kTeacherA)] = own.teacher_a;
    names[static_cast<size_t>(Column::kTeacherB)] = own.teacher_b;
    names[static_cast<size_t>(Column::kTeacherTie)] = own.teacher_tie;
    names[static_cast<size_t>(Column::kAuxiliaryA)] = own.auxiliary_a;
    names[static_cast<size_t>(Column::kAuxiliaryB)] = own.auxiliary_b;
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
    fail("{}: expected a column '{}', found {}{}: {}", path, column, list_names(header), did_you_mean(column, header),
         format_hint(header));
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

std::string list_names(const std::vector<std::string>& names) {
  constexpr size_t kMostNames = 30, kMostBytes = 60;
  std::string out;
  for (size_t i = 0; i < std::min(names.size(), kMostNames); ++i)
    out += fmt::format("{}{}{}", i > 0 ? ", " : "", names[i].substr(0, kMostBytes),
                       names[i].size() > kMostBytes ? "…" : "");
  if (names.size() > kMostNames) out += fmt::format(" and {} more", names.size() - kMostNames);
  return out;
}

void check_size(const std::string& path, int64_t row, const std::string& column, size_t size,
                const ReadOptions& options) {
  if (size <= static_cast<size_t>(options.max_cell_bytes)) return;
  fail(
      "{}: row {}: {}expected at most {} bytes (data.max_cell_bytes), found {}: cut it, leave the row out, or set "
      "data.max_cell_bytes higher",
      path, row, column.empty() ? "" : fmt::format("column '{}': ", column), options.max_cell_bytes, size);
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

}  // namespace gavel::detail

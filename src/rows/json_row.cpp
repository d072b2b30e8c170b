#include "rows/json_row.h"

#include <simdjson.h>

#include "base/error.h"
#include "base/trimmed.h"
#include "base/utf8.h"
#include "rows/labels.h"
#include "rows/layouts.h"
#include "rows/lenient_json.h"
#include "rows/messages.h"
#include "rows/ranked_row.h"

namespace gavel {

namespace {

namespace dom = simdjson::dom;

/** The values of the prompt and the answers; none where there is no such key. */
using RowValues = std::array<std::optional<dom::element>, 3>;

/** Replaces texts that are messages written as JSON, as cells of CSV have them, by these messages: the prompt, and the answers
 * where all are (an answer that is messages beside one that is none is a text). What replaces them is valid until the next call
 * on this thread. */
std::string read_written_messages(const detail::ColumnNames& names, RowValues& values, std::array<Turns, 3>& turns) {
  thread_local std::array<LenientJson, 3> json;
  auto is = [&](size_t i, bool (*test)(std::string_view)) {
    std::string_view text;
    return values[i] && values[i]->get(text) == simdjson::SUCCESS && test(text);
  };
  auto answers_are = [&](bool (*test)(std::string_view)) { return is(1, test) && (!values[2] || is(2, test)); };
  const bool answers = answers_are(holds_messages), python = answers_are(begins_as_python_messages);
  if (python || is(0, begins_as_python_messages))
    return fmt::format("key '{}': {}", names[python ? 2 : 1], kPythonMessages);
  for (size_t i = 0; i < 3; ++i) {
    std::string_view text;
    if (!(i == 0 ? is(0, holds_messages) : answers) || !values[i] || values[i]->get(text) != simdjson::SUCCESS)
      continue;
    dom::element messages;
    if (json[i].parse(text, messages) == simdjson::SUCCESS) values[i] = messages;
    turns[i].lone_surrogates += json[i].lone_surrogates();
  }
  return "";
}

/** Format::kChosen and those like it: texts, or lists of messages. Answers that are whole conversations bring the prompt's
 * turns themselves. */
std::string take_conversations(dom::object object, const detail::ColumnNames& names, std::array<Turns, 3>& turns) {
  RowValues values;
  for (size_t i = 0; i < 3; ++i) {
    dom::element value;
    if (!names[i + 1].empty() && find_key(object, names[i + 1], value)) values[i] = value;
  }
  if (std::string why = read_written_messages(names, values, turns); !why.empty()) return why;
  if (values[0]) {
    Turns answers;
    if (std::string why = take_prompt(*values[0], names[1], turns[0], answers); !why.empty()) return why;
    // A prompt that goes over several rounds has answers that both conversations share.
    turns[1].texts = turns[2].texts = answers.texts;
  }
  for (size_t i : {1, 2}) {
    if (!values[i]) continue;  // told of by the caller
    Turns prompt;
    if (std::string why = take_answer(*values[i], names[i + 1], prompt, turns[i]); !why.empty()) return why;
    if (prompt.texts.empty()) continue;
    if (i == 2 && turns[1].texts.size() == turns[2].texts.size() && prompt.texts != turns[0].texts)
      return fmt::format("'{}' and '{}' have different messages of the user", names[2], names[3]);
    turns[0].texts = std::move(prompt.texts);
  }
  if (turns[0].texts.empty()) turns[0].texts.emplace_back();
  return "";
}

void take_label(dom::object object, const detail::ColumnNames& names, const ReadOptions& options, ParsedRow& out) {
  const std::string& winner = names[static_cast<size_t>(Column::kWinner)];
  if (!winner.empty()) {
    const std::string text = text_of_key(object, winner);
    detail::set_label(detail::winner_label(text, options.spellings), text, out);
    return;
  }
  std::array<double, 3> label{-1, -1, -1};
  std::string spelled;
  for (size_t i = 0; i < 3; ++i) {
    const std::string share = text_of_key(object, names[static_cast<size_t>(Column::kLabelA) + i]);
    label[i] = detail::parse_probability(share);
    spelled += (i > 0 ? ", " : "") + share;
  }
  detail::set_label(label, spelled, out);
}

/** With cells: json, strings are lists of turns when all of a row's are: an answer that is a list by itself is a text. */
Cells string_cells(dom::object object, const detail::ColumnNames& names, Cells cells) {
  if (cells != Cells::kJson) return cells;
  for (size_t i = 0; i < 3; ++i) {
    dom::element value;
    std::string_view text;
    Turns turns;
    if (find_key(object, names[i + 1], value) && value.get(text) == simdjson::SUCCESS &&
        (!text.starts_with('[') || !parse_cell(text, Cells::kJson, turns).empty()))
      return Cells::kText;
  }
  return Cells::kJson;
}

/** Format::kConversations: two whole conversations with the same messages of the user. */
std::string take_two_conversations(dom::object object, const detail::ColumnNames& names, std::array<Turns, 3>& turns) {
  std::array<Turns, 2> prompts;
  for (size_t i : {0, 1}) {
    dom::element value;
    find_key(object, names[i + 2], value);  // it is there: the caller looked
    if (std::string why = take_conversation(value, names[i + 2], prompts[i], turns[i + 1]); !why.empty()) return why;
  }
  if (std::string why = compare_prompts(names[2], prompts[0].texts, names[3], prompts[1].texts); !why.empty())
    return why;
  turns[0] = std::move(prompts[0]);
  return "";
}

/** A row that can't be read, for predictions, which every row is owed: its values as they are written. */
void take_as_written(dom::object object, const detail::ColumnNames& names, std::array<Turns, 3>& turns) {
  for (size_t i = 0; i < 3; ++i) {
    turns[i] = Turns();
    turns[i].texts.push_back(text_of_key(object, names[i + 1]));
  }
}

/** The text of the last value of a key in an object that is known to be valid JSON, or "" where the key is written with
 * escapes: numbers keep all their digits. */
std::string_view raw_value(std::string_view object, std::string_view wanted) {
  std::string_view found, key;
  size_t start = 0, string_start = 0;
  int depth = 0;
  bool in_string = false, after_colon = false;
  for (size_t i = 0; i < object.size(); ++i) {
    const char c = object[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
        if (depth == 1 && !after_colon) key = object.substr(string_start, i - string_start);
      }
    } else if (c == '"') {
      in_string = true;
      string_start = i + 1;
    } else if (c == ':' && depth == 1) {
      after_colon = true;
      start = i + 1;
    } else {
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') --depth;
      const bool ends = (c == ',' && depth == 1) || (c == '}' && depth == 0);
      if (!ends) continue;
      if (after_colon && key == wanted) found = object.substr(start, i - start);
      after_colon = false;
    }
  }
  return trimmed(found);
}

std::string take_id(dom::element id, std::string_view line, std::string_view key) {
  std::string_view text;
  if (id.get(text) == simdjson::SUCCESS) return std::string(text);
  std::string_view raw;
  if (id.type() == dom::element_type::DOUBLE) raw = raw_value(line, key);
  return raw.empty() ? simdjson::minify(id) : std::string(raw);
}

}  // namespace

std::string json_excerpt(std::string_view line) {
  std::string out;
  append_lossy(out, line.substr(0, 40));
  return fmt::format("'{}{}'", out, line.size() > 40 ? "…" : "");
}

std::optional<std::vector<std::string>> json_keys(std::string_view line) {
  LenientJson json;
  dom::element root;
  dom::object object;
  if (json.parse(line, root) || root.get(object)) return std::nullopt;
  std::vector<std::string> keys;
  for (auto field : object) keys.emplace_back(field.key);
  return keys;
}

JsonRowParser::JsonRowParser(std::string path, const ReadOptions& options, detail::ColumnNames names, bool has_labels)
    : path_(std::move(path)), options_(options), names_(std::move(names)), has_labels_(has_labels) {}

void JsonRowParser::parse(const RawRow& raw, ParsedRow& out) const {
  auto count = [&](Oddity oddity, int64_t n) { out.occurrences[static_cast<size_t>(oddity)] += n; };
  thread_local LenientJson json;
  out.row.source_row = raw.row;
  dom::element root;
  dom::object object;
  simdjson::error_code error = json.parse(raw.line, root);
  if (!error) error = root.get(object);
  count(Oddity::kInvalidUtf8, json.invalid_utf8());
  count(Oddity::kLoneSurrogate, json.lone_surrogates());
  const std::string_view line = json.text();
  if (error) {
    out.broken = fmt::format("{}: row {}: expected a JSON object on each line, found {}: {}", path_, raw.row,
                             json_excerpt(line), simdjson::error_message(error));
    return;
  }
  parse_object(object, line, out);
}

void JsonRowParser::parse_object(dom::object object, std::string_view line, ParsedRow& out) const {
  const Format format = options_.format;
  for (size_t c = static_cast<size_t>(Column::kPrompt); c <= static_cast<size_t>(Column::kResponseB); ++c) {
    dom::element value;
    if (names_[c].empty() || find_key(object, names_[c], value)) continue;
    if (c == static_cast<size_t>(Column::kPrompt) && detail::prompt_is_optional(format)) continue;
    std::vector<std::string> keys;
    for (auto field : object) keys.emplace_back(field.key);
    out.broken = fmt::format("{}: row {}: expected a key '{}', found {}{}: {}", path_, out.row.source_row, names_[c],
                             detail::list_names(keys), did_you_mean(names_[c], keys), detail::format_hint(keys));
    return;
  }
  out.row.id = std::to_string(out.row.source_row);
  if (dom::element id; !names_[0].empty() && find_key(object, names_[0], id)) out.row.id = take_id(id, line, names_[0]);
  detail::set_numbers(
      path_, names_, options_, [&](Column column) { return text_of_key(object, names_[static_cast<size_t>(column)]); },
      out);
  if (!out.broken.empty()) return;
  if (format == Format::kRanked) return take_ranked(object, names_, options_, has_labels_, out);

  std::array<Turns, 3> turns;
  if (format == Format::kChosen || format == Format::kHelpSteer3 || format == Format::kScored) {
    out.not_json = take_conversations(object, names_, turns);
    if (!out.not_json.empty()) take_as_written(object, names_, turns);
  } else if (format == Format::kConversations) {
    out.not_json = take_two_conversations(object, names_, turns);
    if (!out.not_json.empty()) take_as_written(object, names_, turns);
  } else {
    const Cells cells = string_cells(object, names_, options_.cells);
    for (size_t i = 0; i < 3; ++i) {
      dom::element value;
      find_key(object, names_[i + 1], value);
      std::string why = take_turns(value, cells, turns[i]);
      if (why.empty()) continue;
      ++out.occurrences[static_cast<size_t>(Oddity::kNotJson)];
      if (out.not_json.empty()) out.not_json = fmt::format("key '{}': {}", names_[i + 1], why);
    }
  }
  if (!out.not_json.empty() && out.occurrences[static_cast<size_t>(Oddity::kNotJson)] == 0)
    ++out.occurrences[static_cast<size_t>(Oddity::kNotJson)];
  if (format == Format::kScored) return detail::take_texts(std::move(turns[0]), std::move(turns[1]), out);
  detail::take_texts(std::move(turns[0]), std::move(turns[1]), std::move(turns[2]), out);
  if (format == Format::kChosen)
    detail::set_label({1, 0, 0}, "", out);
  else if (has_labels_ && format == Format::kHelpSteer3)
    // Below 0: the first answer is the better one.
    detail::set_label_of_scores(
        -detail::parse_probability(text_of_key(object, names_[static_cast<size_t>(Column::kWinner)])), 0, options_,
        out);
  else if (has_labels_)
    take_label(object, names_, options_, out);
}

}  // namespace gavel

#include "rows/json_row.h"

#include <simdjson.h>

#include "base/error.h"
#include "base/utf8.h"
#include "rows/labels.h"
#include "rows/messages.h"
#include "rows/ranked_row.h"

namespace gavel {

namespace {

namespace dom = simdjson::dom;

/** Format::kChosen and those like it: texts, or lists of messages. Answers that are whole conversations bring the prompt's
 * turns themselves. */
std::string take_conversations(dom::object object, const detail::ColumnNames& names, std::array<Turns, 3>& turns) {
  dom::element value;
  if (find_key(object, names[1], value)) {
    Turns answers;
    if (std::string why = take_prompt(value, names[1], turns[0], answers); !why.empty()) return why;
    // A prompt that goes over several rounds has answers that both conversations share.
    turns[1].texts = turns[2].texts = answers.texts;
  }
  for (size_t i : {1, 2}) {
    if (!find_key(object, names[i + 1], value)) continue;  // told of by the caller
    Turns prompt;
    if (std::string why = take_answer(value, names[i + 1], prompt, turns[i]); !why.empty()) return why;
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
  const size_t begin = found.find_first_not_of(" \t\r\n");
  return begin == std::string_view::npos ? "" : found.substr(begin, found.find_last_not_of(" \t\r\n") + 1 - begin);
}

std::string take_id(dom::element id, std::string_view line, std::string_view key) {
  std::string_view text;
  if (id.get(text) == simdjson::SUCCESS) return std::string(text);
  std::string_view raw;
  if (id.type() == dom::element_type::DOUBLE) raw = raw_value(line, key);
  return raw.empty() ? simdjson::minify(id) : std::string(raw);
}

/** A copy with what Python writes and JSON parsers refuse: NaN and infinities become null, and integers beyond 64 bits texts.
 * False when there are none. */
bool replace_unknown_numbers(std::string_view json, std::string& out) {
  constexpr size_t kDigits = 19;  // as many as 2^63 - 1 has
  bool any = false, in_string = false;
  out.clear();
  for (size_t i = 0; i < json.size();) {
    const std::string_view rest = json.substr(i);
    if (!in_string) {
      size_t skip = 0;
      for (std::string_view word : {"NaN", "-Infinity", "Infinity"})
        if (rest.starts_with(word)) skip = word.size();
      const size_t number = skip > 0 ? 0 : std::min(rest.find_first_not_of("+-.0123456789eE"), rest.size());
      const std::string_view text = rest.substr(0, number);
      const bool large = text.size() >= kDigits && text.find_first_of(".eE") == std::string_view::npos;
      if (skip > 0) out += "null";
      if (large) out += fmt::format("\"{}\"", text);
      if (!large) out += text;
      any = any || skip > 0 || large;
      i += std::max(skip, number);
      if (skip + number > 0) continue;
    }
    if (in_string && json[i] == '\\' && i + 1 < json.size())
      out.push_back(json[i++]);
    else if (json[i] == '"')
      in_string = !in_string;
    out.push_back(json[i++]);
  }
  return any;
}

/** Parses the text of an object; `scratch` holds it where replace_unknown_numbers() was needed. */
simdjson::error_code read_object(dom::parser& parser, std::string_view& text, std::string& scratch, dom::object& out) {
  dom::element root;
  simdjson::error_code error = parser.parse(text.data(), text.size()).get(root);
  if (error && replace_unknown_numbers(text, scratch)) {
    text = scratch;
    error = parser.parse(text.data(), text.size()).get(root);
  }
  return error ? error : root.get(out);
}

}  // namespace

std::string json_excerpt(std::string_view line) {
  std::string out;
  append_lossy(out, line.substr(0, 40));
  return fmt::format("'{}{}'", out, line.size() > 40 ? "…" : "");
}

std::optional<std::vector<std::string>> json_keys(std::string_view line) {
  std::string valid, repaired, scratch;
  append_lossy(valid, line);
  if (replace_lone_surrogates(valid, repaired) > 0) valid = repaired;
  dom::parser parser;
  dom::object object;
  std::string_view text = valid;
  if (read_object(parser, text, scratch, object)) return std::nullopt;
  std::vector<std::string> keys;
  for (auto field : object) keys.emplace_back(field.key);
  return keys;
}

JsonRowParser::JsonRowParser(std::string path, const ReadOptions& options, detail::ColumnNames names, bool has_labels)
    : path_(std::move(path)), options_(options), names_(std::move(names)), has_labels_(has_labels) {}

void JsonRowParser::parse(const RawRow& raw, ParsedRow& out) const {
  auto count = [&](Oddity oddity, int64_t n) { out.occurrences[static_cast<size_t>(oddity)] += n; };
  thread_local dom::parser parser;
  std::string valid, repaired;
  std::string_view line = raw.line;
  if (!is_valid_utf8(line)) {
    count(Oddity::kInvalidUtf8, append_lossy(valid, line));
    line = valid;
  }
  if (int64_t replaced = replace_lone_surrogates(line, repaired); replaced > 0) {
    count(Oddity::kLoneSurrogate, replaced);
    line = repaired;
  }
  out.row.source_row = raw.row;
  dom::object object;
  std::string scratch;
  if (auto error = read_object(parser, line, scratch, object)) {
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

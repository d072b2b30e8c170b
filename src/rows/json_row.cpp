#include "rows/json_row.h"

#include <fmt/ranges.h>
#include <simdjson.h>

#include "base/error.h"
#include "base/utf8.h"
#include "rows/labels.h"

namespace gavel {

namespace {

namespace dom = simdjson::dom;

/** The value of a key; of a key that is there twice the last, as other parsers have it. */
bool find_key(dom::object object, std::string_view key, dom::element& value) {
  bool found = false;
  for (auto field : object)
    if (field.key == key) {
      value = field.value;
      found = true;
    }
  return found;
}

/** A list of strings and nulls, or a string. */
std::string take_turns(dom::element value, Cells cells, Turns& out) {
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) return parse_cell(text, cells, out);
  dom::array list;
  if (value.is_null()) {
    out.texts.emplace_back();
    ++out.null_turns;
  } else if (value.get(list) == simdjson::SUCCESS) {
    for (dom::element item : list) {
      if (item.is_null()) {
        ++out.null_turns;
        out.texts.emplace_back();
      } else if (item.get(text) == simdjson::SUCCESS) {
        out.texts.emplace_back(text);
      } else {
        out = Turns();
        out.texts.push_back(simdjson::minify(value));
        return "expected a list of strings and nulls";
      }
    }
  } else {
    out.texts.push_back(simdjson::minify(value));
    return "expected a string or a list of strings";
  }
  out.all_null = out.null_turns > 0 && out.null_turns == static_cast<int64_t>(out.texts.size());
  return "";
}

/** Messages of a conversation: a system's text stands before the first user's, and the assistant's messages are the answers.
 * `answers` gets as many turns as there are assistant's messages. */
std::string take_messages(dom::array list, Turns& prompt, Turns& answers) {
  std::string system;
  std::string_view last;
  for (dom::element item : list) {
    dom::object message;
    std::string_view role, content;
    dom::element value;
    if (item.get(message) != simdjson::SUCCESS || !find_key(message, "role", value) ||
        value.get(role) != simdjson::SUCCESS)
      return "expected messages, each an object with 'role' and 'content'";
    if (!find_key(message, "content", value) ||
        (!value.is_null() && value.get(content) != simdjson::SUCCESS))
      return fmt::format("a message of '{}' has a content that is no text", role);
    if (role == "assistant" || role == "model" || role == "gpt") {
      if (last == "assistant") return "two messages of the assistant follow each other";
      answers.texts.emplace_back(content);
      last = "assistant";
    } else if (role == "user" || role == "human" || role == "prompter") {
      if (last == "user") return "two messages of the user follow each other";
      prompt.texts.push_back(system.empty() ? std::string(content) : system + "\n\n" + std::string(content));
      system.clear();
      last = "user";
    } else if (role == "system" && last.empty()) {
      system = content;
    } else {
      return fmt::format("a message of '{}', which is neither the user's nor the assistant's", role);
    }
  }
  return "";
}

/** Format::kChosen: texts, or lists of messages. Answers that are whole conversations bring the prompt's turns themselves. */
std::string take_chosen(dom::object object, const std::array<std::string, kNumColumns>& names,
                        std::array<Turns, 3>& turns) {
  dom::array messages;
  dom::element value;
  if (find_key(object, names[1], value)) {
    Turns answers;
    if (value.get(messages) != simdjson::SUCCESS) {
      take_turns(value, Cells::kText, turns[0]);
    } else if (std::string why = take_messages(messages, turns[0], answers); !why.empty()) {
      return fmt::format("key '{}': {}", names[1], why);
    }
    // A prompt that goes over several rounds has answers that both conversations share.
    turns[1].texts = turns[2].texts = answers.texts;
  }
  for (size_t i : {1, 2}) {
    if (!find_key(object, names[i + 1], value)) continue;  // told of by the caller
    if (value.get(messages) != simdjson::SUCCESS) {
      Turns text;
      if (std::string why = take_turns(value, Cells::kText, text); !why.empty())
        return fmt::format("key '{}': {}", names[i + 1], why);
      turns[i].texts.insert(turns[i].texts.end(), text.texts.begin(), text.texts.end());
      turns[i].null_turns += text.null_turns;
      continue;
    }
    Turns prompt, answers;
    if (std::string why = take_messages(messages, prompt, answers); !why.empty())
      return fmt::format("key '{}': {}", names[i + 1], why);
    if (answers.texts.empty()) return fmt::format("key '{}': the assistant says nothing", names[i + 1]);
    if (prompt.texts.empty()) {
      turns[i].texts.insert(turns[i].texts.end(), answers.texts.begin(), answers.texts.end());
      continue;
    }
    if (i == 2 && turns[1].texts.size() == answers.texts.size() && prompt.texts != turns[0].texts)
      return fmt::format("'{}' and '{}' have different messages of the user", names[2], names[3]);
    turns[0].texts = std::move(prompt.texts);
    turns[i].texts = std::move(answers.texts);
  }
  if (turns[0].texts.empty()) turns[0].texts.emplace_back();
  return "";
}

/** A label as a text: numbers and truth values as JSON writes them, "" for null. */
std::string label_text(dom::element value) {
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) return std::string(text);
  return value.is_null() ? "" : simdjson::minify(value);
}

void take_label(dom::object object, const std::array<std::string, kNumColumns>& names, const ReadOptions& options,
                ParsedRow& out) {
  dom::element value;
  const std::string& winner = names[static_cast<size_t>(Column::kWinner)];
  if (!winner.empty()) {
    const std::string text = find_key(object, winner, value) ? label_text(value) : "";
    detail::set_label(detail::winner_label(text, options.spellings), text, out);
    return;
  }
  std::array<double, 3> label{-1, -1, -1};
  std::string spelled;
  for (size_t i = 0; i < 3; ++i) {
    std::string share;
    if (find_key(object, names[static_cast<size_t>(Column::kLabelA) + i], value)) {
      double number = 0;
      share = label_text(value);
      label[i] = value.get(number) == simdjson::SUCCESS ? number : detail::parse_probability(share);
    }
    spelled += (i > 0 ? ", " : "") + share;
  }
  detail::set_label(label, spelled, out);
}

/** With cells: json, strings are lists of turns when all of a row's are: an answer that is a list by itself is a text. */
Cells string_cells(dom::object object, const std::array<std::string, kNumColumns>& names, Cells cells) {
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
simdjson::error_code parse_object(dom::parser& parser, std::string_view& text, std::string& scratch, dom::object& out) {
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
  if (parse_object(parser, text, scratch, object)) return std::nullopt;
  std::vector<std::string> keys;
  for (auto field : object) keys.emplace_back(field.key);
  return keys;
}

JsonRowParser::JsonRowParser(std::string path, const ReadOptions& options, bool has_labels)
    : path_(std::move(path)), options_(options), names_(detail::column_names(options)), has_labels_(has_labels) {}

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
  if (auto error = parse_object(parser, line, scratch, object)) {
    out.broken = fmt::format("{}: row {}: expected a JSON object on each line, found {}: {}", path_, raw.row,
                             json_excerpt(line), simdjson::error_message(error));
    return;
  }
  const Cells cells = string_cells(object, names_, options_.cells);
  std::array<Turns, 3> turns;
  for (size_t i = 0; i < 3; ++i) {
    const std::string& column = names_[i + 1];
    dom::element value;
    const bool chosen = options_.format == Format::kChosen;
    if (!find_key(object, column, value)) {
      if (chosen && i == 0) continue;  // the prompt may be in the conversations
      std::vector<std::string> keys;
      for (auto field : object) keys.emplace_back(field.key);
      out.broken = fmt::format("{}: row {}: expected a key '{}', found {}{}: {}", path_, raw.row, column,
                               fmt::join(keys, ", "), did_you_mean(column, keys), detail::format_hint(keys));
      return;
    }
    if (chosen) continue;
    std::string why = take_turns(value, cells, turns[i]);
    if (why.empty()) continue;
    count(Oddity::kNotJson, 1);
    if (out.not_json.empty()) out.not_json = fmt::format("key '{}': {}", column, why);
  }
  if (options_.format == Format::kChosen) {
    out.not_json = take_chosen(object, names_, turns);
    if (!out.not_json.empty()) count(Oddity::kNotJson, 1);
  }
  detail::finish_texts(turns[0], turns[1], turns[2], out);
  out.row.id = std::to_string(raw.row);
  if (dom::element id; !names_[0].empty() && find_key(object, names_[0], id)) out.row.id = take_id(id, line, names_[0]);
  if (options_.format == Format::kChosen)
    detail::set_label({1, 0, 0}, "", out);
  else if (has_labels_)
    take_label(object, names_, options_, out);
  if (const std::string& weight = names_[static_cast<size_t>(Column::kWeight)]; !weight.empty()) {
    dom::element value;
    // Of a row without the key the text is empty, which is no weight.
    detail::set_weight(path_, weight, find_key(object, weight, value) ? label_text(value) : "", out);
  }
  out.row.prompt = std::move(turns[0].texts);
  out.row.response_a = std::move(turns[1].texts);
  out.row.response_b = std::move(turns[2].texts);
}

}  // namespace gavel

#include "rows/json_row.h"

#include <fmt/ranges.h>
#include <simdjson.h>

#include "base/error.h"
#include "base/utf8.h"

namespace gavel {

namespace {

namespace dom = simdjson::dom;

/** A list of strings and nulls, or a string (with cells: json it may hold a JSON list itself). */
std::string take_turns(dom::element value, Cells cells, Turns& out) {
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) {
    if (cells != Cells::kJson) return parse_cell(text, cells, out);
    if (!text.starts_with('[') || !parse_cell(text, Cells::kJson, out).empty()) parse_cell(text, Cells::kText, out);
    return "";
  }
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
    if (item.get(message) != simdjson::SUCCESS || message.at_key("role").get(role) != simdjson::SUCCESS)
      return "expected messages, each an object with 'role' and 'content'";
    dom::element value;
    if (message.at_key("content").get(value) != simdjson::SUCCESS ||
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
  if (object.at_key(names[1]).get(value) == simdjson::SUCCESS) {
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
    if (object.at_key(names[i + 1]).get(value) != simdjson::SUCCESS) continue;  // told of by the caller
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

void take_label(dom::object object, const std::array<std::string, kNumColumns>& names, ParsedRow& out) {
  std::array<double, 3> label{-1, -1, -1};
  const std::string& winner = names[static_cast<size_t>(Column::kWinner)];
  if (!winner.empty()) {
    std::string_view text;
    if (object.at_key(winner).get(text) == simdjson::SUCCESS) detail::winner_label(text, label);
  } else {
    for (size_t i = 0; i < 3; ++i) {
      dom::element value;
      if (object.at_key(names[static_cast<size_t>(Column::kLabelA) + i]).get(value) != simdjson::SUCCESS) continue;
      double number = 0;
      std::string_view text;
      bool flag = false;
      if (value.get(number) == simdjson::SUCCESS)
        label[i] = number;
      else if (value.get(flag) == simdjson::SUCCESS)
        label[i] = flag ? 1 : 0;
      else if (value.get(text) == simdjson::SUCCESS)
        label[i] = detail::parse_probability(text);
    }
  }
  detail::set_label(label[0], label[1], label[2], out);
}

}  // namespace

std::string json_excerpt(std::string_view line) {
  std::string out;
  append_lossy(out, line.substr(0, 40));
  return fmt::format("'{}{}'", out, line.size() > 40 ? "…" : "");
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
  dom::element root;
  dom::object object;
  if (auto error = parser.parse(line.data(), line.size()).get(root)) {
    out.broken = fmt::format("{}: row {}: expected a JSON object on each line, found {}: {}", path_, raw.row,
                             json_excerpt(line), simdjson::error_message(error));
    return;
  }
  if (root.get(object) != simdjson::SUCCESS) {
    out.broken =
        fmt::format("{}: row {}: expected a JSON object on each line, found {}", path_, raw.row, json_excerpt(line));
    return;
  }
  std::array<Turns, 3> turns;
  for (size_t i = 0; i < 3; ++i) {
    const std::string& column = names_[i + 1];
    dom::element value;
    const bool chosen = options_.format == Format::kChosen;
    if (object.at_key(column).get(value) != simdjson::SUCCESS) {
      if (chosen && i == 0) continue;  // the prompt may be in the conversations
      std::vector<std::string> keys;
      for (auto field : object) keys.emplace_back(field.key);
      out.broken = fmt::format("{}: row {}: expected a key '{}', found {}{}", path_, raw.row, column,
                               fmt::join(keys, ", "), did_you_mean(column, keys));
      return;
    }
    if (chosen) continue;
    std::string why = take_turns(value, options_.cells, turns[i]);
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
  if (dom::element id; !names_[0].empty() && object.at_key(names_[0]).get(id) == simdjson::SUCCESS) {
    std::string_view text;
    out.row.id = id.get(text) == simdjson::SUCCESS ? std::string(text) : simdjson::minify(id);
  }
  if (options_.format == Format::kChosen)
    detail::set_label(1, 0, 0, out);
  else if (has_labels_)
    take_label(object, names_, out);
  if (const std::string& weight = names_[static_cast<size_t>(Column::kWeight)]; !weight.empty()) {
    dom::element value;
    std::string_view text;
    // Of a row without the key the text is empty, which is no weight.
    std::string written;
    if (object.at_key(weight).get(value) == simdjson::SUCCESS)
      written = value.get(text) == simdjson::SUCCESS ? std::string(text) : simdjson::minify(value);
    detail::set_weight(path_, weight, written, out);
  }
  out.row.prompt = std::move(turns[0].texts);
  out.row.response_a = std::move(turns[1].texts);
  out.row.response_b = std::move(turns[2].texts);
}

}  // namespace gavel

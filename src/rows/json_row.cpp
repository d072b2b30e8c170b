#include "rows/json_row.h"

#include <fmt/ranges.h>
#include <simdjson.h>

#include "base/error.h"
#include "base/utf8.h"
#include "rows/messages.h"
#include "rows/ranked_row.h"

namespace gavel {

namespace {

namespace dom = simdjson::dom;

/** Format::kChosen and those like it: texts, or lists of messages. Answers that are whole conversations bring the prompt's
 * turns themselves. */
std::string take_conversations(dom::object object, const std::array<std::string, kNumColumns>& names,
                               std::array<Turns, 3>& turns) {
  dom::element value;
  if (object.at_key(names[1]).get(value) == simdjson::SUCCESS) {
    Turns answers;
    if (std::string why = take_prompt(value, names[1], turns[0], answers); !why.empty()) return why;
    // A prompt that goes over several rounds has answers that both conversations share.
    turns[1].texts = turns[2].texts = answers.texts;
  }
  for (size_t i : {1, 2}) {
    if (object.at_key(names[i + 1]).get(value) != simdjson::SUCCESS) continue;  // told of by the caller
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
  parse_object(object, out);
}

void JsonRowParser::parse_object(dom::object object, ParsedRow& out) const {
  const Format format = options_.format;
  for (size_t c = static_cast<size_t>(Column::kPrompt); c <= static_cast<size_t>(Column::kResponseB); ++c) {
    dom::element value;
    if (names_[c].empty() || object.at_key(names_[c]).get(value) == simdjson::SUCCESS) continue;
    if (c == static_cast<size_t>(Column::kPrompt) && detail::prompt_is_optional(format)) continue;
    std::vector<std::string> keys;
    for (auto field : object) keys.emplace_back(field.key);
    out.broken = fmt::format("{}: row {}: expected a key '{}', found {}{}", path_, out.row.source_row, names_[c],
                             fmt::join(keys, ", "), did_you_mean(names_[c], keys));
    return;
  }
  out.row.id = std::to_string(out.row.source_row);
  if (dom::element id; !names_[0].empty() && object.at_key(names_[0]).get(id) == simdjson::SUCCESS)
    out.row.id = text_of_key(object, names_[0]);
  detail::set_numbers(
      path_, names_, options_, [&](Column column) { return text_of_key(object, names_[static_cast<size_t>(column)]); },
      out);
  if (!out.broken.empty()) return;
  if (format == Format::kRanked) return take_ranked(object, names_, options_, has_labels_, out);

  std::array<Turns, 3> turns;
  if (format == Format::kChosen || format == Format::kHelpSteer3 || format == Format::kScored) {
    out.not_json = take_conversations(object, names_, turns);
  } else {
    for (size_t i = 0; i < 3; ++i) {
      dom::element value = object.at_key(names_[i + 1]);
      std::string why = take_turns(value, options_.cells, turns[i]);
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
    detail::set_label(1, 0, 0, out);
  else if (has_labels_ && format == Format::kHelpSteer3)
    // Below 0: the first answer is the better one.
    detail::set_label_of_scores(
        -detail::parse_probability(text_of_key(object, names_[static_cast<size_t>(Column::kWinner)])), 0, options_,
        out);
  else if (has_labels_)
    take_label(object, names_, out);
}

}  // namespace gavel

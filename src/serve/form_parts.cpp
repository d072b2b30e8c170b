#include "serve/form_parts.h"

#include "base/error.h"
#include "judge/pair_json.h"

namespace gavel {

namespace {

std::string text_of(const nlohmann::json& value, const char* key) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("text") && value["text"].is_string()) return value["text"].get<std::string>();
  fail("key '{}': expected a text, found {}", key, value.type_name());
}

/** A message's content: a text, or parts that are texts. */
std::string content_of(const nlohmann::json& message, size_t number) {
  const auto content = message.find("content");
  if (content == message.end()) fail("key 'messages': message {} has no 'content'", number);
  if (content->is_string()) return content->get<std::string>();
  std::string text;
  if (!content->is_array()) fail("key 'messages': message {} has a content that is no text", number);
  for (const auto& part : *content) {
    if (!part.is_object() || !part.contains("text") || !part["text"].is_string())
      fail("key 'messages': message {} has a part that is no text", number);
    text += part["text"].get<std::string>();
  }
  return text;
}

}  // namespace

nlohmann::json object_of(std::string_view body) {
  nlohmann::json object = parse_shallow(body);
  if (!object.is_object()) fail("expected an object, found {}", object.type_name());
  return object;
}

std::vector<std::string> texts_of(const nlohmann::json& object, const char* key) {
  if (!object.contains(key)) fail("key '{}' is missing", key);
  const nlohmann::json& value = object[key];
  if (!value.is_array()) return {text_of(value, key)};
  if (value.empty()) fail("key '{}' is an empty list", key);
  std::vector<std::string> texts;
  for (const auto& item : value) texts.push_back(text_of(item, key));
  return texts;
}

std::optional<bool> flag_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  if (!found->is_boolean()) fail("key '{}': expected true or false", key);
  return found->get<bool>();
}

void TextRows::add_written_out(std::string text, const FormContext& context, const char* key) {
  if (text.empty()) fail("key '{}': a text is empty", key);
  if (!context.no_written_out.empty()) fail("key '{}': {}", key, context.no_written_out);
  const bool reward = context.kind == JudgeKind::kReward;
  if (reward && half_) {  // two share a row
    rows_.back().response_b = {std::move(text)};
    places_.push_back({rows_.size() - 1, 1});
    half_ = false;
    return;
  }
  PreferenceRow row;
  row.written_out = true;
  row.response_a = row.response_b = {std::move(text)};
  add_row(std::move(row));
  half_ = reward;
}

void TextRows::add_row(PreferenceRow row) {
  rows_.push_back(std::move(row));
  places_.push_back({rows_.size() - 1, 0});
  half_ = false;
}

const std::vector<PreferenceRow>& TextRows::rows(size_t most_pairs) const {
  if (rows_.size() > most_pairs)
    fail("{} texts are too many: {} rows of at most {} (--max-pairs)", places_.size(), rows_.size(), most_pairs);
  return rows_;
}

double TextRows::reward(std::span<const Verdict> verdicts, size_t text) const {
  return verdict(verdicts, text).rewards.value()[places_[text].side];
}

int64_t TextRows::tokens(std::span<const Verdict> verdicts, JudgeKind kind) const {
  int64_t sum = 0;
  for (const Place& place : places_) {
    const Verdict& verdict = verdicts[place.row];
    if (kind == JudgeKind::kReward)
      sum += place.side == 0 ? verdict.length : verdict.length_b;
    else
      sum += verdict.length + verdict.length_b;
  }
  return sum;
}

PreferenceRow conversation_of(const nlohmann::json& messages, JudgeKind kind) {
  if (!messages.is_array() || messages.empty()) fail("key 'messages': expected a list of messages");
  const bool pair = kind != JudgeKind::kReward;
  PreferenceRow row;
  std::string system, last;
  for (size_t i = 0; i < messages.size(); ++i) {
    const nlohmann::json& message = messages[i];
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string())
      fail("key 'messages': message {} is no object with 'role' and 'content'", i + 1);
    const std::string role = message["role"].get<std::string>();
    std::string content = content_of(message, i + 1);
    if (role == last) {
      if (!pair || role != "assistant" || i + 1 != messages.size())
        fail("key 'messages': two messages of '{}' follow each other{}", role,
             pair ? "; only the last two do, the answers A and B" : "");
      row.response_b = row.response_a;
      row.response_b.back() = std::move(content);
      return row;
    }
    if (role == "assistant") {
      if (row.prompt.empty()) row.prompt.emplace_back();
      row.response_a.push_back(std::move(content));
    } else if (role == "user") {
      row.prompt.push_back(system.empty() ? std::move(content) : system + "\n\n" + content);
      system.clear();
    } else if (role == "system" && last.empty()) {
      system = std::move(content);
    } else {
      fail(
          "key 'messages': message {} is of '{}': expected the user's and the assistant's in turn, after at most one "
          "of "
          "the system",
          i + 1, role);
    }
    last = role;
  }
  if (pair) fail("key 'messages': the last two messages must be the assistant's, which are the answers A and B");
  if (last != "assistant") fail("key 'messages': the last message must be the assistant's, whose answer is rewarded");
  row.response_b = row.response_a;
  return row;
}

std::vector<PreferenceRow> rows_within(std::span<const Candidates> all, size_t most_pairs) {
  std::vector<PreferenceRow> rows = candidate_rows(all);
  if (rows.size() > most_pairs) fail("at most {} answers are taken at once", 2 * most_pairs);
  return rows;
}

}  // namespace gavel

#include "rows/messages.h"

#include <fmt/format.h>

namespace gavel {

namespace dom = simdjson::dom;

namespace {

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
    if (!find_key(message, "content", value) || (!value.is_null() && value.get(content) != simdjson::SUCCESS))
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

}  // namespace

bool find_key(dom::object object, std::string_view key, dom::element& value) {
  bool found = false;
  for (auto field : object)
    if (field.key == key) {
      value = field.value;
      found = true;
    }
  return found;
}

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

std::string take_prompt(dom::element value, const std::string& key, Turns& prompt, Turns& answers) {
  dom::array messages;
  if (value.get(messages) != simdjson::SUCCESS) {
    take_turns(value, Cells::kText, prompt);  // another value is taken as it is written
    return "";
  }
  std::string why = take_messages(messages, prompt, answers);
  return why.empty() ? "" : fmt::format("key '{}': {}", key, why);
}

std::string take_answer(dom::element value, const std::string& key, Turns& prompt, Turns& answers) {
  Turns own_prompt, own;
  dom::array messages;
  if (value.get(messages) != simdjson::SUCCESS) {
    if (std::string why = take_turns(value, Cells::kText, own); !why.empty())
      return fmt::format("key '{}': {}", key, why);
  } else {
    if (std::string why = take_messages(messages, own_prompt, own); !why.empty())
      return fmt::format("key '{}': {}", key, why);
    if (own.texts.empty()) return fmt::format("key '{}': the assistant says nothing", key);
  }
  if (own_prompt.texts.empty()) {
    answers.texts.insert(answers.texts.end(), own.texts.begin(), own.texts.end());
    answers.null_turns += own.null_turns;
  } else {
    prompt = std::move(own_prompt);
    answers.texts = std::move(own.texts);
  }
  return "";
}

std::string text_of_key(dom::object object, const std::string& key) {
  dom::element value;
  if (!find_key(object, key, value) || value.is_null()) return "";
  std::string_view text;
  return value.get(text) == simdjson::SUCCESS ? std::string(text) : simdjson::minify(value);
}

}  // namespace gavel

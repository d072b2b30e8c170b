#include "rows/messages.h"

#include <fmt/format.h>

#include <algorithm>

#include "rows/lenient_json.h"

namespace gavel {

namespace dom = simdjson::dom;

namespace {

constexpr std::string_view kJsonBlanks = " \t\r\n";

/** One part of a message's content. */
std::string take_part(dom::element item, std::string_view role, std::string& text) {
  dom::object part;
  dom::element value;
  std::string_view type, words;
  if (item.get(part) != simdjson::SUCCESS || !find_key(part, "type", value) || value.get(type) != simdjson::SUCCESS)
    return fmt::format("a message of '{}' has a part that is no object with 'type' and 'text'", role);
  const bool image =
      find_key(part, "image", value) && !value.is_null() && !(value.get(words) == simdjson::SUCCESS && words.empty());
  if (type != "text" || image)
    return fmt::format("a message of '{}' has a part of type '{}', of which only text can be read", role,
                       image ? "image" : type.substr(0, 40));
  if (!find_key(part, "text", value) || value.get(words) != simdjson::SUCCESS)
    return fmt::format("a message of '{}' has a part whose text is none", role);
  if (!text.empty()) text.push_back('\n');
  text += words;
  return "";
}

/** What a message says; null is nothing. */
std::string take_content(dom::object message, std::string_view role, std::string& text, bool& is_null) {
  dom::element value;
  std::string_view words;
  dom::array parts;
  const bool there = find_key(message, "content", value);
  is_null = there && value.is_null();
  if (is_null) return "";
  if (there && value.get(words) == simdjson::SUCCESS) {
    text = words;
    return "";
  }
  if (!there || value.get(parts) != simdjson::SUCCESS)
    return fmt::format("a message of '{}' has a content that is no text", role);
  for (dom::element item : parts)
    if (std::string why = take_part(item, role, text); !why.empty()) return why;
  return "";
}

/** Messages of a conversation: a system's text stands before the first user's, and the assistant's messages are the answers.
 * `answers` gets as many turns as there are assistant's messages. */
std::string take_messages(dom::array list, Turns& prompt, Turns& answers) {
  std::string system;
  std::string_view last;
  for (dom::element item : list) {
    dom::object message;
    std::string_view role;
    std::string content;
    bool is_null = false;
    dom::element value;
    if (item.get(message) != simdjson::SUCCESS || !find_key(message, "role", value) ||
        value.get(role) != simdjson::SUCCESS)
      return "expected messages, each an object with 'role' and 'content'";
    if (std::string why = take_content(message, role.substr(0, 40), content, is_null); !why.empty()) return why;
    if (role == "assistant" || role == "model" || role == "gpt") {
      if (last == "assistant") return "two messages of the assistant follow each other";
      answers.texts.push_back(std::move(content));
      answers.null_turns += is_null;
      last = "assistant";
    } else if (role == "user" || role == "human" || role == "prompter") {
      if (last == "user") return "two messages of the user follow each other";
      prompt.texts.push_back(system.empty() ? std::move(content) : system + "\n\n" + content);
      prompt.null_turns += is_null;
      system.clear();
      last = "user";
    } else if (role == "system" && last.empty()) {
      system = std::move(content);
    } else {
      return fmt::format("a message of '{}', which is neither the user's nor the assistant's", role.substr(0, 40));
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

std::string take_conversation(dom::element value, const std::string& key, Turns& prompt, Turns& answers) {
  thread_local LenientJson json;
  auto refused = [&](std::string_view why) { return fmt::format("key '{}': {}", key, why); };
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) {
    if (begins_as_python_messages(text)) return refused(kPythonMessages);
    if (json.parse(text, value)) return refused("expected messages, or their JSON in a text");
    answers.lone_surrogates += json.lone_surrogates();
  }
  dom::array messages;
  if (value.get(messages) != simdjson::SUCCESS) return refused("expected a list of messages");
  if (std::string why = take_messages(messages, prompt, answers); !why.empty()) return refused(why);
  if (prompt.texts.empty()) return refused("the user says nothing");
  if (answers.texts.empty()) return refused("the assistant says nothing");
  answers.all_null = answers.null_turns == static_cast<int64_t>(answers.texts.size());
  return "";
}

std::string compare_prompts(const std::string& key_a, const std::vector<std::string>& a, const std::string& key_b,
                            const std::vector<std::string>& b) {
  // Both are UTF-8: cuts move to where a character begins.
  auto start_of = [](const std::string& text, size_t at) {
    while (at > 0 && at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
    return at;
  };
  auto shown = [&](const std::string& text, size_t from) {
    constexpr size_t kMostBytes = 40;
    from = start_of(text, from);
    const size_t end = start_of(text, std::min(from + kMostBytes, text.size()));
    return fmt::format("'{}{}{}'", from > 0 ? "…" : "", text.substr(from, end - from), end < text.size() ? "…" : "");
  };
  for (size_t turn = 0; turn < std::min(a.size(), b.size()); ++turn) {
    if (a[turn] == b[turn]) continue;
    const auto [in_a, in_b] = std::mismatch(a[turn].begin(), a[turn].end(), b[turn].begin(), b[turn].end());
    constexpr size_t kBefore = 10;
    auto at = static_cast<size_t>(in_a - a[turn].begin());
    at = at > kBefore ? at - kBefore : 0;
    return fmt::format("the user's message {} is {} in '{}' and {} in '{}'", turn + 1, shown(a[turn], at), key_a,
                       shown(b[turn], at), key_b);
  }
  if (a.size() == b.size()) return "";
  return fmt::format("'{}' has {} messages of the user, '{}' has {}", key_a, a.size(), key_b, b.size());
}

bool holds_messages(std::string_view text) {
  const size_t first = text.find_first_not_of(kJsonBlanks);
  if (first == std::string_view::npos || text[first] != '[') return false;
  const size_t second = text.find_first_not_of(kJsonBlanks, first + 1);
  if (second == std::string_view::npos || text[second] != '{') return false;
  thread_local LenientJson json;
  dom::element root, role;
  dom::array items;
  if (json.parse(text, root) || root.get(items)) return false;
  return std::all_of(items.begin(), items.end(), [&](dom::element item) {
    dom::object message;
    return item.get(message) == simdjson::SUCCESS && find_key(message, "role", role);
  });
}

bool begins_as_python_messages(std::string_view text) {
  for (char expected : std::string_view("[{'")) {
    const size_t at = text.find_first_not_of(kJsonBlanks);
    if (at == std::string_view::npos || text[at] != expected) return false;
    text.remove_prefix(at + 1);
  }
  return text.starts_with("role'") || text.starts_with("content'");
}

std::string text_of_key(dom::object object, const std::string& key) {
  dom::element value;
  if (!find_key(object, key, value) || value.is_null()) return "";
  std::string_view text;
  return value.get(text) == simdjson::SUCCESS ? std::string(text) : simdjson::minify(value);
}

}  // namespace gavel

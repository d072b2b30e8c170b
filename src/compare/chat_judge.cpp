#include "compare/chat_judge.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"

namespace gavel {

namespace {

constexpr std::string_view kQuestion =
    R"(You compare two answers of AI assistants to the same prompt. Decide which one a person who asked this would prefer: the one that is more correct, follows what was asked, and helps more. Neither the order in which the answers stand nor their length says which is better.

[Prompt]
{prompt}
[End of the prompt]

[Answer A]
{response_a}
[End of answer A]

[Answer B]
{response_b}
[End of answer B]

Which answer is better? Reply with one word and nothing else: A, B, or tie where neither is better.)";

constexpr std::string_view kParts[] = {"{prompt}", "{response_a}", "{response_b}"};

std::string rounds_of(const std::vector<std::string>& turns) {
  if (turns.size() == 1) return turns.front();
  std::string text;
  for (size_t i = 0; i < turns.size(); ++i)
    text += fmt::format("{}[Round {}]\n{}", text.empty() ? "" : "\n\n", i + 1, turns[i]);
  return text;
}

template <class Number>
Number number_of(std::string_view key, const std::string& text, Number least, Number most) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value >= least && value <= most))
    fail("--judge openai:…: {}={}: expected a number from {} to {}", key, text, least, most);
  return value;
}

std::string key_from(const std::string& variable) {
  const char* value = std::getenv(variable.c_str());
  if (value == nullptr || *value == '\0')
    fail("--judge openai:…: key-env={}: that variable is not set; export it, or leave key-env out", variable);
  const std::string key = value;
  // It goes into a header.
  if (std::ranges::any_of(key, [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; }))
    fail("--judge openai:…: the key in {} has a blank or a line end in it", variable);
  return key;
}

std::string question_from(const std::string& file) {
  std::string text = read_text(file);
  for (const std::string_view part : kParts)
    if (text.find(part) == std::string::npos)
      fail("{}: {} is missing; expected {{prompt}}, {{response_a}} and {{response_b}}, which the pair's texts replace",
           file, part);
  return text;
}

void set_option(ChatJudge& judge, const std::string& key, const std::string& value) {
  static const std::vector<std::string> kKeys = {"model",      "prompt",      "key-env", "temperature",
                                                 "max-tokens", "concurrency", "retries", "timeout"};
  ChatEndpoint& endpoint = judge.endpoint;
  if (value.empty()) fail("--judge openai:…: {}= has no value", key);
  if (key == "model")
    endpoint.model = value;
  else if (key == "prompt")
    judge.question = question_from(value);
  else if (key == "key-env")
    endpoint.key = key_from(value);
  else if (key == "temperature" && value == "none")
    endpoint.temperature.reset();
  else if (key == "temperature")
    endpoint.temperature = number_of(key, value, 0.0, 2.0);
  else if (key == "max-tokens")
    endpoint.max_tokens = number_of<int64_t>(key, value, 1, 1'000'000);
  else if (key == "concurrency")
    endpoint.concurrency = number_of<size_t>(key, value, 1, 256);
  else if (key == "retries")
    endpoint.retries = number_of(key, value, 0, 100);
  else if (key == "timeout")
    endpoint.timeout = std::chrono::seconds(number_of(key, value, 1, 3600));
  else
    fail(
        "--judge openai:…: unknown setting '{}'{}; there are model, prompt, key-env, temperature, max-tokens, "
        "concurrency, retries, timeout",
        key, did_you_mean(key, kKeys));
}

/** What a word of a verdict says. */
std::optional<size_t> outcome_of(std::string_view word) {
  std::string lower(word);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (lower == "a") return 0;
  if (lower == "b") return 1;
  if (lower == "tie" || lower == "c") return 2;
  return std::nullopt;
}

std::string_view without_around(std::string_view text, std::string_view letters) {
  const size_t begin = text.find_first_not_of(letters);
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(letters) - begin + 1);
}

}  // namespace

std::string_view default_question() {
  return kQuestion;
}

ChatJudge parse_chat_judge(std::string_view text) {
  ChatJudge judge;
  judge.question = kQuestion;
  bool first = true;
  while (!text.empty() || first) {
    const size_t end = std::min(text.find(','), text.size());
    const std::string part(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (first) {
      judge.endpoint.url = part;
      while (judge.endpoint.url.ends_with('/')) judge.endpoint.url.pop_back();
      first = false;
      continue;
    }
    const size_t equals = part.find('=');
    if (equals == std::string::npos) fail("--judge openai:…: '{}': expected key=value", part);
    set_option(judge, part.substr(0, equals), part.substr(equals + 1));
  }
  const std::string& url = judge.endpoint.url;
  if (!url.starts_with("http://") && !url.starts_with("https://"))
    fail("--judge openai:{}: expected an address such as http://127.0.0.1:8000/v1 behind 'openai:'", url);
  if (url.find('@') != std::string::npos)
    fail("--judge openai:…: no user and password in the address: name the variable of a key with key-env=");
  if (judge.endpoint.model.empty()) fail("--judge openai:{}: model=NAME is missing", url);
  return judge;
}

std::string render_question(std::string_view question, const PreferenceRow& row) {
  const std::vector<std::string>* texts[] = {&row.prompt, &row.response_a, &row.response_b};
  std::string out;
  while (!question.empty()) {
    size_t at = question.size(), part = 0;
    for (size_t k = 0; k < 3; ++k)
      if (const size_t found = question.find(kParts[k]); found < at) {
        at = found;
        part = k;
      }
    out += question.substr(0, at);
    if (at == question.size()) break;
    out += rounds_of(*texts[part]);
    question.remove_prefix(at + kParts[part].size());
  }
  return out;
}

std::optional<size_t> read_verdict(std::string_view reply) {
  constexpr std::string_view kBlanks = " \t\r\n";
  reply = without_around(reply, kBlanks);
  if (reply.starts_with("<think>")) {
    const size_t end = reply.find("</think>");
    if (end == std::string_view::npos) return std::nullopt;
    reply.remove_prefix(end + 8);
  }
  if (const auto outcome = outcome_of(without_around(reply, " \t\r\n\"'`*[]().")); outcome) return outcome;
  std::optional<size_t> found;
  for (size_t at = 0; (at = reply.find("[[", at)) != std::string_view::npos; at += 2) {
    const size_t end = reply.find("]]", at);
    if (end == std::string_view::npos) break;
    const auto outcome = outcome_of(reply.substr(at + 2, end - at - 2));
    if (!outcome) continue;
    if (found && found != outcome) return std::nullopt;
    found = outcome;
  }
  return found;
}

}  // namespace gavel

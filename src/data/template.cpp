#include "data/template.h"

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"

namespace gavel {

namespace {

constexpr std::string_view kOrigin =
    "User prompt: {prompt}\n\nModel A :\n{response_a}\n\n--------\n\nModel B:\n{response_b}";
constexpr std::string_view kConversation = "User: {prompt}\n\nAssistant: {response}";
constexpr std::string_view kRoundSeparator = "\n\n========\n\n";

struct ChatFormat {
  std::string_view name, mark, before, after;
  /** Of a conversation's round: before the prompt, between prompt and answer, and after it. */
  std::string_view round_before, round_middle, round_after;
};
// As the models' own templates write one user message and the generation prompt (the begin token is the
// tokenizer's).
constexpr std::array<ChatFormat, 2> kChatFormats = {{
    {"llama3", "<|start_header_id|>", "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
    {"chatml", "<|im_start|>", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>user\n",
     "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n"},
}};

std::string join(const std::vector<std::string>& turns, size_t first) {
  std::string out;
  for (size_t i = first; i < turns.size(); ++i) {
    if (i > first) out.push_back(' ');
    out += turns[i];
  }
  return out;
}

}  // namespace

namespace {

/** What a placeholder's name stands for; kWords for one that is not known. */
using PartNames = std::vector<std::pair<std::string_view, Template::Part>>;

/** Cuts a text at its placeholders, each of which must be there once. */
std::vector<Template::Piece> parse_parts(std::string_view text, const PartNames& known) {
  using Part = Template::Part;
  std::vector<std::string> names;
  for (const auto& [name, part] : known) names.emplace_back(name);
  std::vector<Template::Piece> parts;
  std::map<std::string_view, int> seen;
  std::string words;
  for (size_t i = 0; i < text.size();) {
    char c = text[i];
    if ((c == '{' || c == '}') && i + 1 < text.size() && text[i + 1] == c) {
      words.push_back(c);
      i += 2;
      continue;
    }
    if (c == '}') fail("data.template: a single }} at byte {}: write }}}} for a brace", i);
    if (c != '{') {
      words.push_back(c);
      ++i;
      continue;
    }
    size_t end = text.find('}', i);
    if (end == std::string_view::npos) fail("data.template: the placeholder at byte {} is not closed", i);
    std::string_view name = text.substr(i + 1, end - i - 1);
    auto found = std::find_if(known.begin(), known.end(), [&](const auto& entry) { return entry.first == name; });
    if (found == known.end())
      fail("data.template: unknown placeholder {{{}}}{}: known are {}", name, did_you_mean(name, names),
           fmt::join(names, ", "));
    ++seen[found->first];
    if (!words.empty()) parts.push_back({Part::kWords, std::move(words)});
    words.clear();
    parts.push_back({found->second, ""});
    i = end + 1;
  }
  if (!words.empty()) parts.push_back({Part::kWords, std::move(words)});
  for (const auto& [name, part] : known)
    if (seen[name] != 1)
      fail("data.template: expected the placeholder {{{}}} once, found it {} times", name, seen[name]);
  return parts;
}

}  // namespace

Template Template::parse(std::string_view text) {
  Template out;
  out.separator_ = kRoundSeparator;
  for (const ChatFormat& format : kChatFormats) {
    if (text != format.name) continue;
    out.before_ = format.before;
    out.after_ = format.after;
    text = "turns";
  }
  if (text == "turns") out.by_round_ = true;
  if (text == "origin" || text == "turns") text = kOrigin;
  if (text.find('{') == std::string_view::npos)
    fail(
        "data.template: expected origin, turns, llama3, chatml, or a text with {{prompt}}, {{response_a}} "
        "and "
        "{{response_b}}; "
        "found '{}'{}",
        text, did_you_mean(text, {"origin", "turns", "llama3", "chatml"}));
  out.parts_ = parse_parts(
      text, {{"prompt", Part::kPrompt}, {"response_a", Part::kResponseA}, {"response_b", Part::kResponseB}});
  return out;
}

Template Template::parse_conversation(std::string_view text) {
  Template out;
  out.by_round_ = true;
  for (const ChatFormat& format : kChatFormats) {
    if (text != format.name) continue;
    out.parts_ = {{Part::kWords, std::string(format.round_before)},
                  {Part::kPrompt, ""},
                  {Part::kWords, std::string(format.round_middle)},
                  {Part::kResponseA, ""},
                  {Part::kWords, std::string(format.round_after)}};
    return out;
  }
  out.separator_ = "\n\n";
  if (text == "origin" || text == "turns") text = kConversation;
  if (text.find('{') == std::string_view::npos)
    fail(
        "data.template: with task: reward expected turns, llama3, chatml, or a text with {{prompt}} and {{response}}; "
        "found '{}'{}",
        text, did_you_mean(text, {"turns", "llama3", "chatml"}));
  out.parts_ = parse_parts(text, {{"prompt", Part::kPrompt}, {"response", Part::kResponseA}});
  return out;
}

size_t Template::num_rounds(const PreferenceRow& row) {
  return std::max({row.prompt.size(), row.response_a.size(), row.response_b.size(), size_t{1}});
}

std::string Template::chat_name(std::string_view jinja) {
  for (const ChatFormat& format : kChatFormats)
    if (jinja.find(format.mark) != std::string_view::npos) return std::string(format.name);
  fail("data.template: {}: write the text out, with {{prompt}}, {{response_a}} and {{response_b}}",
       jinja.empty() ? "chat: the model has no chat template"
                     : "the model's chat template is neither llama3 nor chatml");
}

std::vector<Template::Piece> Template::pieces(const PreferenceRow& row, bool swap, size_t first_round) const {
  const std::vector<std::string>& a = swap ? row.response_b : row.response_a;
  const std::vector<std::string>& b = swap ? row.response_a : row.response_b;
  std::vector<Piece> out;
  auto add_words = [&](std::string_view words) {
    if (words.empty()) return;
    if (out.empty() || out.back().part != Part::kWords) out.push_back({Part::kWords, ""});
    out.back().text += words;
  };
  auto add = [&](auto&& text_of) {
    for (const Piece& part : parts_) {
      if (part.part == Part::kWords)
        add_words(part.text);
      else
        out.push_back({part.part, text_of(part.part == Part::kPrompt      ? row.prompt
                                          : part.part == Part::kResponseA ? a
                                                                          : b)});
    }
  };
  using Turns = std::vector<std::string>;
  add_words(before_);
  if (by_round_) {
    for (size_t round = first_round; round < num_rounds(row); ++round) {
      if (round > first_round) add_words(separator_);
      add([&](const Turns& turns) { return round < turns.size() ? turns[round] : std::string(); });
    }
  } else {
    add([&](const Turns& turns) { return join(turns, first_round); });
  }
  add_words(after_);
  return out;
}

std::string Template::render(const PreferenceRow& row, bool swap) const {
  std::string out;
  for (const Piece& piece : pieces(row, swap)) out += piece.text;
  return out;
}

std::string Template::fingerprint() const {
  std::string out = fmt::format("{}|{}|{}", by_round_ ? "turns" : "joined", before_, after_);
  if (by_round_ && separator_ != kRoundSeparator) out += "|between:" + separator_;
  for (const Piece& part : parts_) out += fmt::format("|{}:{}", static_cast<int>(part.part), part.text);
  return out;
}

}  // namespace gavel

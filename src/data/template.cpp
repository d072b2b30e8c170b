#include "data/template.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace gavel {

namespace {

constexpr std::string_view kOrigin =
    "User prompt: {prompt}\n\nModel A :\n{response_a}\n\n--------\n\nModel B:\n{response_b}";
constexpr std::string_view kRoundSeparator = "\n\n========\n\n";

std::string join(const std::vector<std::string>& turns, size_t first) {
  std::string out;
  for (size_t i = first; i < turns.size(); ++i) {
    if (i > first) out.push_back(' ');
    out += turns[i];
  }
  return out;
}

}  // namespace

Template Template::parse(std::string_view text) {
  Template out;
  if (text == "turns") out.by_round_ = true;
  if (text == "origin" || text == "turns") text = kOrigin;
  if (text.find('{') == std::string_view::npos)
    fail(
        "data.template: expected origin, turns, or a text with {{prompt}}, {{response_a}} and "
        "{{response_b}}; "
        "found '{}'{}",
        text, did_you_mean(text, {"origin", "turns"}));
  std::array<int, 4> seen{};
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
    Part part = name == "prompt"       ? Part::kPrompt
                : name == "response_a" ? Part::kResponseA
                : name == "response_b" ? Part::kResponseB
                                       : Part::kWords;
    if (part == Part::kWords)
      fail("data.template: unknown placeholder {{{}}}{}: known are prompt, response_a, response_b", name,
           did_you_mean(name, {"prompt", "response_a", "response_b"}));
    ++seen[static_cast<size_t>(part)];
    if (!words.empty()) out.parts_.push_back({Part::kWords, std::move(words)});
    words.clear();
    out.parts_.push_back({part, ""});
    i = end + 1;
  }
  if (!words.empty()) out.parts_.push_back({Part::kWords, std::move(words)});
  for (size_t part = 1; part < 4; ++part) {
    std::string_view name = part == 1 ? "prompt" : part == 2 ? "response_a" : "response_b";
    if (seen[part] != 1)
      fail("data.template: expected the placeholder {{{}}} once, found it {} times", name, seen[part]);
  }
  return out;
}

size_t Template::num_rounds(const PreferenceRow& row) {
  return std::max({row.prompt.size(), row.response_a.size(), row.response_b.size(), size_t{1}});
}

std::vector<Template::Piece> Template::pieces(const PreferenceRow& row, bool swap, size_t first_round) const {
  const std::vector<std::string>& a = swap ? row.response_b : row.response_a;
  const std::vector<std::string>& b = swap ? row.response_a : row.response_b;
  std::vector<Piece> out;
  auto add = [&](auto&& text_of) {
    for (const Piece& part : parts_) {
      switch (part.part) {
        case Part::kWords:
          if (!out.empty() && out.back().part == Part::kWords)
            out.back().text += part.text;
          else
            out.push_back(part);
          break;
        case Part::kPrompt:
          out.push_back({part.part, text_of(row.prompt)});
          break;
        case Part::kResponseA:
          out.push_back({part.part, text_of(a)});
          break;
        case Part::kResponseB:
          out.push_back({part.part, text_of(b)});
          break;
      }
    }
  };
  if (!by_round_) {
    add([&](const std::vector<std::string>& turns) { return join(turns, first_round); });
    return out;
  }
  for (size_t round = first_round; round < num_rounds(row); ++round) {
    if (round > first_round) out.push_back({Part::kWords, std::string(kRoundSeparator)});
    add([&](const std::vector<std::string>& turns) {
      return round < turns.size() ? turns[round] : std::string();
    });
  }
  return out;
}

std::string Template::render(const PreferenceRow& row, bool swap) const {
  std::string out;
  for (const Piece& piece : pieces(row, swap)) out += piece.text;
  return out;
}

std::string Template::fingerprint() const {
  std::string out = by_round_ ? "turns" : "joined";
  for (const Piece& part : parts_) out += fmt::format("|{}:{}", static_cast<int>(part.part), part.text);
  return out;
}

}  // namespace gavel

#include "data/template.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "chat/python_text.h"

namespace gavel {

namespace {

constexpr std::string_view kOrigin =
    "User prompt: {prompt}\n\nModel A :\n{response_a}\n\n--------\n\nModel B:\n{response_b}";
constexpr std::string_view kRoundSeparator = "\n\n========\n\n";

struct ChatFormat {
  std::string_view name, before, after;
};
// As the models' own templates write one user message and the generation prompt (the begin token is the
// tokenizer's).
constexpr std::array<ChatFormat, 2> kChatFormats = {{
    {"llama3", "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"},
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

Template Template::parse(std::string_view text) {
  Template out;
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

Template Template::chat(ChatTemplate chat, std::string begin_token) {
  Template out = parse("turns");
  out.begin_token_ = std::move(begin_token);
  out.chat_ = std::make_shared<ChatTemplate>(std::move(chat));
  const std::string mark = "What the judge reads";
  std::string text = out.frame(mark).text;
  if (text.find(mark, text.find(mark) + 1) != std::string::npos)
    fail(
        "data.template: chat: {}: the chat template writes a user's message more than once: write the text out in "
        "data.template, with {{prompt}}, {{response_a}} and {{response_b}}",
        out.chat_->source());
  return out;
}

Template::Framed Template::frame(std::string content) const {
  Framed out;
  if (!chat_) {
    out.begin = before_.size();
    out.end = is_chat() ? out.begin + content.size() : out.begin;
    out.text = before_ + content + after_;
    return out;
  }
  const ChatMessage message{"user", std::move(content)};
  out.text = chat_->render(std::span(&message, 1), true);
  if (!begin_token_.empty() && out.text.starts_with(begin_token_)) out.text.erase(0, begin_token_.size());
  // Many templates write a message without the white space at its ends.
  for (std::string_view written : {std::string_view(message.content), python::strip(message.content)}) {
    out.begin = out.text.find(written);
    out.end = out.begin + written.size();
    if (out.begin != std::string::npos) return out;
  }
  fail(
      "data.template: chat: {}: the chat template does not write a user's message as it is: write the text out in "
      "data.template, with {{prompt}}, {{response_a}} and {{response_b}}",
      chat_->source());
}

std::vector<Template::Piece> Template::content_pieces(const PreferenceRow& row, bool swap, size_t first_round) const {
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
  if (by_round_) {
    for (size_t round = first_round; round < num_rounds(row); ++round) {
      if (round > first_round) add_words(kRoundSeparator);
      add([&](const Turns& turns) { return round < turns.size() ? turns[round] : std::string(); });
    }
  } else {
    add([&](const Turns& turns) { return join(turns, first_round); });
  }
  return out;
}

std::vector<Template::Piece> Template::pieces(const PreferenceRow& row, bool swap, size_t first_round) const {
  std::vector<Piece> content = content_pieces(row, swap, first_round);
  if (!is_chat()) return content;
  std::string text;
  for (const Piece& piece : content) text += piece.text;
  const Framed whole = frame(text);
  // What the format leaves out at the ends of the text, the first and last pieces lose.
  const std::string_view written = std::string_view(whole.text).substr(whole.begin, whole.end - whole.begin);
  size_t from = text.find(written), left = text.size() - from - written.size();
  for (auto piece = content.begin(); from > 0; ++piece) {
    size_t cut = std::min(from, piece->text.size());
    piece->text.erase(0, cut);
    from -= cut;
  }
  for (auto piece = content.rbegin(); left > 0; ++piece) {
    size_t cut = std::min(left, piece->text.size());
    piece->text.resize(piece->text.size() - cut);
    left -= cut;
  }
  // Words beside words are one piece, which is encoded as a whole.
  if (content.front().part != Part::kWords) content.insert(content.begin(), {Part::kWords, ""});
  if (content.back().part != Part::kWords) content.push_back({Part::kWords, ""});
  content.front().text.insert(0, whole.text, 0, whole.begin);
  content.back().text.append(whole.text, whole.end);
  return content;
}

std::string Template::render(const PreferenceRow& row, bool swap) const {
  return render_framed(row, swap).text;
}

Template::Framed Template::render_framed(const PreferenceRow& row, bool swap) const {
  std::string content;
  for (const Piece& piece : content_pieces(row, swap, 0)) content += piece.text;
  return frame(std::move(content));
}

std::string Template::fingerprint() const {
  std::string out = fmt::format("{}|{}|{}", by_round_ ? "turns" : "joined", before_, after_);
  for (const Piece& part : parts_) out += fmt::format("|{}:{}", static_cast<int>(part.part), part.text);
  if (chat_) out += fmt::format("|chat|{}|{}", begin_token_, chat_->fingerprint());
  return out;
}

}  // namespace gavel

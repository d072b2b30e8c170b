#include "data/template.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "chat/python_text.h"

namespace gavel {

namespace {

constexpr std::string_view kOrigin =
    "User prompt: {prompt}\n\nModel A :\n{response_a}\n\n--------\n\nModel B:\n{response_b}";
constexpr std::string_view kConversation = "User: {prompt}\n\nAssistant: {response}";
constexpr std::string_view kRoundSeparator = "\n\n========\n\n";

struct ChatFormat {
  std::string_view name, before, after;
  /** Of a conversation's round: before the prompt, between prompt and answer, and after it. */
  std::string_view round_before, round_middle, round_after;
};
// As the models' own templates write one user message and the generation prompt (the begin token is the
// tokenizer's).
constexpr std::array<ChatFormat, 2> kChatFormats = {{
    {"llama3", "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
    {"chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>user\n",
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
    out.is_chat_ = true;
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
    out.is_chat_ = true;
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

Template Template::with_question(std::string_view question) const {
  Template out = *this;
  out.question_ = fmt::format("{}{}{}", kRoundSeparator, question, is_chat() ? "" : "\n\nAnswer:");
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

Template Template::chat_conversation(ChatTemplate chat, std::string begin_token) {
  Template out;
  out.conversation_ = true;
  out.begin_token_ = std::move(begin_token);
  out.chat_ = std::make_shared<ChatTemplate>(std::move(chat));
  PreferenceRow row;
  row.prompt = {"What is asked"};
  row.response_a = {"What is answered"};
  out.converse(row, false, 0);
  return out;
}

Template::Framed Template::rendered(std::span<const ChatMessage> messages, bool add_generation_prompt) const {
  Framed out;
  out.text = chat_->render(messages, add_generation_prompt);
  if (!begin_token_.empty() && out.text.starts_with(begin_token_)) out.text.erase(0, begin_token_.size());
  size_t at = 0;
  for (const ChatMessage& message : messages) {
    // Many templates write a message without the white space at its ends.
    const std::string_view candidates[] = {message.content, python::strip(message.content)};
    size_t begin = std::string::npos;
    for (std::string_view written : candidates) {
      begin = out.text.find(written, at);
      if (begin == std::string::npos) continue;
      out.foreign.emplace_back(begin, begin + written.size());
      at = begin + written.size();
      break;
    }
    if (begin == std::string::npos)
      fail(
          "data.template: chat: {}: the chat template does not write the {}'s message as it is: write the text out in "
          "data.template, with placeholders",
          chat_->source(), message.role);
  }
  return out;
}

Template::Framed Template::frame(std::string content) const {
  if (chat_) {
    const ChatMessage message{"user", std::move(content)};
    return rendered(std::span(&message, 1), true);
  }
  Framed out;
  if (is_chat_) out.foreign.emplace_back(before_.size(), before_.size() + content.size());
  out.text = before_ + content + after_;
  return out;
}

Template::Framed Template::converse(const PreferenceRow& row, bool swap, size_t first_round) const {
  const std::vector<std::string>& answers = swap ? row.response_b : row.response_a;
  auto turn = [](const std::vector<std::string>& turns, size_t round) {
    return round < turns.size() ? turns[round] : std::string();
  };
  std::vector<ChatMessage> messages;
  for (size_t round = first_round; round < num_rounds(row); ++round) {
    messages.push_back({"user", turn(row.prompt, round)});
    messages.push_back({"assistant", turn(answers, round)});
  }
  return rendered(messages, false);
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
      if (round > first_round) add_words(separator_);
      add([&](const Turns& turns) { return round < turns.size() ? turns[round] : std::string(); });
    }
  } else {
    add([&](const Turns& turns) { return join(turns, first_round); });
  }
  add_words(question_);
  return out;
}

std::vector<Template::Piece> Template::pieces(const PreferenceRow& row, bool swap, size_t first_round) const {
  if (conversation_) {
    const Framed whole = converse(row, swap, first_round);
    std::vector<Piece> out;
    size_t at = 0;
    Part part = Part::kPrompt;
    for (const auto& [begin, end] : whole.foreign) {
      if (begin > at) out.push_back({Part::kWords, whole.text.substr(at, begin - at)});
      out.push_back({part, whole.text.substr(begin, end - begin)});
      part = part == Part::kPrompt ? Part::kResponseA : Part::kPrompt;
      at = end;
    }
    if (at < whole.text.size()) out.push_back({Part::kWords, whole.text.substr(at)});
    return out;
  }
  std::vector<Piece> content = content_pieces(row, swap, first_round);
  // A format whose words are among the parts has no frame around them.
  if (!is_chat() || (!chat_ && before_.empty())) return content;
  std::string text;
  for (const Piece& piece : content) text += piece.text;
  const Framed whole = frame(text);
  const auto [begin, end] = whole.foreign.front();
  // What the format leaves out at the ends of the text, the first and last pieces lose.
  const std::string_view written = std::string_view(whole.text).substr(begin, end - begin);
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
  content.front().text.insert(0, whole.text, 0, begin);
  content.back().text.append(whole.text, end);
  return content;
}

std::string Template::render(const PreferenceRow& row, bool swap) const {
  return render_framed(row, swap).text;
}

Template::Framed Template::render_framed(const PreferenceRow& row, bool swap) const {
  if (conversation_) return converse(row, swap, 0);
  if (is_chat_ && before_.empty()) {
    Framed out;
    for (const Piece& piece : content_pieces(row, swap, 0)) {
      if (piece.part != Part::kWords) out.foreign.emplace_back(out.text.size(), out.text.size() + piece.text.size());
      out.text += piece.text;
    }
    return out;
  }
  std::string content;
  for (const Piece& piece : content_pieces(row, swap, 0)) content += piece.text;
  return frame(std::move(content));
}

std::string Template::fingerprint() const {
  std::string out = fmt::format("{}|{}|{}", by_round_ ? "turns" : "joined", before_, after_);
  if (by_round_ && separator_ != kRoundSeparator) out += "|between:" + separator_;
  for (const Piece& part : parts_) out += fmt::format("|{}:{}", static_cast<int>(part.part), part.text);
  if (!question_.empty()) out += "|asked:" + question_;
  if (chat_) out += fmt::format("|{}|{}|{}", conversation_ ? "rounds" : "chat", begin_token_, chat_->fingerprint());
  return out;
}

}  // namespace gavel

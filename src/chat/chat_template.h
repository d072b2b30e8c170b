#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace gavel {

namespace jinja {
struct Program;
}

struct ChatMessage {
  std::string role, content;
};

/** A model's own chat template (Jinja), rendered as transformers' apply_chat_template(tokenize=False) does it: the
 * language, its white space and its Python are an interpreter of our own, which refuses by name what it does not know
 * rather than write something else.
 *
 * Different from transformers on purpose: `strftime_now` is not defined, since a run must have the same tokens on every
 * day. Templates that ask whether it is (Llama 3.2) then write their own fixed date; those that call it are refused.
 *
 * A template is a stranger's text. Bounded are its size, its nesting, the steps of a rendering (some millions and the
 * length of the messages), and the memory it takes (64 MiB and 32 times the messages). */
class ChatTemplate {
 public:
  /** Texts of special tokens by the names that templates use: bos_token, eos_token, … */
  using Tokens = std::map<std::string, std::string>;

  /** `source` names the template in errors. Throws Error with what can't be read. */
  static ChatTemplate parse(std::string_view text, std::string source, Tokens tokens);

  /** The messages' text, with the header of an answer behind it if `add_generation_prompt` is set. What is not UTF-8
   * in a message becomes U+FFFD. Throws Error with the template's own words when it refuses the messages, and where the
   * template does what is wrong or not supported. May be called by several threads at once. */
  std::string render(std::span<const ChatMessage> messages, bool add_generation_prompt) const;

  const std::string& text() const { return text_; }
  const std::string& source() const { return source_; }
  /** Names all that a rendering depends on but the messages; for cache keys. */
  std::string fingerprint() const;

 private:
  std::string text_, source_;
  Tokens tokens_;
  std::shared_ptr<const jinja::Program> program_;
};

}  // namespace gavel

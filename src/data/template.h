#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/chat_template.h"
#include "rows/preferences.h"

namespace gavel {

/** Turns a row into the text that the judge reads. */
class Template {
 public:
  enum class Part : uint8_t { kWords, kPrompt, kResponseA, kResponseB };
  struct Piece {
    Part part = Part::kWords;
    std::string text;
  };

  /** `name_or_text` is one of
   * - "origin": the reference notebook's text, turns joined with a space;
   * - "turns": the same text once per round of the conversation, rounds separated by a line of equals signs;
   * - "llama3", "chatml": the text of "turns" as a user's message in that chat format, followed by the header of the
   *   assistant's answer (chat() is for a model's own format);
   * - a text with the placeholders {prompt}, {response_a} and {response_b}, each once; turns are joined with a space,
   *   and {{ and }} stand for braces.
   * Throws Error for an unknown name or placeholder, and for a placeholder that is not there exactly once. */
  static Template parse(std::string_view name_or_text);

  /** The text of "turns" as a user's message in a model's own chat format. A rendered text that begins with `begin_token`
   * loses it: for tokenizers that put it before every text themselves. Throws Error when the template refuses a single
   * user's message or does not write it once. */
  static Template chat(ChatTemplate chat, std::string begin_token);

  /** The text of a conversation with one of the row's answers (A's, with `swap` B's), round by round. `name_or_text` is one
   * of
   * - "origin", "turns": "User: " and the prompt, "Assistant: " and the answer;
   * - "llama3", "chatml": messages of the user and the assistant in that chat format;
   * - a text with the placeholders {prompt} and {response}, each once, for each round; rounds are joined by a blank line.
   * Throws Error as parse() does. */
  static Template parse_conversation(std::string_view name_or_text);

  /** As parse_conversation, the messages of each round written by the model's own chat template. */
  static Template chat_conversation(ChatTemplate chat, std::string begin_token);

  /** The template with a question behind the text of parse() or chat(). A model's next token is then its answer: a chat's
   * user asks it, any other text ends with "Answer:". */
  Template with_question(std::string_view question) const;

  /** Number of rounds: the longest of the three lists of turns (missing turns are empty). */
  static size_t num_rounds(const PreferenceRow& row);
  /** The text in pieces, of rounds `first_round` and later; `swap` exchanges A and B. */
  std::vector<Piece> pieces(const PreferenceRow& row, bool swap, size_t first_round = 0) const;
  std::string render(const PreferenceRow& row, bool swap) const;

  struct Framed {
    std::string text;
    /** Where the row's parts of the text are (byte ranges, rising), which special tokens are not to be read in: all but a chat
     * format's words. None for texts that are no chat's. */
    std::vector<std::pair<size_t, size_t>> foreign;
  };
  Framed render_framed(const PreferenceRow& row, bool swap) const;
  /** Whether the words are a chat format's, so that special tokens stand in them alone. */
  bool is_chat() const { return chat_ || is_chat_; }
  /** Identifies the template in cache keys. */
  std::string fingerprint() const;

 private:
  /** `content` as a user's message. */
  Framed frame(std::string content) const;
  /** The conversation of rounds `first_round` and later, with the ranges of prompts and answers in turn. */
  Framed converse(const PreferenceRow& row, bool swap, size_t first_round) const;
  /** Renders messages, and finds each in what is written. */
  Framed rendered(std::span<const ChatMessage> messages, bool add_generation_prompt) const;
  std::vector<Piece> content_pieces(const PreferenceRow& row, bool swap, size_t first_round) const;

  std::vector<Piece> parts_;    // placeholders have no text
  std::string before_, after_;  // around all rounds
  bool by_round_ = false;
  bool is_chat_ = false;       // the words are a chat format's
  bool conversation_ = false;  // chat_ writes rounds of messages
  std::string separator_;      // between rounds
  std::string question_;       // words behind all rounds
  std::shared_ptr<const ChatTemplate> chat_;
  std::string begin_token_;
};

}  // namespace gavel

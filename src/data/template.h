#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

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
   *   assistant's answer;
   * - a text with the placeholders {prompt}, {response_a} and {response_b}, each once; turns are joined with a space,
   *   and {{ and }} stand for braces.
   * Throws Error for an unknown name or placeholder, and for a placeholder that is not there exactly once. */
  static Template parse(std::string_view name_or_text);

  /** The text of a conversation with one of the row's answers (A's, with `swap` B's), round by round. `name_or_text` is one
   * of
   * - "origin", "turns": "User: " and the prompt, "Assistant: " and the answer;
   * - "llama3", "chatml": messages of the user and the assistant in that chat format;
   * - a text with the placeholders {prompt} and {response}, each once, for each round; rounds are joined by a blank line.
   * Throws Error as parse() does. */
  static Template parse_conversation(std::string_view name_or_text);

  /** "llama3" or "chatml": the format that a model's own chat template (Jinja) writes, told by its special tokens.
   * Throws Error when it is neither. */
  static std::string chat_name(std::string_view jinja);

  /** Number of rounds: the longest of the three lists of turns (missing turns are empty). */
  static size_t num_rounds(const PreferenceRow& row);
  /** The text in pieces, of rounds `first_round` and later; `swap` exchanges A and B. */
  std::vector<Piece> pieces(const PreferenceRow& row, bool swap, size_t first_round = 0) const;
  std::string render(const PreferenceRow& row, bool swap) const;
  /** Identifies the template in cache keys. */
  std::string fingerprint() const;

 private:
  std::vector<Piece> parts_;    // placeholders have no text
  std::string before_, after_;  // around all rounds
  bool by_round_ = false;
  std::string separator_;  // between rounds
};

}  // namespace gavel

#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/preferences.h"

namespace gavel {

/** Turns a row into the text the judge reads. */
class Template {
 public:
  enum class Part : uint8_t { kWords, kPrompt, kResponseA, kResponseB };
  struct Piece {
    Part part = Part::kWords;
    std::string text;
  };

  /** "origin": the origin's text, turns joined with a space.
   *  "turns": the same text once per round of the conversation, rounds separated by a line of equals signs.
   *  Else a text with the placeholders {prompt}, {response_a} and {response_b} (turns joined with a space; {{
   * and
   *  }} are braces). Throws on an unknown name or placeholder, and when a placeholder is missing. */
  static Template parse(std::string_view name_or_text);

  /** Number of rounds: the longest of the three lists of turns (missing turns are empty). */
  static size_t num_rounds(const PreferenceRow& row);
  /** The text in pieces, of rounds `first_round` and later; `swap` exchanges A and B. */
  std::vector<Piece> pieces(const PreferenceRow& row, bool swap, size_t first_round = 0) const;
  std::string render(const PreferenceRow& row, bool swap) const;
  /** Identifies the template in cache keys. */
  std::string fingerprint() const;

 private:
  std::vector<Piece> parts_;  // placeholders have no text
  bool by_round_ = false;
};

}  // namespace gavel

#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** An entry of tokenizer.json's "added_tokens". */
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  // only where no \w stands beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // takes the white space after it
  bool normalized = false;   // looked for in a second pass, after those without it
  bool special = false;
  std::string normal = {};  // content after normalization, where `normalized`; else content
};

/** Finds added tokens written in a text: at the leftmost place the longest one, as `tokenizers` does. */
class AddedTokenMatcher {
 public:
  /** A stretch of the text: an added token, or (id < 0) text between them. */
  struct Piece {
    size_t begin;
    size_t end;
    int32_t id;
  };

  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  /** Appends the pieces of valid UTF-8 `text`; none for an empty text. */
  void split(std::string_view text, std::vector<Piece>& pieces) const;

 private:
  struct Match {
    size_t begin;
    size_t end;
    const AddedToken* token;
  };
  bool find(std::string_view text, size_t from, Match& match) const;

  struct Node {
    std::vector<std::pair<uint8_t, uint32_t>> next;
    int32_t token = -1;
  };
  std::vector<AddedToken> tokens_;
  std::vector<Node> trie_;
  std::array<uint32_t, 256> first_{};  // node after the first byte, 0 = none
  int only_first_ = -1;                // the one first byte of all tokens, if there is just one
};

}  // namespace gavel

#include "pieces/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "pieces/unicode.h"

namespace gavel {
namespace {

const uint8_t* bytes(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

bool has_class(const uint8_t* p, uint8_t mask) {
  return (UnicodeTable::get().classes(decode_utf8(p).code_point) & mask) != 0;
}

bool word_before(std::string_view text, size_t at) {
  return at > 0 && has_class(previous_char(bytes(text) + at), kWordClass);
}

bool word_after(std::string_view text, size_t at) {
  return at < text.size() && has_class(bytes(text) + at, kWordClass);
}

// Goes back to `from`, where the token before ended, at most.
size_t spaces_begin(std::string_view text, size_t at, size_t from) {
  while (at > from) {
    const uint8_t* p = previous_char(bytes(text) + at);
    if (!has_class(p, kSpaceClass)) break;
    at = static_cast<size_t>(p - bytes(text));
  }
  return at;
}

size_t spaces_end(std::string_view text, size_t at) {
  while (at < text.size()) {
    Decoded c = decode_utf8(bytes(text) + at);
    if (!(UnicodeTable::get().classes(c.code_point) & kSpaceClass)) break;
    at += c.size;
  }
  return at;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  trie_.resize(1);
  for (size_t i = 0; i < tokens_.size(); ++i) {
    uint32_t node = 0;
    for (char c : tokens_[i].content) {
      auto byte = static_cast<uint8_t>(c);
      auto& next = trie_[node].next;
      auto it = std::find_if(next.begin(), next.end(), [&](auto& edge) { return edge.first == byte; });
      if (it != next.end()) {
        node = it->second;
        continue;
      }
      auto fresh = static_cast<uint32_t>(trie_.size());
      next.emplace_back(byte, fresh);
      trie_.emplace_back();
      node = fresh;
    }
    trie_[node].token = static_cast<int32_t>(i);
  }
  for (auto& [byte, node] : trie_[0].next) first_[byte] = node;
  if (trie_[0].next.size() == 1) only_first_ = trie_[0].next[0].first;
}

bool AddedTokenMatcher::find(std::string_view text, size_t from, Match& match) const {
  for (size_t at = from; at < text.size(); ++at) {
    if (only_first_ >= 0) {
      const void* hit = std::memchr(text.data() + at, only_first_, text.size() - at);
      if (!hit) return false;
      at = static_cast<size_t>(static_cast<const char*>(hit) - text.data());
    }
    uint32_t node = first_[static_cast<uint8_t>(text[at])];
    if (node == 0) continue;
    match.token = nullptr;
    for (size_t i = at + 1;; ++i) {
      const Node& here = trie_[node];
      if (here.token >= 0) match = {at, i, &tokens_[static_cast<size_t>(here.token)]};
      if (i >= text.size()) break;
      auto byte = static_cast<uint8_t>(text[i]);
      auto it = std::find_if(here.next.begin(), here.next.end(), [&](auto& edge) { return edge.first == byte; });
      if (it == here.next.end()) break;
      node = it->second;
    }
    if (match.token) return true;
  }
  return false;
}

void AddedTokenMatcher::split(std::string_view text, std::vector<Piece>& pieces) const {
  if (text.empty()) return;
  size_t start = 0;  // what lies before is given out
  // A run of white space that was walked to its end; tokens that lie in one run would else each walk all of
  // it.
  size_t run_begin = 1, run_end = 0;
  Match match{};
  if (!tokens_.empty()) {
    for (size_t from = 0; find(text, from, match); from = match.end) {
      size_t begin = match.begin, end = match.end;
      const AddedToken& token = *match.token;
      if (token.single_word && (word_before(text, begin) || word_after(text, end))) continue;
      // The match before may have taken these spaces already.
      if (token.lstrip) begin = spaces_begin(text, std::max(begin, start), start);
      if (token.rstrip) {
        if (end < run_begin || end > run_end) {
          run_begin = end;
          run_end = spaces_end(text, end);
        }
        end = run_end;
      }
      if (start < begin) pieces.push_back({start, begin, -1});
      pieces.push_back({begin, end, token.id});
      start = end;
    }
  }
  if (start != text.size()) pieces.push_back({start, text.size(), -1});
}

}  // namespace gavel

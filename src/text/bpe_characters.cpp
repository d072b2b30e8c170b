// What a BpeModel does otherwise where its smallest symbols are characters, as in vocabularies made by SentencePiece.
#include <algorithm>

#include "pieces/space_mark.h"
#include "pieces/unicode.h"
#include "text/bpe.h"

namespace gavel {
namespace {

std::string fallback_name(uint32_t byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + '>';
}

}  // namespace

void BpeModel::finish_characters() {
  bool all = byte_fallback_;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    fallback_ids_[byte] = byte_fallback_ ? token_to_id(fallback_name(byte)).value_or(-1) : -1;
    all = all && fallback_ids_[byte] >= 0;
  }
  character_ids_.assign(0x10000, -1);
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].kind != 1 || tokens_[id].size == 0) continue;
    Decoded c = decode_utf8(reinterpret_cast<const uint8_t*>(arena_.data()) + tokens_[id].begin);
    if (c.size == tokens_[id].size && c.code_point < 0x10000) character_ids_[c.code_point] = static_cast<int32_t>(id);
  }
  byte_pairs_.assign(128 * 128, kNone);
  for (uint32_t a = 0; a < 128; ++a)
    for (uint32_t b = 0; b < 128; ++b)
      if (character_ids_[a] >= 0 && character_ids_[b] >= 0)
        byte_pairs_[a << 7 | b] = pair(character_ids_[a], character_ids_[b]);
  // What may_join() says of two characters holds of the symbols that stand for them only when each symbol is spelled
  // like its characters; the others must then take part in no merge.
  std::vector<bool> odd(tokens_.size());
  if (unk_ >= 0) odd[static_cast<size_t>(unk_)] = true;
  for (int32_t id : fallback_ids_)
    if (id >= 0) odd[static_cast<size_t>(id)] = true;
  may_split_ = all && !missing_ && std::none_of(pairs_.begin(), pairs_.end(), [&](const PairSlot& s) {
                 return s.key != kNone && (odd[s.key >> 32] || odd[s.key & 0xffffffff]);
               });
}

// Fills scratch.symbols and scratch.pairs, but for the last pair, and returns how many symbols there are.
size_t BpeModel::character_symbols(const uint8_t* p, size_t size, Scratch& scratch) const {
  bool mark_known = spelling_ != Spelling::kMarked || character_ids_[' '] >= 0;
  // A character gives as many symbols as it has bytes at most; a mark that is written as ' ' has three.
  size_t most = size * (mark_known ? 1 : kSpaceMark.size());
  scratch.symbols.resize(most);
  scratch.pairs.resize(most + 1);
  int32_t* symbols = scratch.symbols.data();
  uint64_t* pairs = scratch.pairs.data();
  size_t n = 0;
  int before = -1;  // the last symbol's character when it is ASCII, else -1
  auto put = [&](int32_t id, int ascii) {
    if (n > 0)
      pairs[n - 1] =
          before >= 0 && ascii >= 0 ? byte_pairs_[static_cast<size_t>(before << 7 | ascii)] : pair(symbols[n - 1], id);
    symbols[n++] = id;
    before = ascii;
  };
  bool unknown_waits = false;
  for (size_t i = 0; i < size;) {
    Decoded c = decode_utf8(p + i);
    std::string_view bytes(reinterpret_cast<const char*>(p + i), c.size);
    i += c.size;
    int32_t id = c.code_point < 0x10000 ? character_ids_[c.code_point] : find_bytes(bytes);
    if (id >= 0) {
      if (unknown_waits) put(unk_, -1);
      unknown_waits = false;
      put(id, c.code_point < 128 ? static_cast<int>(c.code_point) : -1);
      continue;
    }
    if (!mark_known && bytes == " ") bytes = kSpaceMark;
    auto fallback = [&](char byte) { return fallback_ids_[static_cast<uint8_t>(byte)]; };
    if (byte_fallback_ && std::all_of(bytes.begin(), bytes.end(), [&](char byte) { return fallback(byte) >= 0; })) {
      // An unknown character that waits comes after these, as in `tokenizers`.
      for (char byte : bytes) put(fallback(byte), -1);
    } else if (unk_ >= 0) {
      if (unknown_waits && !fuse_unk_) put(unk_, -1);
      unknown_waits = true;
    }
  }
  if (unknown_waits) put(unk_, -1);
  return n;
}

// encode_parts() for characters: the same cuts, most of which are told by one bit for two ASCII characters.
bool BpeModel::encode_character_parts(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                                      std::vector<int32_t>& ids) const {
  IdWriter out(ids);
  size_t start = 0;
  uint32_t last = p[0];
  for (size_t i = 1; i < size; ++i) {
    uint32_t c = p[i];
    bool joined = (last | c) < 0x80 ? (ascii_joins_[(last << 7 | c) / 64] >> c % 64 & 1) != 0
                                    : (c & 0xc0) == 0x80 || may_join(p, i, size);
    last = c;
    if (joined) continue;
    encode_character_part(p + start, i - start, safe_end, scratch, out);
    start = i;
  }
  if (start == 0) return false;
  encode_character_part(p + start, size - start, safe_end, scratch, out);
  return true;
}

void BpeModel::encode_character_part(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                                     IdWriter& out) const {
  if (size <= ShortWord::kMaxBytes) {
    ShortWord word = ShortWord::load(p, size, safe_end - p >= 16);
    // A part is what the merges make of it, also where a piece of the same letters is a token as a whole.
    if (ignore_merges_) word.high |= uint64_t{1} << 63;
    uint64_t hash = word.hash();
    if (const WordCache::Entry* entry = scratch.cache.find(word, hash)) {
      if (entry->count <= 3) return out.put(entry->ids, entry->count);
      auto tokens = scratch.cache.tokens(*entry);
      std::vector<int32_t>& ids = out.flush();
      ids.insert(ids.end(), tokens.begin(), tokens.end());
      return;
    }
    std::vector<int32_t>& ids = out.flush();
    size_t before = ids.size();
    merge_piece(p, size, scratch, ids);
    scratch.cache.insert(word, hash, std::span(ids).subspan(before));
    return;
  }
  encode_long_part(p, size, scratch, out.flush());
}

}  // namespace gavel

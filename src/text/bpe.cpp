#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/error.h"
#include "pieces/space_mark.h"
#include "pieces/unicode.h"

namespace gavel {
namespace {

int shift_for(size_t slots) {
  return 64 - std::countr_zero(slots);
}

}  // namespace

const ByteAlphabet& ByteAlphabet::get() {
  static const ByteAlphabet alphabet = [] {
    ByteAlphabet a;
    a.byte_of_char.fill(-1);
    uint32_t extra = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
      uint32_t code_point = printable ? byte : extra++;
      append_utf8(a.text[byte], code_point);
      a.byte_of_char[code_point] = static_cast<int16_t>(byte);
    }
    return a;
  }();
  return alphabet;
}

bool ByteAlphabet::append_bytes(std::string& out, std::string_view token) const {
  size_t before = out.size();
  const auto* p = reinterpret_cast<const uint8_t*>(token.data());
  const uint8_t* end = p + token.size();
  while (p < end) {
    Decoded c = decode_utf8(p);
    int16_t byte = c.code_point < byte_of_char.size() ? byte_of_char[c.code_point] : int16_t{-1};
    if (byte < 0) {
      out.resize(before);
      return false;
    }
    out.push_back(static_cast<char>(byte));
    p += c.size;
  }
  return true;
}

std::string ByteAlphabet::to_text(std::string_view bytes) const {
  std::string out;
  for (char c : bytes) out += text[static_cast<uint8_t>(c)];
  return out;
}

bool BpeModel::append_spelled(std::string& out, std::string_view token) const {
  if (spelling_ == Spelling::kByteLevel) return ByteAlphabet::get().append_bytes(out, token);
  if (spelling_ == Spelling::kMarked) {
    if (token.find(' ') != std::string_view::npos) return false;
    append_marked(out, token);
  } else {
    out += token;
  }
  return true;
}

std::string BpeModel::respelled(std::string_view text) const {
  if (spelling_ == Spelling::kByteLevel) return ByteAlphabet::get().to_text(text);
  std::string out;
  for (char c : text) {
    if (c == ' ' && spelling_ == Spelling::kMarked) {
      out += kSpaceMark;
    } else {
      out += c;
    }
  }
  return out;
}

void BpeModel::reserve(size_t tokens, size_t merges) {
  tokens_.reserve(tokens);
  arena_.reserve(tokens * 8);
  grow_table(tokens);
  grow_pairs(merges);
}

void BpeModel::grow_table(size_t tokens) {
  size_t slots = std::bit_ceil(std::max<size_t>(64, tokens * 2));
  if (slots <= table_.size()) return;
  table_.assign(slots, {});
  table_shift_ = shift_for(slots);
  in_table_ = 0;
  for (size_t id = 0; id < tokens_.size(); ++id) {
    if (tokens_[id].kind != 1) continue;
    std::string_view bytes = bytes_of(tokens_[id]);
    uint64_t hash = hash_bytes(bytes.data(), bytes.size());
    size_t slot = hash >> table_shift_;
    while (table_[slot].id >= 0) slot = (slot + 1) & (table_.size() - 1);
    table_[slot] = {static_cast<uint32_t>(hash), static_cast<int32_t>(id)};
    ++in_table_;
  }
}

int32_t BpeModel::find_bytes(std::string_view bytes, uint64_t hash) const {
  if (table_.empty()) return -1;
  auto tag = static_cast<uint32_t>(hash);
  for (size_t slot = hash >> table_shift_;; slot = (slot + 1) & (table_.size() - 1)) {
    const Slot& s = table_[slot];
    if (s.id < 0) return -1;
    if (s.tag == tag && bytes_of(tokens_[static_cast<size_t>(s.id)]) == bytes) return s.id;
  }
}

// The id that find_bytes() will look at first, as far as one slot tells; -1 when it does not.
int32_t BpeModel::first_candidate(uint64_t hash) const {
  if (table_.empty()) return -1;
  const Slot& s = table_[hash >> table_shift_];
  return s.tag == static_cast<uint32_t>(hash) ? s.id : -1;
}

bool BpeModel::is_token(int32_t id, std::string_view bytes) const {
  if (id < 0 || id >= id_end()) return false;
  const Token& token = tokens_[static_cast<size_t>(id)];
  return token.kind == 1 && bytes_of(token) == bytes;
}

void BpeModel::add_token(std::string_view text, uint32_t id) {
  if (id >= tokens_.size()) tokens_.resize(id + 1);
  if (tokens_[id].kind != 0)
    fail("token '{}' has id {}, which the token '{}' has already", text, id, id_to_token(static_cast<int32_t>(id)));
  if ((in_table_ + 1) * 2 > table_.size()) grow_table(std::max<size_t>(32, in_table_ * 2));
  Token token;
  token.begin = static_cast<uint32_t>(arena_.size());
  int32_t before = -1;  // the id of a key given twice in a JSON object: the later one counts
  if (append_spelled(arena_, text)) {
    token.kind = 1;
    token.size = static_cast<uint32_t>(arena_.size() - token.begin);
    uint64_t hash = hash_bytes(arena_.data() + token.begin, token.size);
    auto tag = static_cast<uint32_t>(hash);
    size_t slot = hash >> table_shift_;
    while (table_[slot].id >= 0 && !(table_[slot].tag == tag && is_token(table_[slot].id, bytes_of(token))))
      slot = (slot + 1) & (table_.size() - 1);
    before = table_[slot].id;
    table_[slot] = {tag, static_cast<int32_t>(id)};
    if (before < 0) ++in_table_;
  } else {
    token.kind = 2;
    arena_ += text;
    token.size = static_cast<uint32_t>(arena_.size() - token.begin);
    auto [it, fresh] = other_.try_emplace(std::string(text), static_cast<int32_t>(id));
    if (!fresh) before = std::exchange(it->second, static_cast<int32_t>(id));
  }
  if (before >= 0) {
    tokens_[static_cast<size_t>(before)] = {};
  } else {
    ++count_;
  }
  tokens_[id] = token;
}

void BpeModel::grow_pairs(size_t merges) {
  size_t slots = std::bit_ceil(std::max<size_t>(64, merges + merges / 2));
  if (slots <= pairs_.size()) return;
  std::vector<PairSlot> old(slots);
  old.swap(pairs_);
  pair_shift_ = shift_for(slots);
  pair_count_ = 0;
  for (const PairSlot& s : old)
    if (s.key != kNone) insert_pair(s.key, s.value);
}

void BpeModel::insert_pair(uint64_t key, uint64_t value) {
  size_t slot = pair_hash(key) >> pair_shift_;
  while (pairs_[slot].key != kNone && pairs_[slot].key != key) slot = (slot + 1) & (pairs_.size() - 1);
  if (pairs_[slot].key == kNone) ++pair_count_;
  pairs_[slot] = {key, value};
}

void BpeModel::add_merge(std::string_view left, std::string_view right, size_t row) {
  Pending merge;
  merge.row = row;
  // The bytes of left and right stand side by side, so the merged token needs no copy.
  merge.begin = static_cast<uint32_t>(pending_bytes_.size());
  bool plain = append_spelled(pending_bytes_, left);
  merge.middle = static_cast<uint32_t>(pending_bytes_.size());
  if (plain && append_spelled(pending_bytes_, right)) {
    merge.end = static_cast<uint32_t>(pending_bytes_.size());
    merge.left_hash = hash_bytes(pending_bytes_.data() + merge.begin, merge.middle - merge.begin);
    merge.right_hash = hash_bytes(pending_bytes_.data() + merge.middle, merge.end - merge.middle);
    if (!table_.empty()) {
      __builtin_prefetch(&table_[merge.left_hash >> table_shift_]);
      __builtin_prefetch(&table_[merge.right_hash >> table_shift_]);
    }
  } else {
    std::string both = std::string(left).append(right);
    merge.left = token_to_id(left).value_or(-1);
    merge.right = token_to_id(right).value_or(-1);
    merge.merged = token_to_id(both).value_or(-1);
    if (merge.merged < 0 && !missing_)
      missing_ = {row, merge.left < 0 ? std::string(left) : merge.right < 0 ? std::string(right) : both};
  }
  pending_.push_back(merge);
  if (pending_.size() >= kPending) resolve_merges();
}

void BpeModel::resolve_merges() {
  std::string_view all = pending_bytes_;
  auto for_candidates = [&](auto&& act) {
    for (const Pending& m : pending_) {
      if (m.end == 0) continue;
      for (uint64_t hash : {m.left_hash, m.right_hash})
        if (int32_t id = first_candidate(hash); id >= 0) act(tokens_[static_cast<size_t>(id)]);
    }
  };
  for_candidates([](const Token& token) { __builtin_prefetch(&token); });
  for_candidates([&](const Token& token) { __builtin_prefetch(arena_.data() + token.begin); });
  if ((pair_count_ + pending_.size()) * 4 > pairs_.size() * 3) grow_pairs((pair_count_ + pending_.size()) * 2);
  auto key = [](const Pending& m) {
    return static_cast<uint64_t>(static_cast<uint32_t>(m.left)) << 32 | static_cast<uint32_t>(m.right);
  };
  for (Pending& m : pending_) {
    if (m.end != 0) {
      std::string_view left = all.substr(m.begin, m.middle - m.begin), right = all.substr(m.middle, m.end - m.middle);
      std::string_view both = all.substr(m.begin, m.end - m.begin);
      m.left = find_bytes(left, m.left_hash);
      m.right = find_bytes(right, m.right_hash);
      // Merges mostly come in the order of the tokens they make.
      m.merged = is_token(last_merged_ + 1, both) ? last_merged_ + 1
                 : is_token(last_merged_, both)   ? last_merged_
                                                  : find_bytes(both);
      last_merged_ = m.merged;
      if ((m.left < 0 || m.right < 0 || m.merged < 0) && !missing_)
        missing_ = {m.row, respelled(m.left < 0 ? left : m.right < 0 ? right : both)};
    }
    __builtin_prefetch(&pairs_[pair_hash(key(m)) >> pair_shift_]);
  }
  for (const Pending& m : pending_) {
    if (m.end != 0) note_join(all.substr(m.begin, m.middle - m.begin), all.substr(m.middle, m.end - m.middle));
    insert_pair(key(m), static_cast<uint64_t>(rank_++) << 32 | static_cast<uint32_t>(m.merged));
  }
  pending_.clear();
  pending_bytes_.clear();
}

void BpeModel::finish(bool ignore_merges, std::optional<uint32_t> unk, bool fuse, bool byte_fallback) {
  resolve_merges();
  pending_.shrink_to_fit();
  pending_bytes_.shrink_to_fit();
  ignore_merges_ = ignore_merges;
  fuse_unk_ = fuse;
  unk_ = unk ? static_cast<int32_t>(*unk) : -1;
  byte_fallback_ = byte_fallback;
  if (pairs_.empty()) grow_pairs(0);
  joins_.resize((size_t{1} << kJoinBits) / 64);
  longest_token_ = 0;
  for (const Token& token : tokens_) longest_token_ = std::max<size_t>(longest_token_, token.size);
  if (in_characters()) {
    finish_characters();
  } else {
    finish_bytes();
  }
}

void BpeModel::finish_bytes() {
  all_bytes_ = true;
  std::array<int32_t, 256> own;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    char c = static_cast<char>(byte);
    own[byte] = find_bytes({&c, 1});
    if (own[byte] < 0) all_bytes_ = false;
    // An unknown byte's id is stored as ~unk below -1, or -1 for one that is dropped.
    byte_ids_[byte] = own[byte] >= 0 ? own[byte] : unk_ >= 0 ? ~unk_ - 1 : -1;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) known_byte_[byte] = own[byte] >= 0;
  may_split_ = all_bytes_ || unk_ < 0;
  byte_pairs_.assign(65536, kNone);
  for (uint32_t a = 0; a < 256; ++a)
    for (uint32_t b = 0; b < 256; ++b)
      if (own[a] >= 0 && own[b] >= 0) byte_pairs_[a << 8 | b] = pair(own[a], own[b]);
}

std::optional<int32_t> BpeModel::token_to_id(std::string_view token) const {
  if (!is_valid_utf8(token)) return std::nullopt;
  std::string bytes;
  if (append_spelled(bytes, token)) {
    int32_t id = find_bytes(bytes);
    return id < 0 ? std::nullopt : std::optional<int32_t>(id);
  }
  auto it = other_.find(std::string(token));
  return it == other_.end() ? std::nullopt : std::optional<int32_t>(it->second);
}

std::string BpeModel::id_to_token(int32_t id) const {
  if (id < 0 || id >= id_end()) return "";
  const Token& token = tokens_[static_cast<size_t>(id)];
  if (token.kind == 0) return "";
  std::string_view bytes = bytes_of(token);
  return token.kind == 1 ? respelled(bytes) : std::string(bytes);
}

bool BpeModel::append_bytes(std::string& out, int32_t id) const {
  if (id < 0 || id >= id_end() || tokens_[static_cast<size_t>(id)].kind == 0) return false;
  out += bytes_of(tokens_[static_cast<size_t>(id)]);
  return true;
}

}  // namespace gavel

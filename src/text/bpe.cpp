#include "text/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <utility>

#include "base/error.h"
#include "text/unicode.h"

namespace gavel {
namespace {

constexpr size_t kSmall = 96;  // symbols; above, a heap finds the next merge

uint64_t pair_hash(uint64_t key) {
  key = (key ^ (key >> 32)) * 0x9e3779b97f4a7c15ull;
  return key ^ (key >> 29);
}

int shift_for(size_t slots) {
  return 64 - std::countr_zero(slots);
}

bool inside_char(uint8_t byte) {
  return (byte & 0xc0) == 0x80;
}

size_t char_size(uint8_t lead) {
  return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

// A character's bytes as a number; at most four.
uint32_t packed(const uint8_t* p, size_t size) {
  uint32_t out = 0;
  for (size_t i = 0; i < size; ++i) out = out << 8 | p[i];
  return out;
}

size_t join_bit(uint32_t left, uint32_t right, int bits) {
  return ((static_cast<uint64_t>(left) << 32 | right) * 0x9e3779b97f4a7c15ull) >> (64 - bits);
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
  if (ByteAlphabet::get().append_bytes(arena_, text)) {
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

uint64_t BpeModel::pair(int32_t left, int32_t right) const {
  uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  for (size_t slot = pair_hash(key) >> pair_shift_;; slot = (slot + 1) & (pairs_.size() - 1)) {
    if (pairs_[slot].key == key) return pairs_[slot].value;
    if (pairs_[slot].key == kNone) return kNone;
  }
}

void BpeModel::add_merge(std::string_view left, std::string_view right, size_t row) {
  Pending merge;
  merge.row = row;
  // The bytes of left and right stand side by side, so the merged token needs no copy.
  const ByteAlphabet& alphabet = ByteAlphabet::get();
  merge.begin = static_cast<uint32_t>(pending_bytes_.size());
  bool plain = alphabet.append_bytes(pending_bytes_, left);
  merge.middle = static_cast<uint32_t>(pending_bytes_.size());
  if (plain && alphabet.append_bytes(pending_bytes_, right)) {
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
        missing_ = {m.row, ByteAlphabet::get().to_text(m.left < 0 ? left : m.right < 0 ? right : both)};
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

void BpeModel::note_join(std::string_view left, std::string_view right) {
  if (left.empty() || right.empty()) return;
  auto byte = [](char c) { return static_cast<uint8_t>(c); };
  uint8_t last = byte(left.back()), first = byte(right.front());
  if (inside_char(first) || (last < 0x80 && first < 0x80)) return;
  size_t tail = 1;  // of `left`, from a character's first byte on
  while (tail < left.size() && inside_char(byte(left[left.size() - tail]))) ++tail;
  const auto* x = reinterpret_cast<const uint8_t*>(left.data() + left.size() - tail);
  const auto* y = reinterpret_cast<const uint8_t*>(right.data());
  size_t head = char_size(first);
  if (!inside_char(*x) && char_size(*x) == tail && right.size() >= head) {
    if (joins_.empty()) joins_.resize((size_t{1} << kJoinBits) / 64);
    size_t bit = join_bit(packed(x, tail), packed(y, head), kJoinBits);
    joins_[bit / 64] |= uint64_t{1} << bit % 64;
  } else {
    part_joins_[(last << 8 | first) / 64] |= uint64_t{1} << first % 64;
  }
}

bool BpeModel::may_join(const uint8_t* p, size_t at, size_t size) const {
  uint8_t last = p[at - 1], first = p[at];
  if (last < 0x80 && first < 0x80) return true;
  size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && inside_char(p[begin])) --begin;
  size_t head = std::min(char_size(first), size - at);
  if (part_joins_[(last << 8 | first) / 64] >> first % 64 & 1) return true;
  if (!all_bytes_) {
    // Bytes that the vocabulary lacks are dropped, and what lies on both sides of them comes together.
    for (size_t i = begin; i < at + head; ++i)
      if (!known_byte_[p[i]]) return true;
  }
  size_t bit = join_bit(packed(p + begin, at - begin), packed(p + at, head), kJoinBits);
  return (joins_[bit / 64] >> bit % 64 & 1) != 0;
}

void BpeModel::finish(bool ignore_merges, std::optional<uint32_t> unk, bool fuse) {
  resolve_merges();
  pending_.shrink_to_fit();
  pending_bytes_.shrink_to_fit();
  ignore_merges_ = ignore_merges;
  fuse_unk_ = fuse;
  if (pairs_.empty()) grow_pairs(0);
  all_bytes_ = true;
  std::array<int32_t, 256> own;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    char c = static_cast<char>(byte);
    own[byte] = find_bytes({&c, 1});
    if (own[byte] < 0) all_bytes_ = false;
    // An unknown byte's id is stored as ~unk below -1, or -1 for one that is dropped.
    byte_ids_[byte] = own[byte] >= 0 ? own[byte] : unk ? ~static_cast<int32_t>(*unk) - 1 : -1;
  }
  for (uint32_t byte = 0; byte < 256; ++byte) known_byte_[byte] = own[byte] >= 0;
  joins_.resize((size_t{1} << kJoinBits) / 64);
  may_split_ = all_bytes_ || !unk;
  longest_token_ = 0;
  for (const Token& token : tokens_) longest_token_ = std::max<size_t>(longest_token_, token.size);
  byte_pairs_.assign(65536, kNone);
  for (uint32_t a = 0; a < 256; ++a)
    for (uint32_t b = 0; b < 256; ++b)
      if (own[a] >= 0 && own[b] >= 0) byte_pairs_[a << 8 | b] = pair(own[a], own[b]);
}

std::optional<int32_t> BpeModel::token_to_id(std::string_view token) const {
  if (!is_valid_utf8(token)) return std::nullopt;
  std::string bytes;
  if (ByteAlphabet::get().append_bytes(bytes, token)) {
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
  return token.kind == 1 ? ByteAlphabet::get().to_text(bytes) : std::string(bytes);
}

bool BpeModel::append_bytes(std::string& out, int32_t id) const {
  if (id < 0 || id >= id_end() || tokens_[static_cast<size_t>(id)].kind == 0) return false;
  out += bytes_of(tokens_[static_cast<size_t>(id)]);
  return true;
}

void BpeModel::encode_unusual(const ShortWord& word, uint64_t hash, const WordCache::Entry* entry, const uint8_t* p,
                              size_t size, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (entry) {
    auto tokens = scratch.cache.tokens(*entry);
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    return;
  }
  size_t before = ids.size();
  compute_piece(p, size, scratch, ids);
  scratch.cache.insert(word, hash, std::span(ids).subspan(before));
}

void BpeModel::encode_long(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                           std::vector<int32_t>& ids) const {
  // Scripts of three bytes a character mostly have no spaces: their pieces are sentences, which hardly come
  // again, but whose parts do.
  bool sentence = size > 1 && (p[0] >= 0xe0 || (p[0] < 0x80 && p[1] >= 0xe0));
  if (size > WordCache::kMaxLongBytes || sentence) {
    if (int32_t id = whole_token(p, size); id >= 0) {
      ids.push_back(id);
      return;
    }
    if (encode_parts(p, size, safe_end, scratch, ids)) return;
    if (size > WordCache::kMaxLongBytes) return merge_piece(p, size, scratch, ids);
  }
  std::string_view word(reinterpret_cast<const char*>(p), size);
  uint64_t hash = hash_bytes(p, size);
  if (auto tokens = scratch.cache.find_long(word, hash); !tokens.empty()) {
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    return;
  }
  size_t before = ids.size();
  compute_piece(p, size, scratch, ids);
  scratch.cache.insert_long(word, hash, std::span(ids).subspan(before));
}

// Where pieces that are tokens as a whole need no merges: the token, or -1.
int32_t BpeModel::whole_token(const uint8_t* p, size_t size) const {
  if (!ignore_merges_ || size > longest_token_) return -1;
  return find_bytes({reinterpret_cast<const char*>(p), size});
}

void BpeModel::compute_piece(const uint8_t* p, size_t size, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (int32_t id = whole_token(p, size); id >= 0) {
    ids.push_back(id);
  } else if (!encode_parts(p, size, p + size, scratch, ids)) {
    merge_piece(p, size, scratch, ids);
  }
}

// Cuts a piece where no merge can ever reach over: each part's merges are then the same as within the whole,
// and parts are short and come again. False, and nothing done, when there is no such place.
bool BpeModel::encode_parts(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                            std::vector<int32_t>& ids) const {
  if (!may_split_) return false;
  size_t start = 0;
  for (size_t i = 1; i < size; ++i) {
    if (inside_char(p[i]) || may_join(p, i, size)) continue;
    encode_part(p + start, i - start, safe_end, scratch, ids);
    start = i;
  }
  if (start == 0) return false;
  encode_part(p + start, size - start, safe_end, scratch, ids);
  return true;
}

void BpeModel::encode_part(const uint8_t* p, size_t size, const uint8_t* safe_end, Scratch& scratch,
                           std::vector<int32_t>& ids) const {
  if (size > ShortWord::kMaxBytes) return merge_piece(p, size, scratch, ids);
  ShortWord word = ShortWord::load(p, size, safe_end - p >= 16);
  // A part is what the merges make of it, also where a piece of the same letters is a token as a whole.
  if (ignore_merges_) word.high |= uint64_t{1} << 63;
  uint64_t hash = word.hash();
  if (const WordCache::Entry* entry = scratch.cache.find(word, hash)) {
    auto tokens = scratch.cache.tokens(*entry);
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    return;
  }
  size_t before = ids.size();
  merge_piece(p, size, scratch, ids);
  scratch.cache.insert(word, hash, std::span(ids).subspan(before));
}

void BpeModel::merge_piece(const uint8_t* p, size_t size, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (size == 0) return;
  if (size >= (size_t{1} << 31)) fail("a word of {} bytes is longer than 2 GiB, which is the limit", size);
  auto& symbols = scratch.symbols;
  auto& pairs = scratch.pairs;
  symbols.resize(size);
  pairs.resize(size + 1);
  size_t n = size;
  if (all_bytes_) {
    for (size_t i = 0; i < size; ++i) symbols[i] = byte_ids_[p[i]];
    for (size_t i = 0; i + 1 < size; ++i) pairs[i] = byte_pairs_[p[i] << 8 | p[i + 1]];
  } else {
    n = 0;
    bool after_unknown = false;
    for (size_t i = 0; i < size; ++i) {
      int32_t id = byte_ids_[p[i]];
      if (id == -1) continue;
      bool unknown = id < 0;
      if (unknown) id = ~(id + 1);
      if (!(unknown && after_unknown && fuse_unk_)) symbols[n++] = id;
      after_unknown = unknown;
    }
    if (n == 0) return;
    for (size_t i = 0; i + 1 < n; ++i) pairs[i] = pair(symbols[i], symbols[i + 1]);
  }
  pairs[n - 1] = kNone;
  if (n <= kSmall) {
    merge_small(scratch, n);
  } else {
    merge_large(scratch, n);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

// Leaves the tokens in scratch.symbols. The lowest rank first, the leftmost of equal ones.
void BpeModel::merge_small(Scratch& scratch, size_t n) const {
  int32_t* symbols = scratch.symbols.data();
  uint64_t* pairs = scratch.pairs.data();
  while (n > 1) {
    size_t best = 0;
    uint64_t value = pairs[0];
    for (size_t i = 1; i + 1 < n; ++i) {
      bool less = pairs[i] < value;
      value = less ? pairs[i] : value;
      best = less ? i : best;
    }
    if (value == kNone) break;
    symbols[best] = static_cast<int32_t>(static_cast<uint32_t>(value));
    --n;
    std::copy(symbols + best + 2, symbols + n + 1, symbols + best + 1);
    std::copy(pairs + best + 2, pairs + n + 1, pairs + best + 1);
    pairs[n - 1] = kNone;
    if (best + 1 < n) pairs[best] = pair(symbols[best], symbols[best + 1]);
    if (best > 0) pairs[best - 1] = pair(symbols[best - 1], symbols[best]);
  }
  scratch.symbols.resize(n);
}

void BpeModel::merge_large(Scratch& scratch, size_t n) const {
  auto& symbols = scratch.symbols;
  auto& pairs = scratch.pairs;
  auto& previous = scratch.previous;
  auto& next = scratch.next;
  auto& heap = scratch.heap;
  constexpr uint32_t kNo = ~uint32_t{0};
  previous.resize(n);
  next.resize(n);
  heap.clear();
  // Heap entries are rank << 32 | place; one is stale when the place's pair has another rank by now.
  auto push = [&](size_t i) {
    if (pairs[i] == kNone) return;
    heap.push_back((pairs[i] & ~uint64_t{0xffffffff}) | i);
  };
  for (size_t i = 0; i < n; ++i) {
    previous[i] = i == 0 ? kNo : static_cast<uint32_t>(i - 1);
    next[i] = i + 1 < n ? static_cast<uint32_t>(i + 1) : kNo;
    push(i);
  }
  auto later = std::greater<uint64_t>();
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), later);
    heap.pop_back();
    auto i = static_cast<uint32_t>(top);
    if (pairs[i] == kNone || (pairs[i] >> 32) != (top >> 32)) continue;
    uint32_t right = next[i];
    symbols[i] = static_cast<int32_t>(static_cast<uint32_t>(pairs[i]));
    pairs[right] = kNone;
    symbols[right] = -1;
    next[i] = next[right];
    pairs[i] = kNone;
    if (next[i] != kNo) {
      previous[next[i]] = i;
      pairs[i] = pair(symbols[i], symbols[next[i]]);
      push(i);
      if (pairs[i] != kNone) std::push_heap(heap.begin(), heap.end(), later);
    }
    if (previous[i] != kNo) {
      uint32_t left = previous[i];
      pairs[left] = pair(symbols[left], symbols[i]);
      push(left);
      if (pairs[left] != kNone) std::push_heap(heap.begin(), heap.end(), later);
    }
  }
  size_t count = 0;
  for (size_t i = 0; i < n; ++i)
    if (symbols[i] >= 0) symbols[count++] = symbols[i];
  symbols.resize(count);
}

}  // namespace gavel

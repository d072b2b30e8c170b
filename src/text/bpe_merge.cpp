// Encoding by a BpeModel: looking words up, cutting them into parts, merging.
#include <algorithm>
#include <functional>

#include "base/error.h"
#include "pieces/unicode.h"
#include "text/bpe.h"

namespace gavel {
namespace {

constexpr size_t kSmall = 96;  // symbols; above, a heap finds the next merge

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

void BpeModel::note_join(std::string_view left, std::string_view right) {
  if (left.empty() || right.empty()) return;
  auto byte = [](char c) { return static_cast<uint8_t>(c); };
  uint8_t last = byte(left.back()), first = byte(right.front());
  if (in_characters() && last < 0x80 && first < 0x80)
    ascii_joins_[(last << 7 | first) / 64] |= uint64_t{1} << first % 64;
  if (inside_char(first) || (last < 0x80 && first < 0x80)) return;
  if (joins_.empty()) joins_.resize((size_t{1} << kJoinBits) / 64);
  size_t tail = 1;  // of `left`, from a character's first byte on, or all of it
  while (tail < left.size() && tail < 4 && inside_char(byte(left[left.size() - tail]))) ++tail;
  size_t head = std::min(char_size(first), right.size());
  const auto* x = reinterpret_cast<const uint8_t*>(left.data() + left.size() - tail);
  size_t bit = join_bit(packed(x, tail), packed(reinterpret_cast<const uint8_t*>(right.data()), head), kJoinBits);
  joins_[bit / 64] |= uint64_t{1} << bit % 64;
  if (inside_char(*x) || head < char_size(first)) part_joins_[(last << 8 | first) / 64] |= uint64_t{1} << first % 64;
}

bool BpeModel::may_join(const uint8_t* p, size_t at, size_t size) const {
  uint8_t last = p[at - 1], first = p[at];
  if (last < 0x80 && first < 0x80)
    return !in_characters() || (ascii_joins_[(last << 7 | first) / 64] >> first % 64 & 1) != 0;
  size_t begin = at - 1;
  while (begin > 0 && at - begin < 4 && inside_char(p[begin])) --begin;
  size_t head = std::min(char_size(first), size - at);
  if (!in_characters() && !all_bytes_) {
    // Bytes that the vocabulary lacks are dropped, and what lies on both sides of them comes together.
    for (size_t i = begin; i < at + head; ++i)
      if (!known_byte_[p[i]]) return true;
  }
  auto noted = [&](size_t from, size_t count) {
    size_t bit = join_bit(packed(p + from, at - from), packed(p + at, count), kJoinBits);
    return (joins_[bit / 64] >> bit % 64 & 1) != 0;
  };
  if (noted(begin, head)) return true;
  // Tokens that hold one of the two characters in part; few pairs of bytes have any.
  if ((part_joins_[(last << 8 | first) / 64] >> first % 64 & 1) == 0) return false;
  for (size_t from = begin; from < at; ++from)
    for (size_t count = 1; count <= head; ++count)
      if (noted(from, count)) return true;
  return false;
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
  // again, but whose parts do. Where spaces belong to the tokens, a piece is all of a text.
  bool sentence = in_characters() || (size > 1 && (p[0] >= 0xe0 || (p[0] < 0x80 && p[1] >= 0xe0)));
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
  if (in_characters()) return encode_character_parts(p, size, safe_end, scratch, ids);
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
  if (size > ShortWord::kMaxBytes) return encode_long_part(p, size, scratch, ids);
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

void BpeModel::encode_long_part(const uint8_t* p, size_t size, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (size > WordCache::kMaxLongBytes) return merge_piece(p, size, scratch, ids);
  std::string_view word(reinterpret_cast<const char*>(p), size);
  uint64_t hash = hash_bytes(p, size);
  if (auto tokens = scratch.cache.find_long(word, hash, true); !tokens.empty()) {
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    return;
  }
  size_t before = ids.size();
  merge_piece(p, size, scratch, ids);
  scratch.cache.insert_long(word, hash, std::span(ids).subspan(before), true);
}

void BpeModel::merge_piece(const uint8_t* p, size_t size, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (size == 0) return;
  if (size >= (size_t{1} << 31)) fail("a word of {} bytes is longer than 2 GiB, which is the limit", size);
  auto& symbols = scratch.symbols;
  auto& pairs = scratch.pairs;
  if (!in_characters()) {
    symbols.resize(size);
    pairs.resize(size + 1);
  }
  size_t n = size;
  if (in_characters()) {
    n = character_symbols(p, size, scratch);
    if (n == 0) return;
  } else if (all_bytes_) {
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

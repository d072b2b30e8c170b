#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace gavel {

/** A word of up to 15 bytes as two registers; the top byte of `high` is its length, so words differ exactly
 * when their keys do. */
struct ShortWord {
  uint64_t low;
  uint64_t high;

  static constexpr size_t kMaxBytes = 15;

  /** `p` .. `p + size` is the word; at least 16 bytes may be read at p when `readable` says so. */
  static ShortWord load(const uint8_t* p, size_t size, bool readable) {
    ShortWord w;
    if (readable) {
      std::memcpy(&w, p, 16);
      w.low &= size >= 8 ? ~uint64_t{0} : (uint64_t{1} << (size * 8)) - 1;
      w.high &= size > 8 ? (uint64_t{1} << ((size - 8) * 8)) - 1 : 0;
    } else {
      w = {0, 0};
      std::memcpy(&w, p, size);
    }
    w.high |= static_cast<uint64_t>(size) << 56;
    return w;
  }
  uint64_t hash() const {
    uint64_t x = (low ^ (high * 0x9e3779b97f4a7c15ull)) * 0xbf58476d1ce4e5b9ull;
    return (x ^ (x >> 32)) * 0x94d049bb133111ebull;
  }
  bool operator==(const ShortWord&) const = default;
};

/** The tokens of words seen before; used by one thread at a time. Its memory is bounded: a new short word takes the
 * place of another, and all is emptied when another bound is reached. */
class WordCache {
 public:
  static constexpr size_t kMaxLongBytes = 256;

  WordCache();
  void clear();

  /** A word of up to ShortWord::kMaxBytes bytes and its tokens. */
  struct Entry {
    ShortWord word{0, 0};
    uint32_t ids[3] = {};
    uint32_t count = 0;  // above 3: ids[0] is a place in the pool
  };
  /** nullptr when the word is not in the cache. `hash` is word.hash(). */
  const Entry* find(const ShortWord& word, uint64_t hash) const {
    size_t slot = hash >> kShift;
    if (short_[slot].word == word) return &short_[slot];
    if (short_[slot ^ 1].word == word) return &short_[slot ^ 1];
    return nullptr;
  }
  void insert(const ShortWord& word, uint64_t hash, std::span<const int32_t> ids);
  std::span<const int32_t> tokens(const Entry& entry) const {
    return {entry.count <= 3 ? reinterpret_cast<const int32_t*>(entry.ids) : pool_.data() + entry.ids[0], entry.count};
  }

  /** The tokens of a word of 16 to kMaxLongBytes bytes; empty when it is not in the cache. A word and a part of one
   * (`part`) that have the same bytes are two. */
  std::span<const int32_t> find_long(std::string_view word, uint64_t hash, bool part = false) const;
  void insert_long(std::string_view word, uint64_t hash, std::span<const int32_t> ids, bool part = false);

 private:
  static constexpr int kBits = 18;
  static constexpr int kShift = 64 - kBits;
  static constexpr int kLongBits = 15;
  static constexpr size_t kLongArena = 2 << 20;
  static constexpr size_t kPoolMax = 1 << 20;  // ids

  static constexpr uint32_t kPart = 1u << 31;
  struct LongEntry {
    uint64_t hash = 0;
    uint32_t begin = 0;  // in the arena
    uint32_t size = 0;   // of the word, and kPart; 0: free
    uint32_t ids = 0;    // in the pool
    uint32_t count = 0;
  };
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> memory_;  // from calloc, so that places never used cost no memory
  Entry* short_ = nullptr;              // in memory_, at a cache line: neighbours lie in one
  std::vector<LongEntry> long_;
  std::vector<char> arena_;
  std::vector<int32_t> pool_;
};

/** A hash for this program's tables; not stable from one version to another. */
uint64_t hash_bytes(const void* data, size_t size);

}  // namespace gavel

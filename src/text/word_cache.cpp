#include "text/word_cache.h"

#include <algorithm>
#include <new>

namespace gavel {

uint64_t hash_bytes(const void* data, size_t size) {
  const auto* p = static_cast<const uint8_t*>(data);
  uint64_t h = size * 0x9e3779b97f4a7c15ull;
  auto mix = [&](uint64_t x) {
    h = (h ^ x) * 0xbf58476d1ce4e5b9ull;
    h ^= h >> 29;
  };
  for (; size >= 8; p += 8, size -= 8) {
    uint64_t x;
    std::memcpy(&x, p, 8);
    mix(x);
  }
  if (size > 0) {
    uint64_t x = 0;
    std::memcpy(&x, p, size);
    mix(x);
  }
  return (h ^ (h >> 32)) * 0x94d049bb133111ebull;
}

WordCache::WordCache() : long_(size_t{1} << kLongBits) {
  static_assert(sizeof(Entry) == 32);
  constexpr size_t kLine = 64;
  size_t size = (sizeof(Entry) << kBits) + kLine;
  memory_.reset(std::calloc(1, size));
  void* at = memory_.get();
  if (!at || !std::align(kLine, size - kLine, at, size)) throw std::bad_alloc();
  short_ = static_cast<Entry*>(at);
}

void WordCache::clear() {
  std::fill_n(short_, size_t{1} << kBits, Entry{});
  std::fill(long_.begin(), long_.end(), LongEntry{});
  arena_.clear();
  pool_.clear();
}

void WordCache::insert(const ShortWord& word, uint64_t hash, std::span<const int32_t> ids) {
  if (pool_.size() + ids.size() > kPoolMax) clear();
  size_t slot = hash >> kShift;
  // The newer word stands in front, the one it meets moves to the neighbour.
  if (short_[slot].word.high != 0) short_[slot ^ 1] = short_[slot];
  Entry& entry = short_[slot];
  entry.word = word;
  entry.count = static_cast<uint32_t>(ids.size());
  if (ids.size() <= 3) {
    std::copy(ids.begin(), ids.end(), reinterpret_cast<int32_t*>(entry.ids));
  } else {
    entry.ids[0] = static_cast<uint32_t>(pool_.size());
    pool_.insert(pool_.end(), ids.begin(), ids.end());
  }
}

std::span<const int32_t> WordCache::find_long(std::string_view word, uint64_t hash, bool part) const {
  const LongEntry& entry = long_[hash >> (64 - kLongBits)];
  if (entry.hash != hash || entry.size != (static_cast<uint32_t>(word.size()) | (part ? kPart : 0))) return {};
  if (std::memcmp(arena_.data() + entry.begin, word.data(), word.size()) != 0) return {};
  return {pool_.data() + entry.ids, entry.count};
}

void WordCache::insert_long(std::string_view word, uint64_t hash, std::span<const int32_t> ids, bool part) {
  if (ids.empty()) return;
  if (arena_.size() + word.size() > kLongArena || pool_.size() + ids.size() > kPoolMax) clear();
  long_[hash >> (64 - kLongBits)] = {.hash = hash,
                                     .begin = static_cast<uint32_t>(arena_.size()),
                                     .size = static_cast<uint32_t>(word.size()) | (part ? kPart : 0),
                                     .ids = static_cast<uint32_t>(pool_.size()),
                                     .count = static_cast<uint32_t>(ids.size())};
  arena_.insert(arena_.end(), word.begin(), word.end());
  pool_.insert(pool_.end(), ids.begin(), ids.end());
}

}  // namespace gavel

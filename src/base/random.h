#pragma once
#include <cstdint>
#include <utility>

namespace gavel {

// A counter-based generator: value number `counter` of the stream `key` is a pure function of both, so any step of a
// run can be recomputed alone.

/** The mixing function: SplitMix64's finaliser (Steele et al., 2014). */
inline uint64_t mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/** 64 random bits: the mixing function applied to key and counter in turn. */
inline uint64_t random_bits(uint64_t key, uint64_t counter) {
  return mix64(mix64(key) ^ counter);
}

/** Uniform in [0, 1) with 53 bits. */
inline double random_uniform(uint64_t key, uint64_t counter) {
  return static_cast<double>(random_bits(key, counter) >> 11) * 0x1p-53;
}

__extension__ using uint128_t = unsigned __int128;

/** A sequence over one stream, for shuffles and generated data. */
class Random {
 public:
  explicit Random(uint64_t key) : key_(key) {}
  uint64_t next() { return random_bits(key_, counter_++); }
  /** Uniform in [0, n); n > 0. The bias is below 2^-32 for n below 2^32. */
  uint64_t below(uint64_t n) { return static_cast<uint64_t>((static_cast<uint128_t>(next()) * n) >> 64); }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint64_t key_;
  uint64_t counter_ = 0;
};

/** Fisher-Yates, in place. */
template <class Container>
void shuffle(Container& items, Random& random) {
  for (uint64_t i = items.size(); i > 1; --i) {
    using std::swap;
    swap(items[i - 1], items[random.below(i)]);
  }
}

}  // namespace gavel

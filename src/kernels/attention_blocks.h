#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/attention.h"

// What attention's two passes share before any arithmetic: blocks of 64 rows and which pairs of them meet.
namespace gavel {

inline constexpr int64_t kBlock = 64;

inline int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/** Of the queries or keys of a block: the range of their segments, low to high, of the segments that they see, lowest_seen to
 * high, and of their positions, first to last, padding left out; and whether there is padding among them. */
struct BlockRange {
  int32_t lowest_seen = std::numeric_limits<int32_t>::max();
  int32_t low = std::numeric_limits<int32_t>::max();
  int32_t high = std::numeric_limits<int32_t>::min();
  int32_t first = std::numeric_limits<int32_t>::max();
  int32_t last = std::numeric_limits<int32_t>::min();
  bool padding = false;
  /** There is nothing but padding. */
  bool empty() const { return low > high; }
  /** `prefixes`: as in AttentionMask. */
  void add(int32_t segment, int32_t position, bool prefixes) {
    lowest_seen = std::min(lowest_seen, prefixes ? prefix_of(segment) : segment);
    low = std::min(low, segment);
    high = std::max(high, segment);
    first = std::min(first, position);
    last = std::max(last, position);
  }
  /** False is certain: none of these queries sees a key of this segment. */
  bool may_see(int32_t segment) const {
    return low == high ? segment == low || segment == lowest_seen : segment >= lowest_seen && segment <= high;
  }
};

/** How many keys of a block the queries of another one see. */
enum class Meeting : uint8_t { kNone, kPartial, kAll };

/** A window that every key is in. */
inline constexpr int64_t kNoWindow = std::numeric_limits<int64_t>::max() / 2;

/** kNone and kAll are certain; with kPartial each pair has to be looked at, and there may be none that meets. `window` as in
 * AttentionMask, at least 1. */
inline Meeting meet(const BlockRange& queries, const BlockRange& keys, int64_t window) {
  if (queries.empty() || keys.empty() || queries.high < keys.low || keys.high < queries.lowest_seen ||
      keys.first > queries.last || int64_t{queries.first} - keys.last >= window)
    return Meeting::kNone;
  if (keys.low == keys.high && !queries.may_see(keys.low)) return Meeting::kNone;
  const bool one_segment = queries.low == queries.high && keys.low == keys.high;
  if (one_segment && !queries.padding && !keys.padding && keys.last <= queries.first &&
      int64_t{queries.last} - keys.first < window)
    return Meeting::kAll;
  return Meeting::kPartial;
}

/** A call's mask cut into blocks: where each block's segments and positions begin, their ranges, and which blocks meet.
 * Throws Error for shapes that don't fit together, for a negative window, and for one together with prefixes. */
class AttentionPlan {
 public:
  AttentionPlan(const AttentionShape& shape, const AttentionMask& mask);

  int64_t query_blocks() const { return query_blocks_; }
  int64_t key_blocks() const { return key_blocks_; }
  const BlockRange& queries(int64_t batch, int64_t block) const {
    return queries_[static_cast<size_t>(batch * query_blocks_ + block)];
  }
  const BlockRange& keys(int64_t batch, int64_t block) const {
    return keys_[static_cast<size_t>(batch * key_blocks_ + block)];
  }
  Meeting meeting(int64_t batch, int64_t query_block, int64_t key_block) const {
    return meet(queries(batch, query_block), keys(batch, key_block), window_);
  }
  /** kNoWindow when there is none. */
  int64_t window() const { return window_; }
  bool windowed() const { return window_ != kNoWindow; }
  /** As in AttentionMask. */
  bool prefixes() const { return prefixes_; }
  /** The address of the block's first entry. */
  const int32_t* query_segments(int64_t batch, int64_t block) const {
    return query_segments_ + batch * shape_.queries + block * kBlock;
  }
  const int32_t* key_segments(int64_t batch, int64_t block) const {
    return key_segments_ + batch * shape_.keys + block * kBlock;
  }
  const int32_t* query_positions(int64_t batch, int64_t block) const {
    return query_positions_ + (own_positions_.empty() ? batch * shape_.queries : 0) + block * kBlock;
  }

 private:
  AttentionShape shape_;
  int64_t query_blocks_, key_blocks_, window_;
  bool prefixes_;
  const int32_t *query_segments_, *key_segments_, *query_positions_;
  std::vector<int32_t> own_positions_;
  std::vector<BlockRange> queries_, keys_;
};

/** One call's arrays, as the code reads them that is compiled for each instruction set. The forward pass leaves d_o, dq,
 * dk and dv null. */
struct AttentionJob {
  AttentionShape shape;
  ScoreRule rule;
  const AttentionPlan* plan;
  const void *q, *k, *v;
  void* o;
  float* lse;
  const void* d_o;
  void *dq, *dk, *dv;

  bool capped() const { return rule.softcap > 0; }
  /** What a product is multiplied by to be what tanh is taken of. */
  float into_cap() const { return rule.scale / rule.softcap; }
  /** What a product, or with a soft cap its tanh, is multiplied by to be an exponent of 2. */
  float exponent() const { return (capped() ? rule.softcap : rule.scale) * 1.44269504f; }
};

}  // namespace gavel

#include "kernels/attention_blocks.h"

#include <numeric>

#include "base/error.h"

namespace gavel {
namespace {

BlockRange range_of(const int32_t* segments, const int32_t* positions, int64_t first, int64_t count, bool prefixes) {
  BlockRange range;
  for (int64_t i = first; i < first + count; ++i) {
    if (segments[i] == 0) {
      range.padding = true;
      continue;
    }
    range.add(segments[i], positions ? positions[i] : static_cast<int32_t>(i), prefixes);
  }
  return range;
}

}  // namespace

AttentionPlan::AttentionPlan(const AttentionShape& shape, const AttentionMask& mask) : shape_(shape) {
  const auto& s = shape;
  if (s.batch < 0 || s.queries < 0 || s.keys < 0 || s.heads < 1 || s.kv_heads < 1 || s.head_dim < 1 ||
      s.heads % s.kv_heads != 0)
    fail("attention: batch {}, {} queries, {} keys, {} heads over {} key heads of {}: no such shape", s.batch,
         s.queries, s.keys, s.heads, s.kv_heads, s.head_dim);
  if (s.keys > std::numeric_limits<int32_t>::max() - kBlock || s.head_dim > 1024)
    fail("attention: {} keys, head dimension {}: expected at most 2^31 - 65 and 1024", s.keys, s.head_dim);
  if (!mask.key_segments) fail("attention: no segments given");
  if (mask.window < 0) fail("attention: a window of {} keys, expected at least 1, or 0 for none", mask.window);
  window_ = mask.window > 0 && mask.window < kNoWindow ? mask.window : kNoWindow;
  prefixes_ = mask.prefixes;
  if (prefixes_ && windowed()) fail("attention: a window of {} keys, together with prefixes", mask.window);
  if ((!mask.query_segments || !mask.query_positions) && s.queries != s.keys)
    fail("attention: {} queries for {} keys need segments and positions of their own", s.queries, s.keys);
  key_segments_ = mask.key_segments;
  query_segments_ = mask.query_segments ? mask.query_segments : mask.key_segments;
  query_positions_ = mask.query_positions;
  if (!query_positions_) {
    own_positions_.resize(static_cast<size_t>(std::max<int64_t>(1, s.queries)));
    std::iota(own_positions_.begin(), own_positions_.end(), 0);
    query_positions_ = own_positions_.data();
  }
  query_blocks_ = (s.queries + kBlock - 1) / kBlock;
  key_blocks_ = (s.keys + kBlock - 1) / kBlock;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t i = 0; i < query_blocks_; ++i)
      queries_.push_back(range_of(query_segments(b, 0), query_positions(b, 0), i * kBlock,
                                  std::min(kBlock, s.queries - i * kBlock), prefixes_));
    for (int64_t i = 0; i < key_blocks_; ++i)
      keys_.push_back(
          range_of(key_segments(b, 0), nullptr, i * kBlock, std::min(kBlock, s.keys - i * kBlock), prefixes_));
  }
}

}  // namespace gavel

// Attention's forward pass, compiled for every instruction set. A tile of scores holds a key in each row and a query in each
// lane of its vectors, so the softmax runs over rows and needs no sums across lanes.
#if defined(GAVEL_KERNELS_ATTENTION_FORWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GAVEL_KERNELS_ATTENTION_FORWARD_INL_H_
#undef GAVEL_KERNELS_ATTENTION_FORWARD_INL_H_
#else
#define GAVEL_KERNELS_ATTENTION_FORWARD_INL_H_
#endif

#include <cmath>
#include <limits>

#include "kernels/attention_tiles-inl.h"
#include "kernels/thread_pool.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

/** Softmax state of the queries of one block; exponents are of base 2. */
struct Softmax {
  float* high;   // [64] what exponents are taken from: at most 8 below the running maximum
  float* sum;    // [64] running denominator
  float* alpha;  // [64] what older sums are to be multiplied by
};

/** Turns scores[rows, kStrip] into `probabilities`, not yet divided by their sum and laid out as the right operand of
 * tile_product, for queries [first_column, last_column), which are a strip of the block. Brings the state up to date and
 * returns whether older sums must be multiplied by its alpha. */
template <bool kPairs, Sight kSight>
HWY_INLINE bool softmax_tile(float* scores, Rows rows, int64_t first_column, int64_t last_column, float scale,
                             const BlockQueries& queries, const int32_t* segments, int64_t valid, int64_t first_key,
                             const Softmax& state, float* probabilities) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Float minus = hn::Set(d, -std::numeric_limits<float>::infinity());
  const Float factor = hn::Set(d, scale);
  bool rescale = false;
  for (int64_t column = first_column; column < last_column; column += lanes) {
    const int64_t inside = column - first_column;
    Float most[4] = {minus, minus, minus, minus};
    for (int64_t i = rows.first; i < rows.last; i += 4) {
#pragma GCC unroll 4
      for (int64_t j = 0; j < 4; ++j) {
        Float s = hn::LoadU(d, scores + (i + j) * kStrip + inside);
        if constexpr (kSight != Sight::kAll) {
          const int64_t row = i + j;
          if (row >= valid || segments[row] == 0) {
            s = minus;
          } else {
            const auto position = static_cast<int32_t>(first_key + row);
            s = hn::IfThenElse(sees<kSight>(d, queries, column, segments[row], position), s, minus);
          }
          hn::StoreU(s, d, scores + row * kStrip + inside);
        }
        most[j] = hn::Max(most[j], s);
      }
    }
    const Float most_of_all = hn::Max(hn::Max(most[0], most[1]), hn::Max(most[2], most[3]));
    const Float old = hn::LoadU(d, state.high + column);
    const Float most_now = hn::Mul(most_of_all, factor);
    // A base a little too low costs no precision, since what is summed stays far from float32's limits; moving it costs a
    // pass over the sums.
    const Float high = hn::IfThenElse(hn::Gt(most_now, hn::Add(old, hn::Set(d, 8.0f))), most_now, old);
    // Nothing seen so far: any finite number serves, as all scores are minus infinity.
    const Float base = hn::IfThenElse(hn::Eq(high, minus), hn::Zero(d), high);
    const Float alpha = exp2_lanes(d, hn::Sub(old, base));
    rescale = rescale || !hn::AllTrue(d, hn::Eq(old, high));
    hn::StoreU(high, d, state.high + column);
    hn::StoreU(alpha, d, state.alpha + column);
    Float sum = hn::Mul(hn::LoadU(d, state.sum + column), alpha), sum2 = hn::Zero(d);
    for (int64_t i = rows.first; i < rows.last; i += 4) {
      Float p[4];
#pragma GCC unroll 4
      for (int64_t j = 0; j < 4; ++j) p[j] = hn::MulSub(hn::LoadU(d, scores + (i + j) * kStrip + inside), factor, base);
      exp2_lanes(d, p);
      sum = hn::Add(sum, hn::Add(p[0], p[1]));
      sum2 = hn::Add(sum2, hn::Add(p[2], p[3]));
      if constexpr (kPairs) {
        hn::StoreU(make_pairs(d, p[0], p[1]), d, probabilities + i / 2 * kStrip + inside);
        hn::StoreU(make_pairs(d, p[2], p[3]), d, probabilities + (i / 2 + 1) * kStrip + inside);
      } else {
#pragma GCC unroll 4
        for (int64_t j = 0; j < 4; ++j) hn::StoreU(p[j], d, probabilities + (i + j) * kStrip + inside);
      }
    }
    hn::StoreU(hn::Add(sum, sum2), d, state.sum + column);
  }
  return rescale;
}

/** Copies keys as rows and values transposed, block after block, for every sequence and key head. */
template <class T, bool kPairs>
void pack_keys(KernelCall& call, const AttentionJob& job, float* packed) {
  constexpr int64_t kPer = kPairs ? 2 : 1;
  const auto& s = job.shape;
  const int64_t padded = round_up(s.head_dim, 16), tile = kBlock * padded / kPer;
  const int64_t blocks = job.plan->key_blocks();
  call.run(s.batch * s.kv_heads * blocks, [&](int64_t task, int worker) {
    const int64_t block = task % blocks, head = task / blocks % s.kv_heads, batch = task / blocks / s.kv_heads;
    if (job.plan->keys(batch, block).empty()) return;
    Carver memory(call.local(worker, static_cast<size_t>(2 * tile) * sizeof(float) + 256));
    float* rows = memory.template take<float>(tile);
    float* paired = memory.template take<float>(tile);
    float* keys = packed + task * 2 * tile;
    const int64_t stride = s.kv_heads * s.head_dim;
    const int64_t offset = (batch * s.keys + block * kBlock) * stride + head * s.head_dim;
    const int64_t valid = std::min(kBlock, s.keys - block * kBlock);
    const int32_t* segments = job.plan->key_segments(batch, block);
    copy_rows<T, kPairs>(static_cast<const T*>(job.k) + offset, stride, valid, kBlock, s.head_dim, padded, segments,
                         keys);
    copy_rows<T, kPairs>(static_cast<const T*>(job.v) + offset, stride, valid, kBlock, s.head_dim, padded, segments,
                         rows);
    if constexpr (kPairs) pair_rows(rows, kBlock, padded, paired);
    transpose_units(kPairs ? paired : rows, padded, kBlock / kPer, padded, keys + tile, kBlock / kPer);
  });
}

template <class T, bool kPairs>
void forward_block(const AttentionJob& job, const float* packed, int64_t batch, int64_t head, int64_t block,
                   int threads, Carver memory) {
  constexpr int64_t kPer = kPairs ? 2 : 1;
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto& s = job.shape;
  const AttentionPlan& plan = *job.plan;
  const int64_t padded = round_up(s.head_dim, 16), tile = kBlock * padded / kPer;
  const int64_t depth = (s.head_dim + kPer - 1) / kPer;
  const int64_t valid = std::min(kBlock, s.queries - block * kBlock), columns = round_up(valid, 16);
  const int64_t stride = s.heads * s.head_dim;
  const int64_t offset = (batch * s.queries + block * kBlock) * stride + head * s.head_dim;
  T* o = static_cast<T*>(job.o) + offset;
  float* lse = job.lse + (batch * s.heads + head) * s.queries + block * kBlock;
  const BlockRange& range = plan.queries(batch, block);

  float* rows = memory.take<float>(tile);
  float* out = memory.take<float>(padded * kBlock);
  // Of one strip, without gaps: what lies a block's row apart meets in few sets of the first-level cache.
  float* q = memory.take<float>(padded / kPer * kStrip);
  float* scores = memory.take<float>(kBlock * kStrip);
  float* probabilities = memory.take<float>(kBlock / kPer * kStrip);
  float* sums = memory.take<float>(padded * kStrip);
  const Softmax state{memory.take<float>(kBlock), memory.take<float>(kBlock), memory.take<float>(kBlock)};
  const BlockQueries queries(plan, batch, block, valid);
  for (int64_t i = 0; i < kBlock; ++i) {
    state.high[i] = -std::numeric_limits<float>::infinity();
    state.sum[i] = 0;
  }
  if (!range.empty())
    copy_rows<T, kPairs>(static_cast<const T*>(job.q) + offset, stride, valid, kBlock, s.head_dim, padded,
                         queries.segments, rows);
  // Of what this thread writes, and most likely reads next, a few rows at a time: more than the processor can wait for at
  // once would only stop it.
  const T* next = head + threads < s.heads ? static_cast<const T*>(job.q) + offset + threads * s.head_dim : nullptr;
  int64_t fetched = 0;
  const auto fetch = [&] {
    const int64_t some = std::min<int64_t>(8, valid - fetched);
    prefetch_rows(o + fetched * stride, stride, some, s.head_dim);
    if (next) prefetch_rows(next + fetched * stride, stride, some, s.head_dim);
    fetched += some;
  };

  const float scale = job.exponent();
  const int64_t kv_head = head / (s.heads / s.kv_heads);
  for (int64_t first = 0; first < columns; first += kStrip) {
    const int64_t last = std::min(columns, first + kStrip), width = last - first;
    bool any_before = false;
    if (!range.empty()) transpose_units(rows + first * padded / kPer, padded / kPer, width, padded / kPer, q, kStrip);
    for (int64_t j = 0; j < plan.key_blocks(); ++j) {
      const Meeting meeting = plan.meeting(batch, block, j);
      if (meeting == Meeting::kNone) continue;
      fetch();
      const float* keys = packed + ((batch * s.kv_heads + kv_head) * plan.key_blocks() + j) * 2 * tile;
      const int64_t valid_keys = std::min(kBlock, s.keys - j * kBlock);
      const int32_t* segments = plan.key_segments(batch, j);
      const bool all = meeting == Meeting::kAll && valid_keys == kBlock;
      const Rows seen = all ? Rows{0, kBlock} : queries.seen(first / kStrip, segments, valid_keys, j * kBlock);
      if (seen.empty()) continue;
      tile_product<kPairs>(seen.count(), width, depth, keys + seen.first * padded / kPer, padded / kPer, q, kStrip,
                           scores + seen.first * kStrip, kStrip, false);
      if (job.capped()) bend_tile(scores + seen.first * kStrip, kStrip, seen.count(), width, job.into_cap());
      const bool rescale = with_sight(all, plan.windowed(), [&](auto sight) {
        return softmax_tile<kPairs, sight()>(scores, seen, first, last, scale, queries, segments, valid_keys,
                                             j * kBlock, state, probabilities);
      });
      if (rescale && any_before) {
        for (int64_t r = 0; r < padded; ++r)
          for (int64_t c = 0; c < width; c += lanes)
            hn::StoreU(hn::Mul(hn::LoadU(d, sums + r * kStrip + c), hn::LoadU(d, state.alpha + first + c)), d,
                       sums + r * kStrip + c);
      }
      const int64_t at = seen.first / kPer;
      tile_product<kPairs>(padded, width, seen.count() / kPer, keys + tile + at, kBlock / kPer,
                           probabilities + at * kStrip, kStrip, sums, kStrip, any_before);
      any_before = true;
    }
    if (!any_before) std::memset(sums, 0, static_cast<size_t>(padded * kStrip) * sizeof(float));
    transpose_units(sums, kStrip, padded, width, out + first * padded, padded);
  }

  for (int64_t i = 0; i < valid; ++i) {
    const bool any = state.sum[i] != 0 && queries.segments[i] != 0;
    if (!any) std::memset(out + i * padded, 0, static_cast<size_t>(padded) * sizeof(float));
    write_row(out + i * padded, any ? 1 / state.sum[i] : 0.0f, s.head_dim,
              reinterpret_cast<Stored<T, kPairs>*>(o + i * stride));
    lse[i] = any ? (state.high[i] + std::log2(state.sum[i])) * 0.693147181f : 0.0f;
  }
}

template <class T, bool kPairs>
void run_forward(KernelCall& call, const AttentionJob& job) {
  constexpr int64_t kPer = kPairs ? 2 : 1;
  const auto& s = job.shape;
  const int64_t padded = round_up(s.head_dim, 16), tile = kBlock * padded / kPer;
  const int64_t blocks = job.plan->query_blocks(), heads = s.batch * s.heads;
  const int64_t key_tiles = s.batch * s.kv_heads * job.plan->key_blocks();
  auto* packed = static_cast<float*>(call.shared(static_cast<size_t>(key_tiles * 2 * tile) * sizeof(float)));
  pack_keys<T, kPairs>(call, job, packed);
  const size_t bytes =
      static_cast<size_t>(tile + padded * kBlock + (2 * padded + 2 * kBlock) * kStrip + 3 * kBlock) * sizeof(float) +
      1024;
  call.run(heads * blocks, [&](int64_t task, int worker) {
    // Last blocks first: under the causal mask they are the longest, and long ones at the end would leave the
    // other threads waiting.
    const int64_t block = blocks - 1 - task / heads, head = task % heads;
    Tiles tiles;
    tiles.shape(kTileRows);
    forward_block<T, kPairs>(job, packed, head / s.heads, head % s.heads, block, call.threads(),
                             Carver(call.local(worker, bytes)));
  });
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

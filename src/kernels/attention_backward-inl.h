// Attention's backward pass, compiled for every instruction set. Queries are the outer loop: what they need is
// packed once a block, dq stays in the first-level cache, and dk and dv of one key head in the second-level
// cache.
#if defined(GAVEL_KERNELS_ATTENTION_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GAVEL_KERNELS_ATTENTION_BACKWARD_INL_H_
#undef GAVEL_KERNELS_ATTENTION_BACKWARD_INL_H_
#else
#define GAVEL_KERNELS_ATTENTION_BACKWARD_INL_H_
#endif

#include <limits>

#include "kernels/attention_tiles-inl.h"
#include "kernels/thread_pool.h"

HWY_BEFORE_NAMESPACE();
namespace gavel::HWY_NAMESPACE {

/** One tile of probabilities p and of the scores' gradients ds, as operands of tile_product. */
struct TileGradients {
  float* p;         // [keys, 64] as a left operand
  float* ds;        // [keys, 64] as a left operand
  float* ds_pairs;  // [keys, 64] as a right operand; ds itself in float32
};

/** p = 2^(scale scores - lse), ds = p (dp - delta), with keys in rows and queries [first_column, last_column) in
 * lanes. kCapped: scores are what bend_tile gives, and ds is the gradient of what it was given, whose own factor is left
 * to the end as without a cap. */
template <bool kPairs, Sight kSight, bool kCapped>
HWY_INLINE void gradient_tile(const float* scores, const float* dp, Rows rows, int64_t first_column,
                              int64_t last_column, float scale, const float* lse, const float* delta,
                              const BlockQueries& queries, const int32_t* segments, int64_t valid, int64_t first_key,
                              const TileGradients& to) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const Float factor = hn::Set(d, scale);
  for (int64_t column = first_column; column < last_column; column += lanes) {
    const Float base = hn::LoadU(d, lse + column), minus = hn::LoadU(d, delta + column);
    for (int64_t i = rows.first; i < rows.last; i += 2) {
      Float p[2], ds[2];
#pragma GCC unroll 2
      for (int64_t j = 0; j < 2; ++j) {
        const int64_t at = (i + j) * kBlock + column;
        const Float score = hn::LoadU(d, scores + at);
        p[j] = exp2_lanes(d, hn::MulSub(score, factor, base));
        if constexpr (kSight != Sight::kAll) {
          const int64_t row = i + j;
          if (row >= valid || segments[row] == 0) {
            p[j] = hn::Zero(d);
          } else {
            const auto position = static_cast<int32_t>(first_key + row);
            p[j] = hn::IfThenElseZero(sees<kSight>(d, queries, column, segments[row], position), p[j]);
          }
        }
        ds[j] = hn::Mul(p[j], hn::Sub(hn::LoadU(d, dp + at), minus));
        // tanh' = 1 - tanh^2
        if constexpr (kCapped) ds[j] = hn::Mul(ds[j], hn::NegMulAdd(score, score, hn::Set(d, 1.0f)));
        if constexpr (kPairs) {
          store_lanes(d, p[j], reinterpret_cast<NativeBf16*>(to.p) + at);
          store_lanes(d, ds[j], reinterpret_cast<NativeBf16*>(to.ds) + at);
        } else {
          hn::StoreU(p[j], d, to.p + at);
          hn::StoreU(ds[j], d, to.ds + at);
        }
      }
      if constexpr (kPairs) hn::StoreU(make_pairs(d, ds[0], ds[1]), d, to.ds_pairs + i / 2 * kBlock + column);
    }
  }
}

/** The dot product of two rows, in float32. */
template <class T>
HWY_INLINE float row_dot(const T* a, const T* b, int64_t count) {
  const FloatTag d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  Float sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) sum = hn::MulAdd(load_lanes(d, a + i), load_lanes(d, b + i), sum);
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) total += to_float(a[i]) * to_float(b[i]);
  return total;
}

/** The gradients of one sequence and key head from a share of its query blocks (part, part + parts, ...). */
template <class T, bool kPairs>
class BackwardTask {
 public:
  static constexpr int64_t kPer = kPairs ? 2 : 1;

  BackwardTask(const AttentionJob& job, int64_t batch, int64_t kv_head)
      : job_(job), s_(job.shape), plan_(*job.plan), batch_(batch), kv_head_(kv_head) {
    padded_ = round_up(s_.head_dim, 16);
    tile_ = kBlock * padded_ / kPer;
    depth_ = (s_.head_dim + kPer - 1) / kPer;
  }

  void carve(Carver& memory) {
    const int64_t blocks = plan_.key_blocks();
    keys_ = memory.take<float>(blocks * tile_);
    values_ = memory.take<float>(blocks * tile_);
    keys_turned_ = memory.take<float>(blocks * tile_);
    rows_ = memory.take<float>(tile_);
    q_turned_ = memory.take<float>(tile_);
    q_pairs_ = memory.take<float>(tile_);
    do_turned_ = memory.take<float>(tile_);
    do_pairs_ = memory.take<float>(tile_);
    scores_ = memory.take<float>(kBlock * kBlock);
    dp_ = memory.take<float>(kBlock * kBlock);
    to_.p = memory.take<float>(kBlock * kBlock / kPer);
    to_.ds = memory.take<float>(kBlock * kBlock / kPer);
    to_.ds_pairs = kPairs ? memory.take<float>(kBlock * kBlock / kPer) : to_.ds;
    dq_ = memory.take<float>(padded_ * kBlock);
    dq_rows_ = memory.take<float>(padded_ * kBlock);
    lse_ = memory.take<float>(kBlock);
    delta_ = memory.take<float>(kBlock);
  }

  /** Overwrites dk and dv, [key_blocks * 64, head_dim rounded up to 16] in float32, with the sums over this share. */
  void run(int64_t part, int64_t parts, float* dk, float* dv) {
    const auto bytes = static_cast<size_t>(plan_.key_blocks() * kBlock * padded_) * sizeof(float);
    std::memset(dk, 0, bytes);
    std::memset(dv, 0, bytes);
    pack_keys_and_values();
    const int64_t group = s_.heads / s_.kv_heads, blocks = plan_.query_blocks();
    for (int64_t i = part; i < group * blocks; i += parts)
      query_block(kv_head_ * group + i / blocks, i % blocks, dk, dv);
  }

 private:
  void pack_keys_and_values() {
    const int64_t stride = s_.kv_heads * s_.head_dim;
    for (int64_t block = 0; block < plan_.key_blocks(); ++block) {
      if (plan_.keys(batch_, block).empty()) continue;
      const int64_t offset = (batch_ * s_.keys + block * kBlock) * stride + kv_head_ * s_.head_dim;
      const int64_t valid = std::min(kBlock, s_.keys - block * kBlock);
      const int32_t* segments = plan_.key_segments(batch_, block);
      float* keys = keys_ + block * tile_;
      copy_rows<T, kPairs>(static_cast<const T*>(job_.k) + offset, stride, valid, kBlock, s_.head_dim, padded_,
                           segments, keys);
      copy_rows<T, kPairs>(static_cast<const T*>(job_.v) + offset, stride, valid, kBlock, s_.head_dim, padded_,
                           segments, values_ + block * tile_);
      if constexpr (kPairs) pair_rows(keys, kBlock, padded_, rows_);
      transpose_units(kPairs ? rows_ : keys, padded_, kBlock / kPer, padded_, keys_turned_ + block * tile_,
                      kBlock / kPer);
    }
  }

  /** Rows of q or d_o, transposed for the products over the head dimension and paired for those over queries. */
  void pack_queries(const T* from, int64_t stride, int64_t valid, const int32_t* segments, float* turned,
                    float* pairs) {
    float* rows = kPairs ? rows_ : pairs;
    copy_rows<T, kPairs>(from, stride, valid, kBlock, s_.head_dim, padded_, segments, rows);
    transpose_units(rows, padded_ / kPer, kBlock, padded_ / kPer, turned, kBlock);
    if constexpr (kPairs) pair_rows(rows, kBlock, padded_, pairs);
  }

  void query_block(int64_t head, int64_t block, float* dk, float* dv) {
    const int64_t valid = std::min(kBlock, s_.queries - block * kBlock), columns = round_up(valid, 16);
    const int64_t stride = s_.heads * s_.head_dim;
    const int64_t offset = (batch_ * s_.queries + block * kBlock) * stride + head * s_.head_dim;
    T* dq = static_cast<T*>(job_.dq) + offset;
    const BlockRange& range = plan_.queries(batch_, block);
    if (range.empty()) {
      for (int64_t i = 0; i < valid; ++i) std::memset(dq + i * stride, 0, static_cast<size_t>(s_.head_dim) * sizeof(T));
      return;
    }
    const BlockQueries queries(plan_, batch_, block, valid);
    const T* d_o = static_cast<const T*>(job_.d_o) + offset;
    pack_queries(static_cast<const T*>(job_.q) + offset, stride, valid, queries.segments, q_turned_, q_pairs_);
    pack_queries(d_o, stride, valid, queries.segments, do_turned_, do_pairs_);
    const T* o = static_cast<const T*>(job_.o) + offset;
    const float* lse = job_.lse + (batch_ * s_.heads + head) * s_.queries + block * kBlock;
    for (int64_t i = 0; i < kBlock; ++i) {
      const bool real = i < valid && queries.segments[i] != 0;
      delta_[i] = real ? row_dot(o + i * stride, d_o + i * stride, s_.head_dim) : 0.0f;
      // 2^-infinity: no probability for padding.
      lse_[i] = real ? lse[i] * 1.44269504f : std::numeric_limits<float>::infinity();
    }
    std::memset(dq_, 0, static_cast<size_t>(padded_ * kBlock) * sizeof(float));
    prefetch_rows(dq, stride, valid, s_.head_dim);
    if (block + 1 < plan_.query_blocks()) {
      const int64_t next = kBlock * stride, rows = std::min(kBlock, s_.queries - (block + 1) * kBlock);
      prefetch_rows(static_cast<const T*>(job_.q) + offset + next, stride, rows, s_.head_dim);
      prefetch_rows(d_o + next, stride, rows, s_.head_dim);
      prefetch_rows(o + next, stride, rows, s_.head_dim);
    }

    for (int64_t j = 0; j < plan_.key_blocks(); ++j) {
      const Meeting meeting = plan_.meeting(batch_, block, j);
      if (meeting != Meeting::kNone)
        key_block(j, meeting == Meeting::kAll, columns, queries, dk + j * kBlock * padded_, dv + j * kBlock * padded_);
    }

    transpose_units(dq_, kBlock, padded_, columns, dq_rows_, padded_);
    for (int64_t i = 0; i < valid; ++i)
      write_row(dq_rows_ + i * padded_, job_.rule.scale, s_.head_dim,
                reinterpret_cast<Stored<T, kPairs>*>(dq + i * stride));
  }

  void key_block(int64_t j, bool meet_all, int64_t columns, const BlockQueries& queries, float* dk, float* dv) {
    const float *keys = keys_ + j * tile_, *values = values_ + j * tile_;
    const int64_t valid = std::min(kBlock, s_.keys - j * kBlock), row = padded_ / kPer;
    const int32_t* segments = plan_.key_segments(batch_, j);
    const bool all = meet_all && valid == kBlock;
    Rows seen[kBlock / kStrip], any{kBlock, 0}, used{kBlock, 0};  // any: keys, used: queries
    for (int64_t first = 0; first < columns; first += kStrip) {
      Rows& rows = seen[first / kStrip];
      rows = all ? Rows{0, kBlock} : queries.seen(first / kStrip, segments, valid, j * kBlock);
      if (rows.empty()) continue;
      any = {std::min(any.first, rows.first), std::max(any.last, rows.last)};
      used = {std::min(used.first, first), std::min(columns, first + kStrip)};
    }
    if (any.empty()) return;
    for (int64_t first = used.first; first < used.last; first += kStrip) {
      const int64_t last = std::min(used.last, first + kStrip), width = last - first;
      const Rows rows = seen[first / kStrip];
      const int64_t at = rows.first * kBlock + first;
      tile_product<kPairs>(rows.count(), width, depth_, keys + rows.first * row, row, q_turned_ + first, kBlock,
                           scores_ + at, kBlock, false);
      tile_product<kPairs>(rows.count(), width, depth_, values + rows.first * row, row, do_turned_ + first, kBlock,
                           dp_ + at, kBlock, false);
      if (job_.capped()) bend_tile(scores_ + at, kBlock, rows.count(), width, job_.into_cap());
      with_sight(all, plan_.windowed(), [&](auto sight) {
        const auto gradients = [&](auto capped) {
          gradient_tile<kPairs, sight(), capped()>(scores_, dp_, rows, first, last, job_.exponent(), lse_, delta_,
                                                   queries, segments, valid, j * kBlock, to_);
        };
        if (job_.capped())
          gradients(std::true_type());
        else
          gradients(std::false_type());
      });
      clear({any.first, rows.first}, first, width);
      clear({rows.last, any.last}, first, width);
      tile_product<kPairs>(padded_, width, rows.count() / kPer, keys_turned_ + j * tile_ + rows.first / kPer,
                           kBlock / kPer, to_.ds_pairs + rows.first / kPer * kBlock + first, kBlock, dq_ + first,
                           kBlock, true);
    }
    const int64_t from = (any.first * kBlock + used.first) / kPer, depth = used.count() / kPer;
    const int64_t to = any.first * padded_, query = used.first / kPer * padded_;
    tile_product<kPairs>(any.count(), padded_, depth, to_.p + from, kBlock / kPer, do_pairs_ + query, padded_, dv + to,
                         padded_, true);
    tile_product<kPairs>(any.count(), padded_, depth, to_.ds + from, kBlock / kPer, q_pairs_ + query, padded_, dk + to,
                         padded_, true);
  }

  /** No probability where a strip sees less than its neighbour. */
  void clear(Rows rows, int64_t column, int64_t width) {
    const auto bytes = static_cast<size_t>(width / kPer) * sizeof(float);
    for (int64_t r = rows.first; r < rows.last; ++r) {
      std::memset(to_.p + (r * kBlock + column) / kPer, 0, bytes);
      std::memset(to_.ds + (r * kBlock + column) / kPer, 0, bytes);
    }
  }

  const AttentionJob& job_;
  const AttentionShape& s_;
  const AttentionPlan& plan_;
  int64_t batch_, kv_head_, padded_, tile_, depth_;
  float *keys_, *values_, *keys_turned_;                         // all key blocks
  float *rows_, *q_turned_, *q_pairs_, *do_turned_, *do_pairs_;  // one block of queries
  float *scores_, *dp_, *dq_, *dq_rows_, *lse_, *delta_;
  TileGradients to_;
};

template <class T, bool kPairs>
void run_backward(KernelCall& call, const AttentionJob& job) {
  const auto& s = job.shape;
  const int64_t padded = round_up(s.head_dim, 16);
  const int64_t heads = s.batch * s.kv_heads, key_rows = job.plan->key_blocks() * kBlock;
  // Every part has its own dk and dv, added afterwards in order: no more parts than keep the threads busy.
  const int64_t query_blocks = s.heads / s.kv_heads * job.plan->query_blocks();
  const int64_t wanted = (2 * call.threads() + heads - 1) / std::max<int64_t>(1, heads);
  const int64_t parts = heads >= 2 * call.threads() ? 1 : std::clamp<int64_t>(query_blocks, 1, wanted);
  const int64_t size = key_rows * padded;
  auto* partial = static_cast<float*>(call.shared(static_cast<size_t>(heads * parts * 2 * size) * sizeof(float)));
  call.run(heads * parts, [&](int64_t task, int worker) {
    const int64_t head = task / parts;
    BackwardTask<T, kPairs> work(job, head / s.kv_heads, head % s.kv_heads);
    Carver plan(nullptr);
    work.carve(plan);
    Carver memory(call.local(worker, plan.used()));
    work.carve(memory);
    Tiles tiles;
    tiles.shape(kTileRows);
    work.run(task % parts, parts, partial + task * 2 * size, partial + (task * 2 + 1) * size);
  });
  const int64_t key_blocks = job.plan->key_blocks();
  call.run(heads * key_blocks, [&](int64_t task, int) {
    const FloatTag d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const int64_t head = task / key_blocks, first = task % key_blocks * kBlock;
    float* dk = partial + head * parts * 2 * size + first * padded;
    float* dv = dk + size;
    for (int64_t part = 1; part < parts; ++part) {
      for (int64_t i = 0; i < kBlock * padded; i += lanes) {
        hn::StoreU(hn::Add(hn::LoadU(d, dk + i), hn::LoadU(d, dk + part * 2 * size + i)), d, dk + i);
        hn::StoreU(hn::Add(hn::LoadU(d, dv + i), hn::LoadU(d, dv + part * 2 * size + i)), d, dv + i);
      }
    }
    const int64_t stride = s.kv_heads * s.head_dim, batch = head / s.kv_heads;
    for (int64_t i = 0; i < std::min(kBlock, s.keys - first); ++i) {
      const int64_t at = (batch * s.keys + first + i) * stride + head % s.kv_heads * s.head_dim;
      write_row(dk + i * padded, job.rule.scale, s.head_dim, static_cast<Stored<T, kPairs>*>(job.dk) + at);
      write_row(dv + i * padded, 1.0f, s.head_dim, static_cast<Stored<T, kPairs>*>(job.dv) + at);
    }
  });
}

}  // namespace gavel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif

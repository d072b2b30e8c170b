#include <algorithm>

#include "graph/custom_gradient.h"
#include "graph/ops.h"
#include "graph/scan.h"
#include "nn/attention.h"
#include "nn/attention_rule.h"

namespace gavel {

namespace {

/** Sizes of q [B, S, H, D] with k, v [B, S, Hkv, D], in blocks of `block` places. */
struct Sizes {
  int64_t b, s, h, kv, d, block, blocks;
  int64_t group() const { return h / kv; }
};

/** x [B, S, G * C, D], G = kv heads, cut in blocks: [blocks, B, G, C * block, D], the heads that share keys
 * side by side. */
Value to_blocks(const Value& x, const Sizes& z) {
  int64_t c = x.dim(2) / z.kv, d = x.dim(3);
  Value split = reshape(x, {z.b, z.blocks, z.block, z.kv, c, d});
  return reshape(transpose(split, {1, 0, 3, 4, 2, 5}), {z.blocks, z.b, z.kv, c * z.block, d});
}

Value from_blocks(const Value& x, const Sizes& z) {
  int64_t c = x.dim(3) / z.block, d = x.dim(4);
  Value split = reshape(x, {z.blocks, z.b, z.kv, c, z.block, d});
  return reshape(transpose(split, {1, 0, 4, 2, 3, 5}), {z.b, z.s, z.kv * c, d});
}

/** Row i of a stack [n, …]. */
Value row(const Value& stacked, int64_t i) {
  Shape shape(stacked.shape().begin() + 1, stacked.shape().end());
  return reshape(slice_dim(stacked, 0, i, i + 1), shape);
}

/** [B, Hkv, G * block, block] scores of query block `i` with key block `j` (a scalar), masked; the mask; and
 * RuledScores::slope. */
struct Scores {
  Value scores, mask, slope;
};
Scores block_scores(const Value& q, const Value& k, const Value& own, const Value& others, int64_t i, const Value& j,
                    const AttentionRule& rule, const Sizes& z) {
  Graph& graph = q.graph();
  auto [scores, slope] = ruled_scores(dot(q, k, {{0, 1}, {0, 1}, {3}, {3}}, wide_type(q.dtype())), rule);
  Shape shape = {z.b, z.block, z.block};
  Value query = add(iota(graph, DType::kI32, shape, 1), static_cast<double>(i * z.block));
  Value key = add(iota(graph, DType::kI32, shape, 2), broadcast_scalar(mul(j, static_cast<double>(z.block)), shape));
  Value seen = bit_and(compare(Compare::kLe, key, query),
                       segments_meet(broadcast(own, shape, {0, 1}), broadcast(others, shape, {0, 2}), rule));
  seen = within_window(seen, key, query, rule);
  Value mask = reshape(broadcast(seen, {z.b, z.kv, z.group(), z.block, z.block}, {0, 3, 4}), scores.shape());
  return {select(mask, scores, full_like(scores, kMasked)), mask, slope};
}

/** Repeats [.., n] along a new last dimension. */
Value spread(const Value& x, int64_t last) {
  Shape shape = x.shape();
  std::vector<int64_t> dimensions;
  for (int64_t d = 0; d < x.rank(); ++d) dimensions.push_back(d);
  shape.push_back(last);
  return broadcast(x, shape, dimensions);
}

Value zeros(Graph& graph, DType dtype, const Shape& shape) {
  return full(graph, dtype, shape, 0);
}

/** o [B, S, H, D] and the log of each query's sum of exponentials, [blocks, B, Hkv, G * block]. */
std::vector<Value> forward(const std::vector<Value>& in, const AttentionRule& rule, const Sizes& z) {
  Value q = to_blocks(in[0], z), k = to_blocks(in[1], z), v = to_blocks(in[2], z);
  Value segments = transpose(reshape(in[3], {z.b, z.blocks, z.block}), {1, 0, 2});
  Graph& graph = q.graph();
  const DType wide = wide_type(q.dtype());
  const Shape rows = {z.b, z.kv, z.group() * z.block};
  std::vector<Value> outputs, sums;
  for (int64_t i = 0; i < z.blocks; ++i) {
    auto seen = [&](const Value& stacked) { return slice_dim(stacked, 0, 0, i + 1); };
    std::vector<Value> start = {zeros(graph, wide, {z.b, z.kv, rows[2], z.d}), full(graph, wide, rows, kMasked),
                                zeros(graph, wide, rows)};
    auto body = [&](const ScanInput& step) {
      const Value &sum = step.carries[0], &top = step.carries[1], &total = step.carries[2];
      auto [scores, mask, slope] =
          block_scores(step.constants[0], step.slices[0], step.constants[1], step.slices[2], i, step.index, rule, z);
      Value highest = maximum(top, reduce_max(scores, {3}));
      // Masked places count nothing even where a whole row is masked and the highest is the mask itself.
      Value weights = select(mask, exp(sub(scores, spread(highest, z.block))), full_like(scores, 0));
      Value keep = exp(sub(top, highest));
      Value added = dot(convert(weights, step.slices[1].dtype()), step.slices[1], {{0, 1}, {0, 1}, {3}, {2}}, wide);
      return ScanOutput{
          {add(mul(sum, spread(keep, z.d)), added), highest, add(mul(total, keep), reduce_sum(weights, {3}))}, {}};
    };
    auto found =
        scan(graph, i + 1, start, {seen(k), seen(v), seen(segments)}, {row(q, i), row(segments, i)}, body).carries;
    // Each query sees itself, so the total is above zero.
    outputs.push_back(convert(div(found[0], spread(found[2], z.d)), q.dtype()));
    sums.push_back(add(found[1], log(found[2])));
  }
  return {from_blocks(stack(outputs), z), stack(sums)};
}

/** Gradients of q, k and v; scores are computed again block by block (Dao et al., "FlashAttention", 2022). */
std::vector<Value> backward(const GradientContext& context, const AttentionRule& rule, const Sizes& z) {
  const auto& in = context.inputs;
  Value q = to_blocks(in[0], z), k = to_blocks(in[1], z), v = to_blocks(in[2], z);
  Value segments = transpose(reshape(in[3], {z.b, z.blocks, z.block}), {1, 0, 2});
  Graph& graph = q.graph();
  const DType wide = wide_type(q.dtype());
  const Value& dy = context.output_gradients[0];
  Value doutput = to_blocks(dy, z), sums = context.outputs[1];
  // Sum of do * o over the features, per query.
  Value products = mul(convert(dy, wide), convert(context.outputs[0], wide));
  Value delta = reduce_sum(to_blocks(products, z), {4});
  std::vector<Value> dq;
  Value dk, dv;
  for (int64_t i = 0; i < z.blocks; ++i) {
    auto seen = [&](const Value& stacked) { return slice_dim(stacked, 0, 0, i + 1); };
    auto body = [&](const ScanInput& step) {
      const Value &key = step.slices[0], &value = step.slices[1];
      const Value &query = step.constants[0], &dout = step.constants[1];
      auto [scores, mask, slope] = block_scores(query, key, step.constants[4], step.slices[2], i, step.index, rule, z);
      Value weights = select(mask, exp(sub(scores, spread(step.constants[2], z.block))), full_like(scores, 0));
      Value dweights = dot(dout, value, {{0, 1}, {0, 1}, {3}, {3}}, wide);
      Value dscores = mul(mul(weights, sub(dweights, spread(step.constants[3], z.block))), rule.scale);
      if (slope) dscores = mul(dscores, slope);
      Value narrow = convert(dscores, query.dtype());
      Value dquery = dot(narrow, key, {{0, 1}, {0, 1}, {3}, {2}}, wide);
      Value dkey = dot(narrow, query, {{0, 1}, {0, 1}, {2}, {2}}, wide);
      Value dvalue = dot(convert(weights, dout.dtype()), dout, {{0, 1}, {0, 1}, {2}, {2}}, wide);
      return ScanOutput{{add(step.carries[0], dquery)}, {dkey, dvalue}};
    };
    Value start = zeros(graph, wide, {z.b, z.kv, z.group() * z.block, z.d});
    ScanResult found = scan(graph, i + 1, {start}, {seen(k), seen(v), seen(segments)},
                            {row(q, i), row(doutput, i), row(sums, i), row(delta, i), row(segments, i)}, body);
    dq.push_back(convert(found.carries[0], q.dtype()));
    // Later blocks get nothing from this one.
    auto whole = [&](const Value& part) {
      std::vector<int64_t> low(5, 0), high = {z.blocks - i - 1, 0, 0, 0, 0};
      return pad(part, low, high);
    };
    Value more_k = whole(found.stacked[0]), more_v = whole(found.stacked[1]);
    dk = dk ? add(dk, more_k) : more_k;
    dv = dv ? add(dv, more_v) : more_v;
  }
  return {from_blocks(stack(dq), z), from_blocks(convert(dk, k.dtype()), z), from_blocks(convert(dv, v.dtype()), z),
          Value()};
}

}  // namespace

Value blockwise_attention(const AttentionCall& call, int64_t block) {
  const Value &q = call.q, &k = call.k, &v = call.v, &segment_ids = call.segment_ids;
  const AttentionRule& rule = call.rule;
  if (q.rank() != 4 || k.rank() != 4 || k.type() != v.type() || q.dim(0) != k.dim(0) || q.dim(1) != k.dim(1) ||
      q.dim(3) != k.dim(3) || q.dim(2) % k.dim(2) != 0 || segment_ids.shape() != Shape{q.dim(0), q.dim(1)})
    fail("blockwise_attention: q is {}, k {}, v {}, segment_ids {}", to_string(q.type()), to_string(k.type()),
         to_string(v.type()), to_string(segment_ids.type()));
  // Whole blocks only: padding is a segment of its own, which nothing else sees.
  int64_t s = q.dim(1), padded = (s + block - 1) / block * block;
  auto longer = [&](const Value& x) {
    std::vector<int64_t> low(static_cast<size_t>(x.rank()), 0), high = low;
    high[1] = padded - s;
    return pad(x, low, high);
  };
  Sizes z{q.dim(0), padded, q.dim(2), k.dim(2), q.dim(3), block, padded / block};
  auto found = with_gradient(
      "blockwise_attention", {longer(q), longer(k), longer(v), longer(segment_ids)},
      [&](const std::vector<Value>& in) { return forward(in, rule, z); },
      [rule, z](const GradientContext& context) { return backward(context, rule, z); });
  return slice_dim(found[0], 1, 0, s);
}

}  // namespace gavel

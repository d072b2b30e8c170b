#include "nn/attention.h"

#include "graph/ops.h"
#include "nn/attention_rule.h"

namespace gavel {

namespace {

/** [B, S, H, D] → [B, Hkv, H/Hkv * S, D]: the heads that share keys side by side. */
Value group_queries(const Value& q, int64_t kv_heads) {
  int64_t b = q.dim(0), s = q.dim(1), h = q.dim(2), d = q.dim(3);
  Value split = reshape(q, {b, s, kv_heads, h / kv_heads, d});
  return reshape(transpose(split, {0, 2, 3, 1, 4}), {b, kv_heads, h / kv_heads * s, d});
}

Value ungroup(const Value& o, int64_t s, int64_t heads) {
  int64_t b = o.dim(0), kv_heads = o.dim(1), d = o.dim(3);
  Value split = reshape(o, {b, kv_heads, heads / kv_heads, s, d});
  return reshape(transpose(split, {0, 3, 1, 2, 4}), {b, s, heads, d});
}

}  // namespace

Value causal_attention(const AttentionCall& call, int64_t block) {
  const Value &q = call.q, &k = call.k, &v = call.v, &segment_ids = call.segment_ids;
  const AttentionRule& rule = call.rule;
  if (q.rank() != 4 || k.rank() != 4 || k.type() != v.type() || q.dim(0) != k.dim(0) || q.dim(1) != k.dim(1) ||
      q.dim(3) != k.dim(3) || q.dim(2) % k.dim(2) != 0 || segment_ids.shape() != Shape{q.dim(0), q.dim(1)})
    fail("attention: q is {}, k {}, v {}, segment_ids {}", to_string(q.type()), to_string(k.type()),
         to_string(v.type()), to_string(segment_ids.type()));
  Graph& graph = q.graph();
  int64_t b = q.dim(0), s = q.dim(1), h = q.dim(2), kv = k.dim(2), group = h / kv;
  std::vector<Value> parts;
  for (int64_t start = 0; start < s; start += block) {
    int64_t end = std::min(start + block, s), rows = end - start;
    Value qb = group_queries(slice_dim(q, 1, start, end), kv);
    Value kb = slice_dim(k, 1, 0, end), vb = slice_dim(v, 1, 0, end);
    Value scores = ruled_scores(dot(qb, kb, {{0, 1}, {0, 2}, {3}, {3}}, wide_type(q.dtype())), rule).scores;
    Shape mask_shape = {b, rows, end};
    Value place = add(iota(graph, DType::kI32, mask_shape, 1), static_cast<double>(start));
    Value key = iota(graph, DType::kI32, mask_shape, 2);
    Value causal = within_window(compare(Compare::kLe, key, place), key, place, rule);
    Value same = segments_meet(broadcast(slice_dim(segment_ids, 1, start, end), mask_shape, {0, 1}),
                               broadcast(slice_dim(segment_ids, 1, 0, end), mask_shape, {0, 2}), rule);
    Value mask = broadcast(bit_and(causal, same), {b, kv, group, rows, end}, {0, 3, 4});
    mask = reshape(mask, scores.shape());
    Value probabilities = softmax(select(mask, scores, full_like(scores, kMasked)));
    Value out = dot(convert(probabilities, v.dtype()), vb, {{0, 1}, {0, 2}, {3}, {1}});
    parts.push_back(ungroup(out, rows, h));
  }
  return concatenate(parts, 1);
}

TokenPlaces places_of(const Value& index, int64_t length) {
  Value whole = full_like(index, static_cast<double>(length));
  Value sequence = div(index, whole);
  return {index, sequence, sub(index, mul(sequence, whole))};
}

Value gathered_attention(const PooledAttentionCall& call) {
  const Value &q = call.q, &k = call.k, &v = call.v, &segment_ids = call.segment_ids;
  const Value &rows = call.at.sequence, &places = call.at.place;
  const AttentionRule& rule = call.rule;
  Graph& graph = q.graph();
  int64_t r = q.dim(0), h = q.dim(1), d = q.dim(2), s = k.dim(1), kv = k.dim(2), group = h / kv;
  Value qg = reshape(q, {r, kv, group, d});
  Value kr = take(k, rows), vr = take(v, rows);  // [R, S, Hkv, D]
  Value scores =
      ruled_scores(dot(qg, kr, {{0, 1}, {0, 2}, {3}, {3}}, wide_type(q.dtype())), rule).scores;  // [R, Hkv, G, S]
  Value segments = take(segment_ids, rows);                                                      // [R, S]
  Value own =
      reduce_sum(select(compare(Compare::kEq, iota(graph, DType::kI32, {r, s}, 1), broadcast(places, {r, s}, {0})),
                        segments, full_like(segments, 0)),
                 {1});
  Value seen = bit_and(compare(Compare::kLe, iota(graph, DType::kI32, {r, s}, 1), broadcast(places, {r, s}, {0})),
                       segments_meet(segments, broadcast(own, {r, s}, {0}), rule));
  if (rule.sliding_window)
    seen = within_window(seen, iota(graph, DType::kI32, {r, s}, 1), broadcast(places, {r, s}, {0}), rule);
  Value mask = broadcast(seen, scores.shape(), {0, 3});
  Value probabilities = softmax(select(mask, scores, full_like(scores, kMasked)));
  Value out = dot(convert(probabilities, v.dtype()), vr, {{0, 1}, {0, 2}, {3}, {1}});  // [R, Hkv, G, D]
  return reshape(out, {r, h, d});
}

Rotary rotary_angles(const Value& positions, const std::vector<double>& inverse_frequencies, double scale) {
  Graph& graph = positions.graph();
  Value frequencies = constant(graph, DType::kF32, inverse_frequencies);
  Shape shape = positions.shape();
  std::vector<int64_t> leading;
  for (int64_t d = 0; d < positions.rank(); ++d) leading.push_back(d);
  shape.push_back(static_cast<int64_t>(inverse_frequencies.size()));
  Value angles = mul(broadcast(convert(positions, DType::kF32), shape, leading), broadcast_last(frequencies, shape));
  if (scale == 1) return {cos(angles), sin(angles)};
  return {mul(cos(angles), scale), mul(sin(angles), scale)};
}

Value apply_rotary(const RotaryCall& call) {
  const Value& x = call.x;
  const Rotary& rotary = call.rotary;
  // cos and sin are [leading…, D/2]; x has the heads before its last dimension.
  Value wide = convert(x, rotary.cos.dtype());
  int64_t half = x.dim(-1) / 2;
  Value first = slice_dim(wide, -1, 0, half), second = slice_dim(wide, -1, half, 2 * half);
  std::vector<int64_t> dimensions;
  for (int64_t d = 0; d + 2 < x.rank(); ++d) dimensions.push_back(d);
  dimensions.push_back(x.rank() - 1);
  Value c = broadcast(rotary.cos, first.shape(), dimensions), s = broadcast(rotary.sin, first.shape(), dimensions);
  Value rotated = concatenate({sub(mul(first, c), mul(second, s)), add(mul(second, c), mul(first, s))}, -1);
  return convert(rotated, x.dtype());
}

}  // namespace gavel

#pragma once
#include <atomic>
#include <cstdint>
#include <vector>

#include "graph/ops.h"
#include "graph/printer.h"
#include "nn/cudnn_attention.h"

namespace gavel {

// The kernels of CUDA's devices for those that have no cuDNN: all is as it is there (which calls are accepted, masks, gradient,
// cut over a mesh), but each call is written out as what cuDNN computes. In any type of floats.

/** The calls that were written so far, in all programs. */
inline std::atomic<int>& plain_attention_calls() {
  static std::atomic<int> count = 0;
  return count;
}

/** k or v [B, S, Hkv, D] with each head as often as queries share it, [B, S, H, D]. */
inline Value repeat_heads(const Value& x, int64_t heads) {
  const int64_t b = x.dim(0), s = x.dim(1), kv = x.dim(2), d = x.dim(3);
  return reshape(broadcast(x, {b, s, kv, heads / kv, d}, {0, 1, 2, 4}), {b, s, heads, d});
}

/** The product in the wide type: not every plugin multiplies narrow numbers in all forms. */
inline Value wide_dot(const Value& a, const Value& b, const DotDimensions& dimensions) {
  const DType wide = wide_type(a.dtype());
  return dot(convert(a, wide), convert(b, wide), dimensions);
}

/** The scores [B, H, S, S]; `mask` may be none. */
inline Value plain_scores(const Value& q, const Value& k, const Value& mask, double scale) {
  Value scores = mul(wide_dot(q, k, {{0, 2}, {0, 2}, {3}, {3}}), scale);
  const Shape& shape = scores.shape();
  if (mask) {
    Value flat = convert(reshape(mask, {shape[0], shape[2], shape[3]}), scores.dtype());
    scores = add(scores, broadcast(flat, shape, {0, 2, 3}));
  }
  Value key = iota(q.graph(), DType::kI32, shape, 3), query = iota(q.graph(), DType::kI32, shape, 2);
  return select(compare(Compare::kLe, key, query), scores, full_like(scores, -1e30));
}

inline Value along_keys(const Value& of_rows, const Shape& scores) {
  return broadcast(of_rows, scores, {0, 1, 2});
}

inline double scale_of(const PrintedCall& call) {
  for (const auto& [name, value] : call.attributes)
    if (name == "scale") return std::get<double>(value);
  fail("the call has no scale");
}

/** Writes a graph of the call's operands; `build` gives the results. */
template <class Build>
std::vector<std::string> write_graph(Printer& printer, const PrintedCall& call, Build build) {
  ++plain_attention_calls();
  Graph graph;
  std::vector<Value> in;
  for (const TensorType& type : call.operands) in.push_back(graph.parameter(type.dtype, type.shape, "in"));
  const std::vector<Value> out = build(in);
  for (size_t i = 0; i < out.size(); ++i)
    if (out[i].type() != call.results[i])
      fail("result {} is {}, expected {}", i, to_string(out[i].type()), to_string(call.results[i]));
  return printer.print_nodes(graph, out, call.names);
}

inline std::vector<std::string> write_plain_forward(Printer& printer, const PrintedCall& call) {
  return write_graph(printer, call, [&](const std::vector<Value>& in) {
    const Value& q = in[0];
    Value scores = plain_scores(q, repeat_heads(in[1], q.dim(2)), in.size() > 3 ? in[3] : Value(), scale_of(call));
    Value top = reduce_max(scores, {3});
    Value sums = add(top, log(reduce_sum(exp(sub(scores, along_keys(top, scores.shape()))), {3})));
    Value weights = convert(exp(sub(scores, along_keys(sums, scores.shape()))), q.dtype());
    Value o = wide_dot(weights, repeat_heads(in[2], q.dim(2)), {{0, 1}, {0, 2}, {3}, {1}});
    return std::vector<Value>{convert(transpose(o, {0, 2, 1, 3}), q.dtype()), sums};
  });
}

inline std::vector<std::string> write_plain_backward(Printer& printer, const PrintedCall& call) {
  return write_graph(printer, call, [&](const std::vector<Value>& in) {
    const Value &q = in[0], &sums = in[3], &dout = in[4], &o = in[5];
    const int64_t b = q.dim(0), s = q.dim(1), h = q.dim(2), d = q.dim(3), kv = in[1].dim(2);
    const DType wide = wide_type(q.dtype());
    const Value k = repeat_heads(in[1], h), v = repeat_heads(in[2], h);
    Value scores = plain_scores(q, k, in.size() > 6 ? in[6] : Value(), scale_of(call));
    Value weights = exp(sub(scores, along_keys(sums, scores.shape())));
    Value dweights = wide_dot(dout, v, {{0, 2}, {0, 2}, {3}, {3}});
    Value delta = transpose(reduce_sum(mul(convert(dout, wide), convert(o, wide)), {3}), {0, 2, 1});
    Value dscores = mul(mul(weights, sub(dweights, along_keys(delta, scores.shape()))), scale_of(call));
    dscores = convert(dscores, q.dtype());
    Value dq = wide_dot(dscores, k, {{0, 1}, {0, 2}, {3}, {1}});
    Value dk = wide_dot(dscores, q, {{0, 1}, {0, 2}, {2}, {1}});
    Value dv = wide_dot(convert(weights, dout.dtype()), dout, {{0, 1}, {0, 2}, {2}, {1}});
    auto of_key_heads = [&](const Value& x) {
      return transpose(reduce_sum(reshape(x, {b, kv, h / kv, s, d}), {2}), {0, 2, 1, 3});
    };
    return std::vector<Value>{convert(transpose(dq, {0, 2, 1, 3}), q.dtype()), convert(of_key_heads(dk), q.dtype()),
                              convert(of_key_heads(dv), q.dtype())};
  });
}

inline const KernelSet& plain_attention_kernels() {
  static const KernelSet set =
      attention_kernels("cudnn", {write_plain_forward, write_plain_backward, {DType::kF32, DType::kBF16, DType::kF16}});
  return set;
}

}  // namespace gavel

#include "base/error.h"
#include "ffi/call.h"
#include "kernels/attention.h"

namespace gavel {
namespace {

AttentionShape shape_of(const FfiCall& call) {
  const Shape &q = call.operand(0).shape, &k = call.operand(1).shape;
  if (q.size() != 4 || k.size() != 4 || q[0] != k[0] || q[3] != k[3])
    fail("expected q [B, Q, H, D] and k [B, S, G, D], found {} and {}", to_string(q), to_string(k));
  return {.batch = q[0], .queries = q[1], .keys = k[1], .heads = q[2], .kv_heads = k[2], .head_dim = q[3]};
}

ScoreRule rule_of(const FfiCall& call) {
  return {call.number("scale"), call.number("softcap", 0)};
}

/** Segments at `index`, then perhaps those of the queries and their positions. */
AttentionMask mask_of(const FfiCall& call, size_t index, const AttentionShape& s) {
  AttentionMask mask{.window = call.integer("window", 0), .prefixes = call.integer("prefixes", 0) != 0};
  mask.key_segments = call.operand(index, {s.batch, s.keys}, DType::kI32).as<const int32_t>();
  if (call.operand_count() == index + 1) return mask;
  if (call.operand_count() != index + 3) fail("expected query segments and query positions, both or neither");
  mask.query_segments = call.operand(index + 1, {s.batch, s.queries}, DType::kI32).as<const int32_t>();
  mask.query_positions = call.operand(index + 2, {s.batch, s.queries}, DType::kI32).as<const int32_t>();
  return mask;
}

void attention(const FfiCall& call) {
  call.expect(4, 6, 2);
  const AttentionShape s = shape_of(call);
  const FfiArray &q = call.operand(0), &k = call.operand(1, call.operand(1).shape, q.dtype);
  const FfiArray& v = call.operand(2, k.shape, q.dtype);
  attention_forward(s, q.dtype, rule_of(call), q.data, k.data, v.data, mask_of(call, 3, s),
                    call.result(0, q.shape, q.dtype).data,
                    call.result(1, {s.batch, s.heads, s.queries}, DType::kF32).as<float>());
}

void attention_grad(const FfiCall& call) {
  call.expect(7, 9, 3);
  const AttentionShape s = shape_of(call);
  const FfiArray &q = call.operand(0), &k = call.operand(1, call.operand(1).shape, q.dtype);
  const FfiArray& v = call.operand(2, k.shape, q.dtype);
  const FfiArray& o = call.operand(3, q.shape, q.dtype);
  const FfiArray& lse = call.operand(4, {s.batch, s.heads, s.queries}, DType::kF32);
  const FfiArray& d_o = call.operand(5, q.shape, q.dtype);
  attention_backward(s, q.dtype, rule_of(call), q.data, k.data, v.data, mask_of(call, 6, s), o.data,
                     lse.as<const float>(), d_o.data,
                     {call.result(0, q.shape, q.dtype).data, call.result(1, k.shape, q.dtype).data,
                      call.result(2, k.shape, q.dtype).data});
}

}  // namespace

const FfiKernel attention_kernels[kAttentionKernels] = {
    {"gavel_attention", attention},
    {"gavel_attention_grad", attention_grad},
};

}  // namespace gavel

#include "nn/layers.h"

#include "graph/ops.h"
#include "nn/attention.h"

namespace gavel {

Value Layers::linear(const LinearCall& call) const {
  if (Value found = try_kernel(call)) return found;
  const Value& x = call.x;
  Value y = matmul_nt(x, convert(placement_.layer_weight(call.weight, call.spec.weight), x.dtype()));
  if (call.bias) y = add(y, broadcast_last(convert(call.bias, y.dtype()), y.shape()));
  return y;
}

Value Layers::linear(const AdaptedLinearCall& call) const {
  if (Value found = try_kernel(call)) return found;
  // The base's part is plain StableHLO too: what no kernel takes whole is not taken in pieces.
  Value y = Layers({}, placement_).linear(call.linear);
  Value branch = matmul_nt(call.dropout(convert(call.linear.x, DType::kF32)), call.lora_a);
  branch = matmul_nt(branch, call.lora_b);
  return add(y, convert(mul(branch, call.scaling), y.dtype()));
}

namespace {

/** The length of each row of weight + scaling * B A, float32 [out]. */
Value row_lengths(const AdaptedLinearCall& call) {
  Value whole = add(convert(call.linear.weight, DType::kF32),
                    mul(dot(call.lora_b, call.lora_a, {.lhs_contract = {1}, .rhs_contract = {0}}), call.scaling));
  return sqrt(reduce_sum(mul(whole, whole), {1}));
}

}  // namespace

Value Layers::linear(const DecomposedLinearCall& call) const {
  AdaptedLinearCall bare = call.adapted;
  const Value bias = bare.linear.bias;
  bare.linear.bias = Value();
  const Value factor = div(call.magnitude, stop_gradient(row_lengths(bare)));
  auto scaled = [&](const Value& y) {
    Value wide = convert(y, DType::kF32);
    return mul(wide, broadcast_last(factor, wide.shape()));
  };
  const DType type = bare.linear.x.dtype();
  Value y;
  if (bare.dropout.token_hash && bare.dropout.p > 0) {
    Value whole = linear(bare.linear);
    bare.linear.x = convert(bare.dropout(convert(bare.linear.x, DType::kF32)), type);
    bare.dropout = Dropout();
    y = add(convert(whole, DType::kF32), sub(scaled(linear(bare)), convert(linear(bare.linear), DType::kF32)));
  } else {
    y = scaled(linear(bare));
  }
  y = convert(y, type);
  return bias ? add(y, broadcast_last(convert(bias, type), y.shape())) : y;
}

Value Layers::norm(const NormCall& call) const {
  if (Value found = try_kernel(call)) return found;
  return norm_composition(call);
}

Value norm_composition(const NormCall& call) {
  Value weight = call.weight;
  if (call.rule.offset != 0) weight = add(convert(weight, wide_type(call.x.dtype())), call.rule.offset);
  return rms_norm(call.x, weight, call.rule.eps);
}

Value Layers::rotary(const RotaryCall& call) const {
  if (Value found = try_kernel(call)) return found;
  return apply_rotary(call);
}

Value Layers::attention(const AttentionCall& call) const {
  if (Value found = try_kernel(call)) return found;
  return call.q.dim(1) > kLongestWholeScores ? blockwise_attention(call) : causal_attention(call);
}

Value Layers::attention(const PooledAttentionCall& call) const {
  if (Value found = try_kernel(call)) return found;
  return gathered_attention(call);
}

Value Layers::gated(const GatedCall& call) const {
  if (Value found = try_kernel(call)) return found;
  auto gated = [&](const Value& gate, const Value& up) {
    return mul(call.activation == Activation::kSilu ? silu(gate) : gelu_tanh(gate), up);
  };
  // Cubes and their gradients leave float16's range where what comes of them does not.
  if (const DType type = call.gate.dtype(); type == DType::kF16)
    return convert(gated(convert(call.gate, DType::kF32), convert(call.up, DType::kF32)), type);
  return gated(call.gate, call.up);
}

}  // namespace gavel

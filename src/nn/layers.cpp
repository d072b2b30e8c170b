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
  return mul(call.activation == Activation::kSilu ? silu(call.gate) : gelu_tanh(call.gate), call.up);
}

}  // namespace gavel

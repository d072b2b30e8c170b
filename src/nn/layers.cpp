#include "nn/layers.h"

#include "graph/custom_gradient.h"
#include "graph/keep.h"
#include "graph/ops.h"
#include "nn/attention.h"
#include "nn/quantised.h"

namespace gavel {

Value Layers::linear(const LinearCall& call) const {
  if (Value found = try_kernel(call)) return found;
  const Value& x = call.x;
  auto whole = [&](const Value& held) {
    TensorSpec spec = call.spec.weight;
    if (call.scales) spec.shape = held.shape();  // codes and scales are split like the weight, where that divides them
    if (held.rank() == 3) spec.dimensions.push_back(Dimension::kOfBlock);
    return placement_.layer_weight(held, spec);
  };
  Value y = matmul_nt(x, weight_numbers(whole(call.weight), call.scales ? whole(call.scales) : Value(), x.dtype()));
  if (call.bias) y = add(y, broadcast_last(convert(call.bias, y.dtype()), y.shape()));
  return y;
}

namespace {

/** scaling * (x A^T) B^T, with A and B rounded to the type of x [T, in] and sums in float32. The scaling is a factor of the
 * narrow product, which is rounded once, with it. Gradients of A and B are sums in float32 too, and never rounded. */
Value narrow_branch(const Value& x, const Value& lora_a, const Value& lora_b, double scaling, bool keeps) {
  auto forward = [scaling](const std::vector<Value>& in) {
    const DType type = in[0].dtype();
    Value narrow = dot(in[0], convert(in[1], type), {.lhs_contract = {1}, .rhs_contract = {1}}, DType::kF32);
    narrow = convert(mul(narrow, scaling), type);
    return std::vector{matmul_nt(narrow, convert(in[2], type)), narrow};
  };
  auto gradient = [scaling](const GradientContext& context) {
    const Value &x = context.inputs[0], &a = context.inputs[1], &b = context.inputs[2], &narrow = context.outputs[1];
    const Value& dy = context.output_gradients[0];
    Value dnarrow = dot(dy, convert(b, x.dtype()), {.lhs_contract = {1}, .rhs_contract = {0}}, DType::kF32);
    dnarrow = convert(mul(dnarrow, scaling), x.dtype());
    const DotDimensions over_tokens{.lhs_contract = {0}, .rhs_contract = {0}};
    std::vector<Value> found(3);
    if (context.needed[0]) found[0] = dot(dnarrow, convert(a, x.dtype()), {.lhs_contract = {1}, .rhs_contract = {0}});
    if (context.needed[1]) found[1] = dot(dnarrow, x, over_tokens, DType::kF32);
    if (context.needed[2]) found[2] = dot(dy, narrow, over_tokens, DType::kF32);
    return found;
  };
  Value branch = with_gradient("adapter", {x, lora_a, lora_b}, forward, gradient)[0];
  return keeps ? keep(branch) : branch;
}

}  // namespace

Value Layers::linear(const AdaptedLinearCall& call) const {
  auto kept = [&](const Value& value) { return call.keeps_products ? keep(value) : value; };
  if (Value found = try_kernel(call)) return kept(found);
  // The base's part is plain StableHLO too: what no kernel takes whole is not taken in pieces.
  Value y = Layers({}, placement_).linear(call.linear);
  const Value wide = convert(call.linear.x, DType::kF32), dropped = call.dropout(wide);
  if (y.dtype() != wide_type(y.dtype())) {
    const Value x = dropped == wide ? call.linear.x : convert(dropped, y.dtype());
    return kept(add(y, narrow_branch(x, call.lora_a, call.lora_b, call.scaling, call.keeps_products)));
  }
  Value branch = matmul_nt(kept(matmul_nt(dropped, call.lora_a)), call.lora_b);
  return kept(add(y, convert(mul(branch, call.scaling), y.dtype())));
}

namespace {

/** The length of each row of weight + scaling * B A, float32 [out]. */
Value row_lengths(const AdaptedLinearCall& call) {
  Value whole = add(weight_numbers(call.linear.weight, call.linear.scales, DType::kF32),
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

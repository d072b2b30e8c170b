// The counterparts of the kernels in cpu_kernels.cpp that read weights, for quantised ones: codes stand in the weight's place,
// and scales behind the last of a call's weights.
#include "nn/cpu_quantised_kernels.h"

#include "nn/cpu_kernel_parts.h"

namespace gavel {

using namespace cpu_kernel_parts;

namespace {

/** Of a product of rows with a weight [out, in], of which codes have only the rows for certain. */
double product_flops(double rows, double in, double out) {
  return 2 * rows * in * out;
}

// --- Linear: x [T, in], codes, scales -------------------------------------------------------------------------------

double quantised_linear_flops(const KernelAttributes&, const Types& in) {
  enum { kX, kCodes };
  return product_flops(size(in[kX], 0), size(in[kX], 1), size(in[kCodes], 0));
}

/** Of inputs of a weight whose type is that of its codes. */
double inputs_of(const TensorType& codes) {
  return size(codes, 1) * (codes.dtype == DType::kU8 ? 2 : 1);
}

double quantised_linear_dx_flops(const KernelAttributes&, const Types& in) {
  enum { kDy, kCodes };
  return product_flops(size(in[kDy], 0), inputs_of(in[kCodes]), size(in[kCodes], 0));
}

std::vector<Value> quantised_linear_gradient(const KernelAttributes& attributes, const GradientContext& context) {
  enum { kX, kCodes, kScales };
  std::vector<Value> result(context.inputs.size());
  if (!context.needed[kX]) return result;
  const auto& in = context.inputs;
  result[kX] = kernel("gavel_quantised_linear_dx")
                   .call(attributes, {context.output_gradients[0], in[kCodes], in[kScales]}, {in[kX].type()})[0];
  return result;
}

TensorType quantised_output_of(const LinearCall& call) {
  return {call.x.dtype(), {call.x.dim(0), call.weight.dim(0)}};
}

Value quantised_linear(const LinearCall& call) {
  std::vector<Value> operands = {call.x, call.weight, call.scales};
  if (call.bias) operands.push_back(call.bias);
  return kernel("gavel_quantised_linear")
      .call({{"compute", compute_of(call.x)}}, operands, {quantised_output_of(call)})[0];
}

// --- Linear with an adapter -----------------------------------------------------------------------------------------

double quantised_adapted_flops(const KernelAttributes& attributes, const Types& in) {
  enum { kX, kBranch, kCodes, kScales, kA, kB };
  return quantised_linear_flops(attributes, {in[kX], in[kCodes]}) + rank_flops(in[kA], in[kB], size(in[kX], 0));
}

double quantised_adapted_weights_flops(const KernelAttributes&, const Types& in) {
  enum { kDy, kBranch, kCodes, kScales, kXA, kA, kB };
  return 2 * rank_flops(in[kA], in[kB], size(in[kDy], 0));
}

double quantised_adapted_gradient_flops(const KernelAttributes& attributes, const Types& in) {
  enum { kDy, kBranch, kCodes };
  return quantised_linear_dx_flops(attributes, {in[kDy], in[kCodes]}) + quantised_adapted_weights_flops(attributes, in);
}

std::vector<Value> quantised_adapted_gradient(const KernelAttributes& attributes, const GradientContext& context) {
  enum { kX, kBranch, kCodes, kScales, kA, kB };
  enum { kY, kXA };
  const auto& in = context.inputs;
  const std::vector<Value> operands = {context.output_gradients[kY], in[kBranch], in[kCodes], in[kScales],
                                       context.outputs[kXA],         in[kA],      in[kB]};
  std::vector<Value> result(in.size());
  auto take = [&](std::string_view target, const std::vector<size_t>& wanted) {
    Types types;
    for (size_t input : wanted) types.push_back(in[input].type());
    const auto found = kernel(target).call(attributes, operands, types);
    for (size_t i = 0; i < wanted.size(); ++i) result[wanted[i]] = found[i];
  };
  if (!context.needed[kX])
    take("gavel_quantised_linear_lora_grad_weights", {kA, kB});
  else if (in[kX] == in[kBranch])
    take("gavel_quantised_linear_lora_grad", {kX, kA, kB});
  else
    take("gavel_quantised_linear_lora_grad_split", {kX, kBranch, kA, kB});
  return result;
}

Value quantised_adapted_linear(const AdaptedLinearCall& call) {
  const LinearCall& linear = call.linear;
  const Value &x = linear.x, branch = call.dropout(x);
  std::vector<Value> operands = {x, branch, linear.weight, linear.scales, call.lora_a, call.lora_b};
  if (linear.bias) operands.push_back(linear.bias);
  return kernel("gavel_quantised_linear_lora")
      .call({{"scale", call.scaling}, {"compute", compute_of(x)}}, operands,
            {quantised_output_of(linear), {DType::kF32, {x.dim(0), call.lora_a.dim(0)}}})[0];
}

// --- The feed-forward block -----------------------------------------------------------------------------------------

double quantised_mlp_flops(const KernelAttributes&, const Types& in) {
  enum { kH, kNorm, kGate };
  return 3 * product_flops(size(in[kH], 0), size(in[kH], 1), size(in[kGate], 0));
}

std::vector<Value> quantised_mlp_gradient(const KernelAttributes& attributes, const GradientContext& context) {
  enum { kH };
  enum { kY, kGated, kUpped };
  const auto& in = context.inputs;
  std::vector<Value> result(in.size());
  if (!context.needed[kH]) return result;
  std::vector<Value> operands(in.begin(), in.end());
  for (const Value& more : {context.outputs[kGated], context.outputs[kUpped], context.output_gradients[kY]})
    operands.push_back(more);
  result[kH] = kernel("gavel_quantised_mlp_grad").call(attributes, operands, {in[kH].type()})[0];
  return result;
}

Value quantised_mlp(const FeedForwardCall& call) {
  const Value& h = call.h;
  const TensorType wide{h.dtype(), {h.dim(0), call.gate.dim(0)}};
  KernelAttributes attributes = {{"eps", call.rule.eps}};
  if (call.rule.offset != 0) attributes.emplace_back("offset", call.rule.offset);
  attributes.emplace_back("compute", compute_of(h));
  if (call.activation == Activation::kGeluTanh) attributes.emplace_back("gelu_tanh", true);
  return kernel("gavel_quantised_mlp")
      .call(attributes,
            {h, call.norm, call.gate, call.up, call.down, call.gate_scales, call.up_scales, call.down_scales},
            {h.type(), wide, wide})[0];
}

}  // namespace

void add_quantised_cpu_kernels(KernelSet& set) {
  // A group is never cut: where codes are split along their groups, or blocks, so are the scales, or neither. What a block
  // has behind that is whole.
  const std::vector<KernelDefinition> definitions = {
      {"gavel_quantised_linear",
       {{"t*.", "f.", "f.*", "f"}, {"t*f"}},
       quantised_linear_flops,
       quantised_linear_gradient},
      {"gavel_quantised_linear_dx", {{"t*.", ".f", ".f*"}, {"t*f"}}, quantised_linear_dx_flops},
      {"gavel_quantised_linear_lora",
       {{"t*.", "t*.", "f.", "f.*", "..", "f.", "f"}, {"t*f", "t*."}},
       quantised_adapted_flops,
       quantised_adapted_gradient},
      {"gavel_quantised_linear_lora_grad",
       {{"t*.", "t*f", ".f", ".f*", "t*.", ".f", ".."}, {"t*f", ".f", ".."}, {false, true, true}},
       quantised_adapted_gradient_flops},
      {"gavel_quantised_linear_lora_grad_split",
       {{"t*.", "t*f", ".f", ".f*", "t*.", ".f", ".."}, {"t*f", "t*f", ".f", ".."}, {false, false, true, true}},
       quantised_adapted_gradient_flops},
      {"gavel_quantised_linear_lora_grad_weights",
       {{"t*.", "t*f", ".f", ".f*", "t*.", ".f", ".."}, {".f", ".."}, {true, true}},
       quantised_adapted_weights_flops},
      {"gavel_quantised_mlp",
       {{"t*.", ".", "..", "..", "..", "..*", "..*", "..*"}, {"t*.", "t*.", "t*."}},
       quantised_mlp_flops,
       quantised_mlp_gradient,
       "gavel_quantised_mlp_forward_only"},
      {"gavel_quantised_mlp_grad",
       {{"t*.", ".", "..", "..", "..", "..*", "..*", "..*", "t*.", "t*.", "t*."}, {"t*."}},
       quantised_mlp_flops},
  };
  set.definitions.insert(set.definitions.end(), definitions.begin(), definitions.end());
  std::get<std::vector<KernelFor<LinearCall>>>(set.layers)
      .push_back({"gavel_quantised_linear",
                  [](const LinearCall& call, const Mesh&) { return static_cast<bool>(call.scales); },
                  quantised_linear});
  std::get<std::vector<KernelFor<AdaptedLinearCall>>>(set.layers)
      .push_back({"gavel_quantised_linear_lora",
                  [](const AdaptedLinearCall& call, const Mesh&) { return static_cast<bool>(call.linear.scales); },
                  quantised_adapted_linear});
  // On a mesh its weights would be whole on every device, where single linears split them.
  std::get<std::vector<KernelFor<FeedForwardCall>>>(set.layers)
      .push_back({"gavel_quantised_mlp",
                  [](const FeedForwardCall& call, const Mesh& mesh) {
                    return call.bare && call.gate_scales && mesh.devices() == 1;
                  },
                  quantised_mlp});
}

}  // namespace gavel

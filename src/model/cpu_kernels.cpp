#include "model/cpu_kernels.h"

#include "graph/kernel.h"
#include "graph/ops.h"

namespace gavel {

namespace {

/** The kernels' `compute` attribute: the type of the values is the type of the products. */
int32_t compute_of(const Value& x) { return x.dtype() == DType::kBF16 ? 1 : 2; }

double product_flops(const Value& x, const Value& weight) {
  return 2.0 * static_cast<double>(num_elements(x.shape())) * static_cast<double>(weight.dim(0));
}

TensorType output_type(const Value& x, const Value& weight) { return {x.dtype(), {x.dim(0), weight.dim(0)}}; }

std::vector<Value> lora_gradient(const GradientContext& context, double scale) {
  const Value& x = context.inputs[0];
  const Value& branch = context.inputs[1];
  const Value& weight = context.inputs[2];
  const Value& a = context.inputs[3];
  const Value& b = context.inputs[4];
  const Value& dy = context.output_gradients[0];
  const Value& xa = context.outputs[1];
  std::vector<Value> result(context.inputs.size());
  double rank_flops = 2.0 * static_cast<double>(a.dim(0)) * static_cast<double>(a.dim(1) + b.dim(0)) *
                      static_cast<double>(x.dim(0));
  Kernel kernel;
  kernel.attributes = {{"scale", scale}, {"compute", compute_of(x)}};
  std::vector<Value> operands = {dy, branch, weight, xa, a, b};
  if (!context.needed[0]) {
    kernel.target = "gavel_linear_lora_grad_weights";
    kernel.flops = 2 * rank_flops;
    auto found = call_kernel(kernel, operands, {a.type(), b.type()});
    result[3] = found[0];
    result[4] = found[1];
    return result;
  }
  kernel.flops = product_flops(x, weight) + 2 * rank_flops;
  if (x == branch) {
    kernel.target = "gavel_linear_lora_grad";
    auto found = call_kernel(kernel, operands, {x.type(), a.type(), b.type()});
    result[0] = found[0];
    result[3] = found[1];
    result[4] = found[2];
    return result;
  }
  kernel.target = "gavel_linear_lora_grad_split";
  auto found = call_kernel(kernel, operands, {x.type(), branch.type(), a.type(), b.type()});
  result[0] = found[0];
  result[1] = found[1];
  result[3] = found[2];
  result[4] = found[3];
  return result;
}

}  // namespace

Value cpu_linear(const Value& x, const Value& weight, const Value& bias) {
  Kernel kernel{"gavel_linear", {{"compute", compute_of(x)}}, {}, product_flops(x, weight)};
  kernel.gradient = [](const GradientContext& context) {
    const Value& input = context.inputs[0];
    std::vector<Value> result(context.inputs.size());
    if (!context.needed[0]) return result;
    Kernel backward{"gavel_linear_dx", {{"compute", compute_of(input)}}, {}, product_flops(input, context.inputs[1])};
    result[0] = call_kernel(backward, {context.output_gradients[0], context.inputs[1]}, {input.type()})[0];
    return result;
  };
  std::vector<Value> operands = {x, weight};
  if (bias) operands.push_back(bias);
  return call_kernel(std::move(kernel), operands, {output_type(x, weight)})[0];
}

Value cpu_linear_lora(const Value& x, const Value& branch, const Value& weight, const Value& a, const Value& b,
                      const Value& bias, double scale) {
  double rank_flops = 2.0 * static_cast<double>(a.dim(0)) * static_cast<double>(a.dim(1) + b.dim(0)) *
                      static_cast<double>(x.dim(0));
  Kernel kernel{"gavel_linear_lora", {{"scale", scale}, {"compute", compute_of(x)}}, {}, product_flops(x, weight) + rank_flops};
  kernel.gradient = [scale](const GradientContext& context) { return lora_gradient(context, scale); };
  std::vector<Value> operands = {x, branch, weight, a, b};
  if (bias) operands.push_back(bias);
  return call_kernel(std::move(kernel), operands,
                     {output_type(x, weight), {DType::kF32, {x.dim(0), a.dim(0)}}})[0];
}

Value cpu_attention(const Value& q, const Value& k, const Value& v, const Value& segment_ids, double scale) {
  // The causal half of the scores, for two products forward and five backward.
  double half = static_cast<double>(num_elements(q.shape())) * static_cast<double>(k.dim(1));
  Kernel kernel{"gavel_attention", {{"scale", scale}}, {}, 2 * half};
  kernel.gradient = [scale, half](const GradientContext& context) {
    const auto& in = context.inputs;
    Kernel backward{"gavel_attention_grad", {{"scale", scale}}, {}, 5 * half};
    auto found = call_kernel(
        backward, {in[0], in[1], in[2], context.outputs[0], context.outputs[1], context.output_gradients[0], in[3]},
        {in[0].type(), in[1].type(), in[2].type()});
    return std::vector<Value>{found[0], found[1], found[2], Value()};
  };
  return call_kernel(std::move(kernel), {q, k, v, segment_ids},
                     {q.type(), {DType::kF32, {q.dim(0), q.dim(2), q.dim(1)}}})[0];
}

Value cpu_attention_at(const Value& q, const Value& k, const Value& v, const Value& segment_ids, const Value& places,
                       double scale) {
  Value segments = reshape(take(reshape(segment_ids, {segment_ids.dim(1)}), places), {1, places.dim(0)});
  Value positions = reshape(places, {1, places.dim(0)});
  Value queries = reshape(q, {1, q.dim(0), q.dim(1), q.dim(2)});
  double scores = static_cast<double>(num_elements(q.shape())) * static_cast<double>(k.dim(1));
  Kernel kernel{"gavel_attention", {{"scale", scale}}, {}, 4 * scores};
  kernel.gradient = [scale, scores](const GradientContext& context) {
    const auto& in = context.inputs;
    Kernel backward{"gavel_attention_grad", {{"scale", scale}}, {}, 10 * scores};
    auto found = call_kernel(backward,
                             {in[0], in[1], in[2], context.outputs[0], context.outputs[1], context.output_gradients[0],
                              in[3], in[4], in[5]},
                             {in[0].type(), in[1].type(), in[2].type()});
    return std::vector<Value>{found[0], found[1], found[2], Value(), Value(), Value()};
  };
  Value out = call_kernel(std::move(kernel), {queries, k, v, segment_ids, segments, positions},
                          {queries.type(), {DType::kF32, {1, q.dim(1), q.dim(0)}}})[0];
  return reshape(out, q.shape());
}

Value cpu_rms_norm(const Value& x, const Value& weight, double eps) {
  Kernel kernel{"gavel_rms_norm", {{"eps", eps}}, {}, 0};
  kernel.gradient = [eps](const GradientContext& context) {
    Kernel backward{"gavel_rms_norm_grad", {{"eps", eps}}, {}, 0};
    auto found = call_kernel(backward, {context.inputs[0], context.inputs[1], context.output_gradients[0]},
                             {context.inputs[0].type()});
    return std::vector<Value>{found[0], Value()};
  };
  return call_kernel(std::move(kernel), {x, weight}, {x.type()})[0];
}

Value cpu_swiglu(const Value& gate, const Value& up) {
  Kernel kernel{"gavel_swiglu", {}, {}, 0};
  kernel.gradient = [](const GradientContext& context) {
    Kernel backward{"gavel_swiglu_grad", {}, {}, 0};
    return call_kernel(backward, {context.inputs[0], context.inputs[1], context.output_gradients[0]},
                       {context.inputs[0].type(), context.inputs[1].type()});
  };
  return call_kernel(std::move(kernel), {gate, up}, {gate.type()})[0];
}

Value cpu_mlp(const Value& h, const Value& norm, double eps, const Value& gate, const Value& up, const Value& down) {
  double work = 3 * product_flops(h, gate);
  Kernel kernel{"gavel_mlp", {{"eps", eps}, {"compute", compute_of(h)}}, {}, work, "gavel_mlp_forward_only"};
  kernel.gradient = [eps, work](const GradientContext& context) {
    const auto& in = context.inputs;
    std::vector<Value> result(in.size());
    if (!context.needed[0]) return result;
    Kernel backward{"gavel_mlp_grad", {{"eps", eps}, {"compute", compute_of(in[0])}}, {}, work};
    result[0] = call_kernel(backward,
                            {in[0], in[1], in[2], in[3], in[4], context.outputs[1], context.outputs[2],
                             context.output_gradients[0]},
                            {in[0].type()})[0];
    return result;
  };
  TensorType wide{h.dtype(), {h.dim(0), gate.dim(0)}};
  return call_kernel(std::move(kernel), {h, norm, gate, up, down}, {h.type(), wide, wide})[0];
}

Value cpu_rotary(const Value& x, const Rotary& rotary) {
  Kernel kernel{"gavel_rotary", {{"inverse", false}}, {}, 0};
  kernel.gradient = [](const GradientContext& context) {
    Kernel backward{"gavel_rotary", {{"inverse", true}}, {}, 0};
    auto found = call_kernel(backward, {context.output_gradients[0], context.inputs[1], context.inputs[2]},
                             {context.inputs[0].type()});
    return std::vector<Value>{found[0], Value(), Value()};
  };
  return call_kernel(std::move(kernel), {x, rotary.cos, rotary.sin}, {x.type()})[0];
}

}  // namespace gavel

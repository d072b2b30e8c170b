#include "nn/cpu_kernels.h"

#include "graph/ops.h"
#include "nn/cpu_kernel_parts.h"
#include "nn/cpu_quantised_kernels.h"

namespace gavel {

using namespace cpu_kernel_parts;

namespace {

double elements(const TensorType& type) {
  return static_cast<double>(num_elements(type.shape));
}

// --- Linear: x [T, in], weight [out, in] ----------------------------------------------------------------------------

/** x times weight transposed, or dy times weight. */
double linear_flops(const KernelAttributes&, const Types& in) {
  enum { kX, kWeight };
  return 2 * size(in[kX], 0) * elements(in[kWeight]);
}

std::vector<Value> linear_gradient(const KernelAttributes& attributes, const GradientContext& context) {
  enum { kX, kWeight };
  std::vector<Value> result(context.inputs.size());
  if (!context.needed[kX]) return result;
  const Value& x = context.inputs[kX];
  result[kX] =
      kernel("gavel_linear_dx").call(attributes, {context.output_gradients[0], context.inputs[kWeight]}, {x.type()})[0];
  return result;
}

TensorType output_of(const LinearCall& call) {
  return {call.x.dtype(), {call.x.dim(0), call.weight.dim(0)}};
}

Value linear(const LinearCall& call) {
  std::vector<Value> operands = {call.x, call.weight};
  if (call.bias) operands.push_back(call.bias);
  return kernel("gavel_linear").call({{"compute", compute_of(call.x)}}, operands, {output_of(call)})[0];
}

// --- Linear with an adapter -----------------------------------------------------------------------------------------

double adapted_flops(const KernelAttributes&, const Types& in) {
  enum { kX, kBranch, kWeight, kA, kB };
  return 2 * size(in[kX], 0) * elements(in[kWeight]) + rank_flops(in[kA], in[kB], size(in[kX], 0));
}

double adapted_weights_flops(const KernelAttributes&, const Types& in) {
  enum { kDy, kBranch, kWeight, kXA, kA, kB };
  return 2 * rank_flops(in[kA], in[kB], size(in[kDy], 0));
}

double adapted_gradient_flops(const KernelAttributes& attributes, const Types& in) {
  enum { kDy, kBranch, kWeight };
  return 2 * size(in[kDy], 0) * elements(in[kWeight]) + adapted_weights_flops(attributes, in);
}

std::vector<Value> adapted_gradient(const KernelAttributes& attributes, const GradientContext& context) {
  enum { kX, kBranch, kWeight, kA, kB };
  enum { kY, kXA };
  const auto& in = context.inputs;
  const Value &x = in[kX], &branch = in[kBranch], &a = in[kA], &b = in[kB];
  std::vector<Value> operands = {context.output_gradients[kY], branch, in[kWeight], context.outputs[kXA], a, b};
  std::vector<Value> result(in.size());
  auto take = [&](std::string_view target, const std::vector<int>& wanted) {
    Types types;
    for (int input : wanted) types.push_back(in[static_cast<size_t>(input)].type());
    auto found = kernel(target).call(attributes, operands, types);
    for (size_t i = 0; i < wanted.size(); ++i) result[static_cast<size_t>(wanted[i])] = found[i];
  };
  if (!context.needed[kX])
    take("gavel_linear_lora_grad_weights", {kA, kB});
  else if (x == branch)
    take("gavel_linear_lora_grad", {kX, kA, kB});
  else
    take("gavel_linear_lora_grad_split", {kX, kBranch, kA, kB});
  return result;
}

Value adapted_linear(const AdaptedLinearCall& call) {
  const LinearCall& linear = call.linear;
  const Value &x = linear.x, branch = call.dropout(x);
  std::vector<Value> operands = {x, branch, linear.weight, call.lora_a, call.lora_b};
  if (linear.bias) operands.push_back(linear.bias);
  return kernel("gavel_linear_lora")
      .call({{"scale", call.scaling}, {"compute", compute_of(x)}}, operands,
            {output_of(linear), {DType::kF32, {x.dim(0), call.lora_a.dim(0)}}})[0];
}

// --- Attention ------------------------------------------------------------------------------------------------------

/** Operands without the queries' own segments and positions: the queries are all places. */
constexpr size_t kAllPlaces = 4, kAllPlacesBack = 7;

/** As attributes, of which a plain rule has the scale alone. A window that no key of a row is outside of is none. */
KernelAttributes attributes_of(const AttentionRule& rule, int64_t keys) {
  KernelAttributes attributes = {{"scale", rule.scale}};
  if (rule.sliding_window && *rule.sliding_window < keys)
    attributes.emplace_back("window", static_cast<int32_t>(*rule.sliding_window));
  if (rule.logit_softcapping) attributes.emplace_back("softcap", *rule.logit_softcapping);
  if (rule.prefixes) attributes.emplace_back("prefixes", true);
  return attributes;
}

/** How many of the keys a query sees on average, of one segment: at all places half of them or, with a window of w among n
 * keys, (w^2 / 2 + (n - w) w) / n; at chosen places, which may be the last ones, all or w. */
double keys_seen(const KernelAttributes& attributes, double keys, bool all_places) {
  double window = keys;
  for (const auto& [name, value] : attributes)
    if (name == "window") window = std::get<int32_t>(value);
  return all_places ? window * (1 - window / (2 * keys)) : window;
}

/** Of one product of the scores that are seen. */
double score_flops(const KernelAttributes& attributes, const Types& in, bool all_places) {
  enum { kQ, kK };
  return 2 * elements(in[kQ]) * keys_seen(attributes, size(in[kK], 1), all_places);
}

double attention_flops(const KernelAttributes& attributes, const Types& in) {
  return 2 * score_flops(attributes, in, in.size() == kAllPlaces);
}
double attention_gradient_flops(const KernelAttributes& attributes, const Types& in) {
  return 5 * score_flops(attributes, in, in.size() == kAllPlacesBack);
}

std::vector<Value> attention_gradient(const KernelAttributes& attributes, const GradientContext& context) {
  enum { kQ, kK, kV, kSegments };
  enum { kO, kLogSums };
  const auto& in = context.inputs;
  std::vector<Value> operands = {
      in[kQ], in[kK], in[kV], context.outputs[kO], context.outputs[kLogSums], context.output_gradients[kO]};
  // The segments, and what tells of the queries where they are not all places.
  operands.insert(operands.end(), in.begin() + kSegments, in.end());
  auto result =
      kernel("gavel_attention_grad").call(attributes, operands, {in[kQ].type(), in[kK].type(), in[kV].type()});
  result.resize(in.size());
  return result;
}

Value attention(const AttentionCall& call) {
  const Value& q = call.q;
  return kernel("gavel_attention")
      .call(attributes_of(call.rule, call.k.dim(1)), {q, call.k, call.v, call.segment_ids},
            {q.type(), {DType::kF32, {q.dim(0), q.dim(2), q.dim(1)}}})[0];
}

Value pooled_attention(const PooledAttentionCall& call) {
  const Value &q = call.q, &index = call.at.index;
  Value segments = reshape(take(reshape(call.segment_ids, {call.segment_ids.dim(1)}), index), {1, index.dim(0)});
  Value positions = reshape(index, {1, index.dim(0)});
  Value queries = reshape(q, {1, q.dim(0), q.dim(1), q.dim(2)});
  Value out = kernel("gavel_attention")
                  .call(attributes_of(call.rule, call.k.dim(1)),
                        {queries, call.k, call.v, call.segment_ids, segments, positions},
                        {queries.type(), {DType::kF32, {1, q.dim(1), q.dim(0)}}})[0];
  return reshape(out, q.shape());
}

// --- Norm, rotary, gated activation ---------------------------------------------------------------------------------

/** With an offset where the rule has one. */
KernelAttributes attributes_of(const NormRule& rule) {
  KernelAttributes attributes = {{"eps", rule.eps}};
  if (rule.offset != 0) attributes.emplace_back("offset", rule.offset);
  return attributes;
}

/** Whether it is the norm of heads, […, H, D], which has a name of its own, since a mesh cuts it by heads. */
bool is_of_heads(const Value& x) {
  return x.rank() > 2;
}

std::vector<Value> norm_gradient(const KernelAttributes& attributes, const GradientContext& context) {
  enum { kX, kWeight };
  const Value& x = context.inputs[kX];
  return {kernel(is_of_heads(x) ? "gavel_head_norm_grad" : "gavel_rms_norm_grad")
              .call(attributes, {x, context.inputs[kWeight], context.output_gradients[0]}, {x.type()})[0],
          Value()};
}

Value norm(const NormCall& call) {
  return kernel(is_of_heads(call.x) ? "gavel_head_norm" : "gavel_rms_norm")
      .call(attributes_of(call.rule), {call.x, call.weight}, {call.x.type()})[0];
}

std::vector<Value> rotary_gradient(const KernelAttributes&, const GradientContext& context) {
  enum { kX, kCos, kSin };
  const auto& in = context.inputs;
  return {kernel("gavel_rotary")
              .call({{"inverse", true}}, {context.output_gradients[0], in[kCos], in[kSin]}, {in[kX].type()})[0],
          Value(), Value()};
}

Value rotary(const RotaryCall& call) {
  return kernel("gavel_rotary")
      .call({{"inverse", false}}, {call.x, call.rotary.cos, call.rotary.sin}, {call.x.type()})[0];
}

std::vector<Value> gated_gradient(std::string_view target, const GradientContext& context) {
  enum { kGate, kUp };
  const auto& in = context.inputs;
  return kernel(target).call({}, {in[kGate], in[kUp], context.output_gradients[0]}, {in[kGate].type(), in[kUp].type()});
}
std::vector<Value> swiglu_gradient(const KernelAttributes&, const GradientContext& context) {
  return gated_gradient("gavel_swiglu_grad", context);
}
std::vector<Value> geglu_gradient(const KernelAttributes&, const GradientContext& context) {
  return gated_gradient("gavel_geglu_grad", context);
}

Value gated(const GatedCall& call) {
  return kernel(call.activation == Activation::kSilu ? "gavel_swiglu" : "gavel_geglu")
      .call({}, {call.gate, call.up}, {call.gate.type()})[0];
}

// --- The feed-forward block -----------------------------------------------------------------------------------------

double mlp_flops(const KernelAttributes&, const Types& in) {
  enum { kH, kNorm, kGate };
  return 3 * 2 * size(in[kH], 0) * elements(in[kGate]);
}

std::vector<Value> mlp_gradient(const KernelAttributes& attributes, const GradientContext& context) {
  enum { kH, kNorm, kGate, kUp, kDown };
  enum { kY, kGated, kUpped };
  const auto& in = context.inputs;
  std::vector<Value> result(in.size());
  if (!context.needed[kH]) return result;
  result[kH] = kernel("gavel_mlp_grad")
                   .call(attributes,
                         {in[kH], in[kNorm], in[kGate], in[kUp], in[kDown], context.outputs[kGated],
                          context.outputs[kUpped], context.output_gradients[kY]},
                         {in[kH].type()})[0];
  return result;
}

Value mlp(const FeedForwardCall& call) {
  const Value& h = call.h;
  TensorType wide{h.dtype(), {h.dim(0), call.gate.dim(0)}};
  KernelAttributes attributes = attributes_of(call.rule);
  attributes.emplace_back("compute", compute_of(h));
  if (call.activation == Activation::kGeluTanh) attributes.emplace_back("gelu_tanh", true);
  return kernel("gavel_mlp").call(attributes, {h, call.norm, call.gate, call.up, call.down}, {h.type(), wide, wide})[0];
}

// --- The registry ---------------------------------------------------------------------------------------------------

KernelSet make_cpu_kernels() {
  KernelSet set;
  set.platform = "cpu";
  set.definitions = {
      {"gavel_linear", {{"t*.", "f.", "f"}, {"t*f"}}, linear_flops, linear_gradient},
      {"gavel_linear_dx", {{"t*.", ".f"}, {"t*f"}}, linear_flops},
      {"gavel_linear_lora", {{"t*.", "t*.", "f.", "..", "f.", "f"}, {"t*f", "t*."}}, adapted_flops, adapted_gradient},
      {"gavel_linear_lora_grad",
       {{"t*.", "t*f", ".f", "t*.", ".f", ".."}, {"t*f", ".f", ".."}, {false, true, true}},
       adapted_gradient_flops},
      {"gavel_linear_lora_grad_split",
       {{"t*.", "t*f", ".f", "t*.", ".f", ".."}, {"t*f", "t*f", ".f", ".."}, {false, false, true, true}},
       adapted_gradient_flops},
      {"gavel_linear_lora_grad_weights",
       {{"t*.", "t*f", ".f", "t*.", ".f", ".."}, {".f", ".."}, {true, true}},
       adapted_weights_flops},
      {"gavel_attention",
       {{"t.h.", "t.h.", "t.h.", "t.", "t.", "t."}, {"t.h.", "th."}},
       attention_flops,
       attention_gradient,
       "",
       2},
      {"gavel_attention_grad",
       {{"t.h.", "t.h.", "t.h.", "t.h.", "th.", "t.h.", "t.", "t.", "t."}, {"t.h.", "t.h.", "t.h."}},
       attention_gradient_flops,
       nullptr,
       "",
       5},
      {"gavel_rms_norm", {{"t*.", "."}, {"t*."}}, nullptr, norm_gradient},
      {"gavel_rms_norm_grad", {{"t*.", ".", "t*."}, {"t*."}}},
      {"gavel_head_norm", {{"t*h.", "."}, {"t*h."}}, nullptr, norm_gradient},
      {"gavel_head_norm_grad", {{"t*h.", ".", "t*h."}, {"t*h."}}},
      {"gavel_rotary", {{"t*h.", "t*.", "t*."}, {"t*h."}}, nullptr, rotary_gradient},
      {"gavel_swiglu", {{"t*f", "t*f"}, {"t*f"}}, nullptr, swiglu_gradient},
      {"gavel_swiglu_grad", {{"t*f", "t*f", "t*f"}, {"t*f", "t*f"}}},
      {"gavel_geglu", {{"t*f", "t*f"}, {"t*f"}}, nullptr, geglu_gradient},
      {"gavel_geglu_grad", {{"t*f", "t*f", "t*f"}, {"t*f", "t*f"}}},
      {"gavel_mlp",
       {{"t*.", ".", "..", "..", ".."}, {"t*.", "t*.", "t*."}},
       mlp_flops,
       mlp_gradient,
       "gavel_mlp_forward_only"},
      {"gavel_mlp_grad", {{"t*.", ".", "..", "..", "..", "t*.", "t*.", "t*."}, {"t*."}}, mlp_flops},
  };
  set.layers = {
      {{"gavel_linear", [](const LinearCall& call, const Mesh&) { return !call.scales; }, linear}},
      {{"gavel_linear_lora", [](const AdaptedLinearCall& call, const Mesh&) { return !call.linear.scales; },
        adapted_linear}},
      {{"gavel_rms_norm", [](const NormCall& call, const Mesh&) { return !is_of_heads(call.x); }, norm},
       {"gavel_head_norm", [](const NormCall& call, const Mesh&) { return is_of_heads(call.x); }, norm}},
      {{"gavel_rotary", [](const RotaryCall& call, const Mesh&) { return call.x.rank() == 4; }, rotary}},
      {{"gavel_attention", [](const AttentionCall&, const Mesh&) { return true; }, attention}},
      // Queries are told apart by their place in one sequence.
      {{"gavel_attention", [](const PooledAttentionCall& call, const Mesh&) { return call.k.dim(0) == 1; },
        pooled_attention}},
      {{"gavel_swiglu", [](const GatedCall& call, const Mesh&) { return call.activation == Activation::kSilu; }, gated},
       {"gavel_geglu", [](const GatedCall& call, const Mesh&) { return call.activation == Activation::kGeluTanh; },
        gated}},
      // On a mesh its weights would be whole on every device, where single linears split them.
      {{"gavel_mlp",
        [](const FeedForwardCall& call, const Mesh& mesh) {
          return call.bare && !call.gate_scales && mesh.devices() == 1;
        },
        mlp}},
  };
  add_quantised_cpu_kernels(set);
  return set;
}

}  // namespace

const KernelSet& cpu_kernels() {
  static const KernelSet set = make_cpu_kernels();
  return set;
}

}  // namespace gavel

#include "nn/cudnn_attention.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "graph/ops.h"
#include "graph/printer.h"
#include "nn/attention_rule.h"

namespace gavel {

namespace {

using Types = std::vector<TensorType>;

/** Operands of a call without a mask. */
constexpr size_t kForwardOperands = 3, kBackwardOperands = 6;

double number_of(const KernelAttributes& attributes, std::string_view name) {
  for (const auto& [known, value] : attributes)
    if (known == name) return std::get<double>(value);
  fail("cudnn_attention: no attribute '{}'", name);
}

bool is_set(const KernelAttributes& attributes, std::string_view name) {
  return std::any_of(attributes.begin(), attributes.end(), [&](const auto& one) { return one.first == name; });
}

// --- The calls as XLA reads them --------------------------------------------------------------------------------------

/** xla.DotDimensionNumbers of batch and contracting dimensions. */
std::string dot_text(std::string_view name, const char* lhs_contract, const char* rhs_contract, const char* lhs_batch,
                     const char* rhs_batch) {
  return fmt::format(R"("{}": {{"lhs_contracting_dimensions": ["{}"], "rhs_contracting_dimensions": ["{}"], )"
                     R"("lhs_batch_dimensions": ["0", "{}"], "rhs_batch_dimensions": ["0", "{}"]}})",
                     name, lhs_contract, rhs_contract, lhs_batch, rhs_batch);
}

/** xla.gpu.GpuBackendConfig in JSON, in which 64-bit integers are texts. It tells the compiler which dimensions of q, k and v
 * [B, S, heads, D] and of the scores [B, H, S, S] are batch, places and features. Quotes are written as a program's text has
 * them. */
std::string config_text(const KernelAttributes& attributes, const TensorType& q, bool backward) {
  const std::string products =
      backward ? fmt::format("{}, {}, {}, {}", dot_text("bmm1_grad_gemm1_dot_dimension_numbers", "2", "1", "1", "2"),
                             dot_text("bmm1_grad_gemm2_dot_dimension_numbers", "3", "1", "1", "2"),
                             dot_text("bmm2_grad_gemm1_dot_dimension_numbers", "2", "1", "1", "2"),
                             dot_text("bmm2_grad_gemm2_dot_dimension_numbers", "3", "3", "2", "2"))
               : fmt::format("{}, {}", dot_text("bmm1_dot_dimension_numbers", "3", "3", "2", "2"),
                             dot_text("bmm2_dot_dimension_numbers", "3", "1", "1", "2"));
  const std::string scores = fmt::format(
      R"({{"element_type": "{}", "dimensions": ["{}", "{}", "{}", "{}"], "tuple_shapes": [], )"
      R"("layout": {{"dim_level_types": [], "dim_unique": [], "dim_ordered": [], )"
      R"("minor_to_major": ["3", "2", "1", "0"], "tiles": [], "element_size_in_bits": "0", "memory_space": "0", )"
      R"("index_primitive_type": "PRIMITIVE_TYPE_INVALID", "pointer_primitive_type": "PRIMITIVE_TYPE_INVALID", )"
      R"("dynamic_shape_metadata_prefix_bytes": "0"}}, "is_dynamic_dimension": [false, false, false, false]}})",
      q.dtype == DType::kBF16 ? "BF16" : "F16", q.shape[0], q.shape[2], q.shape[1], q.shape[1]);
  const std::string json = fmt::format(
      R"({{"operation_queue_id": "0", "wait_on_operation_queues": [], "cudnn_fmha_backend_config": {{)"
      R"("algorithm": {{"algo_id": "0", "math_type": "TENSOR_OP_MATH", "tuning_knobs": {{"17": "1", "24": "0"}}, )"
      R"("is_cudnn_frontend": true, "workspace_size": "0"}}, "fmha_scale": {}, "dropout_rate": 0.0, )"
      R"("intermediate_tensor_shape": {}, "seed": "42", "is_flash_attention": true, "mask_type": "CAUSAL", )"
      R"("force_deterministic": {}, "sliding_window_length": 0, "max_seg_per_batch": 1, )"
      R"("is_paged_attention": false, {}}}}})",
      number_of(attributes, "scale"), scores, is_set(attributes, "deterministic"), products);
  std::string text;
  for (char c : json) text += c == '"' ? std::string("\\22") : std::string(1, c);
  return text;
}

/** Bytes that a plan of the gradient takes beside its operands, as cuDNN 9.28 answered for GPUs of capability 8.0 to 12.0, the
 * one that takes most (tools/cudnn_check.py --workspace; in order: for rows of 1,000 tokens and more). A compiler that has the
 * GPU puts in the plan's own number; one that has not counts this. */
int64_t backward_workspace(const KernelAttributes& attributes, const TensorType& q) {
  const int64_t length = q.shape[1], rows = q.shape[0] * length * q.shape[2], features = q.shape[3];
  const int64_t wide = 3 * features + 1, in_order = features + (length + 1) / 2 + 1;
  return 4 * rows * (is_set(attributes, "deterministic") ? std::max(wide, in_order) : wide);
}

/** [B, S, heads, D] as cuDNN gives it: the dimensions in its order, the elements in memory in that of the type. */
TensorType heads_first(const TensorType& type) {
  return {type.dtype, {type.shape[0], type.shape[2], type.shape[1], type.shape[3]}};
}
constexpr std::string_view kHeadsFirstLayout = "dense<[3, 1, 2, 0]> : tensor<4xindex>";

/** Writes a call whose first `attended` results are given heads first; `others` and a workspace follow. Returns the names of
 * all but the workspace, the first in the order of their types. */
std::vector<std::string> write_call(Printer& printer, const std::string& target, const std::string& config,
                                    const std::vector<std::string>& names, const Types& operands, const Types& attended,
                                    const Types& others, int64_t workspace) {
  Types results;
  std::vector<std::string> layouts;
  for (const TensorType& type : attended) {
    results.push_back(heads_first(type));
    layouts.emplace_back(kHeadsFirstLayout);
  }
  Types row_major = others;
  row_major.push_back({DType::kU8, {workspace}});
  results.insert(results.end(), row_major.begin(), row_major.end());
  const std::string rest = layouts_text(row_major);
  layouts.push_back(rest.substr(1, rest.size() - 2));
  const std::string out = printer.fresh();
  printer.line(
      "{}:{} = stablehlo.custom_call @{}({}) {{api_version = 2 : i32, backend_config = \"{}\", operand_layouts = {}, "
      "result_layouts = [{}]}} : {} -> {}",
      out, results.size(), target, fmt::join(names, ", "), config, layouts_text(operands), fmt::join(layouts, ", "),
      type_list(operands), type_list(results));
  std::vector<std::string> given;
  for (size_t i = 0; i + 1 < results.size(); ++i) {
    std::string name = fmt::format("{}#{}", out, i);
    if (i < attended.size()) {
      std::string turned = printer.fresh();
      printer.line("{} = stablehlo.transpose {}, dims = [0, 2, 1, 3] : ({}) -> {}", turned, name, to_string(results[i]),
                   to_string(attended[i]));
      name = turned;
    }
    given.push_back(name);
  }
  return given;
}

std::vector<std::string> write_forward(Printer& printer, const PrintedCall& call) {
  // Without a gradient the sums are not asked for.
  const bool masked = call.operands.size() > kForwardOperands;
  std::vector<std::string> names =
      write_call(printer, masked ? "__cudnn$fmhaScaleBiasSoftmax" : "__cudnn$fmhaSoftmax",
                 config_text(call.attributes, call.operands[0], false), call.names, call.operands, {call.results[0]},
                 call.used[1] ? Types{call.results[1]} : Types(), 0);
  names.resize(call.results.size());
  return names;
}

std::vector<std::string> write_backward(Printer& printer, const PrintedCall& call) {
  // XLA's order: q, k, v, sums, do, mask, o.
  std::vector<std::string> names = call.names;
  Types operands = call.operands;
  const bool masked = operands.size() > kBackwardOperands;
  if (masked) {
    std::swap(names[kBackwardOperands - 1], names[kBackwardOperands]);
    std::swap(operands[kBackwardOperands - 1], operands[kBackwardOperands]);
  }
  return write_call(printer, masked ? "__cudnn$fmhaScaleBiasSoftmaxBackward" : "__cudnn$fmhaSoftmaxBackward",
                    config_text(call.attributes, operands[0], true), names, operands, call.results, {},
                    backward_workspace(call.attributes, operands[0]));
}

// --- Attention as a kernel --------------------------------------------------------------------------------------------

/** Of `products` products of queries and keys, of which causality leaves half. */
double score_flops(const Types& in, double products) {
  return products * static_cast<double>(num_elements(in[0].shape)) * static_cast<double>(in[1].shape[1]);
}
double forward_flops(const KernelAttributes&, const Types& in) {
  return score_flops(in, 2);
}
double backward_flops(const KernelAttributes&, const Types& in) {
  return score_flops(in, 5);
}

/** Far below any score, but so that the difference of two can be told (cuDNN subtracts them). */
double masked_score(DType type) {
  return type == DType::kF16 ? -32768.0 : -2199023255552.0;
}

/** What causality does not say: [B, 1, S, S], 0 where a query may see a key. None where it says all. */
Value mask_of(const AttentionCall& call) {
  const AttentionRule& rule = call.rule;
  const int64_t b = call.q.dim(0), s = call.q.dim(1);
  const bool windowed = rule.sliding_window && *rule.sliding_window < s;
  if (rule.one_text && !windowed) return {};
  const Shape shape = {b, s, s};
  Graph& graph = call.q.graph();
  Value seen =
      segments_meet(broadcast(call.segment_ids, shape, {0, 1}), broadcast(call.segment_ids, shape, {0, 2}), rule);
  if (windowed)
    seen = within_window(seen, iota(graph, DType::kI32, shape, 2), iota(graph, DType::kI32, shape, 1), rule);
  const DType type = call.q.dtype();
  return reshape(select(seen, full(graph, type, shape, 0), full(graph, type, shape, masked_score(type))), {b, 1, s, s});
}

bool accepts(const AttentionCall& call, const AttentionWriters& writers) {
  const Value &q = call.q, &k = call.k;
  const auto& types = writers.types;
  return std::find(types.begin(), types.end(), q.dtype()) != types.end() && k.type() == call.v.type() &&
         k.dtype() == q.dtype() && q.dim(1) > 1 && q.dim(2) % k.dim(2) == 0 &&
         q.dim(3) % writers.head_dim_multiple == 0 && q.dim(3) <= writers.largest_head_dim &&
         !call.rule.logit_softcapping;
}

Value attention(const AttentionCall& call, const KernelDefinition& forward) {
  const Value &q = call.q, mask = mask_of(call);
  KernelAttributes attributes = {{"scale", call.rule.scale}};
  if (call.rule.deterministic) attributes.emplace_back("deterministic", true);
  std::vector<Value> operands = {q, call.k, call.v};
  if (mask) operands.push_back(mask);
  return forward.call(attributes, operands, {q.type(), {DType::kF32, {q.dim(0), q.dim(2), q.dim(1)}}})[0];
}

std::vector<Value> attention_gradient(const KernelDefinition& backward, const KernelAttributes& attributes,
                                      const GradientContext& context) {
  enum { kQ, kK, kV, kMask };
  enum { kO, kSums };
  const auto& in = context.inputs;
  std::vector<Value> operands = {
      in[kQ], in[kK], in[kV], context.outputs[kSums], context.output_gradients[kO], context.outputs[kO]};
  if (in.size() > kMask) operands.push_back(in[kMask]);
  auto found = backward.call(attributes, operands, {in[kQ].type(), in[kK].type(), in[kV].type()});
  found.resize(in.size());
  return found;
}

}  // namespace

AttentionWriters cudnn_calls(int least_capability, int64_t largest_head_dim) {
  constexpr int64_t kHeadDimMultiple = 8;
  return {write_forward,    write_backward,   {DType::kBF16, DType::kF16},
          kHeadDimMultiple, largest_head_dim, least_capability};
}

KernelSet attention_kernels(std::string_view platform, const AttentionWriters& writers) {
  KernelSet set;
  set.platform = platform;
  set.least_capability = writers.least_capability;
  KernelDefinition forward{"cudnn_attention", {{"t.h.", "t.h.", "t.h.", "t..."}, {"t.h.", "th."}}, forward_flops},
      backward{"cudnn_attention_grad",
               {{"t.h.", "t.h.", "t.h.", "th.", "t.h.", "t.h.", "t..."}, {"t.h.", "t.h.", "t.h."}},
               backward_flops};
  backward.write = writers.backward;
  forward.write = writers.forward;
  forward.gradient = [backward](const KernelAttributes& attributes, const GradientContext& context) {
    return attention_gradient(backward, attributes, context);
  };
  set.definitions = {forward, backward};
  std::get<std::vector<KernelFor<AttentionCall>>>(set.layers)
      .push_back({"cudnn_attention",
                  [writers](const AttentionCall& call, const Mesh&) { return accepts(call, writers); },
                  [forward](const AttentionCall& call) { return attention(call, forward); }});
  return set;
}

const std::vector<const KernelSet*>& cuda_kernels() {
  // As cuDNN 9.28 answers (tools/cudnn_check.py --limits): heads of more than 128 features have a gradient on Hopper alone.
  static const KernelSet ampere = attention_kernels("cuda", cudnn_calls(80, 128)),
                         hopper = attention_kernels("cuda", cudnn_calls(90, 256)),
                         blackwell = attention_kernels("cuda", cudnn_calls(100, 128));
  static const std::vector<const KernelSet*> all = {&ampere, &hopper, &blackwell};
  return all;
}

}  // namespace gavel

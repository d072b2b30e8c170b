// Every kernel of the registry against the composition that it stands for: values and gradients, on odd sizes, on one
// device and cut over a mesh.
#include "nn/kernel_registry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "base/error.h"
#include "base/random.h"
#include "emit/module.h"
#include "ffi/handlers.h"
#include "graph/gradients.h"
#include "graph/ops.h"
#include "nn/attention.h"
#include "nn/cpu_kernels.h"
#include "nn/layers.h"
#include "nn/plain_attention.h"
#include "nn/quantised.h"
#include "pjrt/client.h"
#include "spec/family.h"

namespace gavel {
namespace {

/** Sizes of a case; `tokens` = sequences * length. */
struct Sizes {
  int64_t sequences, length, heads, key_heads, head_dim, in, out, rank;
  int64_t tokens() const { return sequences * length; }
};
/** Odd ones, and ones that a mesh of 2 x 2 x 2 divides. */
constexpr Sizes kOdd{3, 13, 6, 3, 10, 37, 53, 3}, kEven{4, 12, 4, 2, 8, 32, 48, 4};

/** Of small groups, so that these sizes have several. */
constexpr int64_t kGroup = 16;
/** A size as the inputs of a quantised weight have it, and still one that a mesh of 2 x 2 x 2 divides or does not. */
int64_t in_groups(int64_t size) {
  return (size + kGroup - 1) / kGroup * kGroup;
}

enum class Weights { kNumbers, kInt8, kNf4, kInt8Blocks, kUint4Blocks };

/** A graph of one call, by a kernel and composed. */
class Comparison {
 public:
  Comparison(const Sizes& sizes, DType dtype) : sizes_(sizes), dtype_(dtype) {}

  const Sizes& sizes() const { return sizes_; }
  Graph& graph() { return graph_; }

  Value numbers(Shape shape, bool trained, double scale = 1) {
    return numbers(std::move(shape), trained, scale, dtype_);
  }
  /** A parameter with random values around zero; `trained`: its gradient is compared. */
  Value numbers(Shape shape, bool trained, double scale, DType dtype) {
    HostTensor tensor(DType::kF32, shape);
    auto out = tensor.as_mutable<float>();
    for (size_t i = 0; i < out.size(); ++i)
      out[i] = static_cast<float>(scale * (2 * random_uniform(inputs_.size() + 1, i) - 1));
    inputs_.push_back(tensor.to(dtype));
    Value value = graph_.parameter(dtype, std::move(shape), fmt::format("in{}", inputs_.size()));
    if (trained) trained_.push_back(value);
    return value;
  }
  /** Codes of a quantised weight [out, in] and its scales: int8 with scales in bfloat16, two of NF4 a byte, or in blocks of
   * kGroup: int8 with a factor each, or two codes a byte in groups of half a block with minima. */
  std::pair<Value, Value> quantised(int64_t out, int64_t in, Weights kind) {
    const bool two = kind == Weights::kNf4 || kind == Weights::kUint4Blocks, int8 = kind == Weights::kInt8;
    HostTensor codes(two ? DType::kU8 : DType::kI8, {out, two ? in / 2 : in});
    auto* bytes = static_cast<uint8_t*>(codes.mutable_data());
    for (size_t i = 0; i < codes.bytes(); ++i) {
      const auto byte = static_cast<uint8_t>(random_bits(inputs_.size() + 1, i));
      bytes[i] = int8 && byte == 0x80 ? 0 : byte;  // -128 is no code
    }
    inputs_.push_back(codes);
    Value value = graph_.parameter(codes.dtype(), codes.shape(), fmt::format("in{}", inputs_.size()));
    const int64_t count = in / kGroup;
    if (kind == Weights::kUint4Blocks) return {value, numbers({out, count, 6}, false, 0.3, DType::kF16)};
    if (kind == Weights::kInt8Blocks) return {value, numbers({out, count, 1}, false, 1.0 / 127, DType::kF16)};
    return {value, numbers({out, count}, false, int8 ? 1.0 / 127 : 1, int8 ? DType::kBF16 : DType::kF32)};
  }
  Value integers(const std::vector<int32_t>& values, const Shape& shape) {
    inputs_.push_back(HostTensor::from(values, shape));
    return graph_.parameter(DType::kI32, shape, fmt::format("in{}", inputs_.size()));
  }
  /** Two rows in each sequence, and padding. */
  Value segments() {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < sizes_.tokens(); ++i) {
      const int64_t place = i % sizes_.length;
      ids.push_back(place < sizes_.length / 3 ? 1 : place + 2 < sizes_.length ? 2 : 0);
    }
    return integers(ids, {sizes_.sequences, sizes_.length});
  }

  void compare(const Value& by_kernel, const Value& composed) {
    ASSERT_EQ(to_string(by_kernel.type()), to_string(composed.type()));
    Value weights = numbers(by_kernel.shape(), false, 1, DType::kF32);
    std::vector<int64_t> all;
    for (int64_t d = 0; d < by_kernel.rank(); ++d) all.push_back(d);
    for (const Value& value : {by_kernel, composed}) {
      outputs_.push_back(value);
      Value loss = reduce_sum(mul(convert(value, DType::kF32), weights), all);
      for (const Value& gradient : gradients(loss, trained_)) outputs_.push_back(gradient);
    }
  }

  /** The program of the values and gradients, and that of the values alone. */
  std::string text() const { return emit_module(graph_, outputs_) + emit_module(graph_, {outputs_.front()}); }

  /** Runs it and compares the two halves of the outputs. */
  void run(const Mesh& mesh) {
    ModuleOptions options;
    if (mesh.devices() > 1) {
      ModuleSharding sharding{mesh, {}, {}};
      for (const Value& value : graph_.parameters()) sharding.parameters.emplace_back(value.shape().size());
      for (const Value& value : outputs_) sharding.outputs.emplace_back(value.shape().size());
      options.sharding = sharding;
    }
    std::string text = emit_module(graph_, outputs_, options);
    auto client = pjrt::Client::create(pjrt::Plugin::load("cpu"), {{"cpu_device_count", mesh.devices()}});
    pjrt::CompileOptions compile;
    compile.num_partitions = mesh.devices();
    pjrt::Executable program = client->compile(text, compile);
    std::vector<std::vector<pjrt::Buffer>> buffers(static_cast<size_t>(mesh.devices()));
    std::vector<pjrt::Executable::Arguments> arguments(buffers.size());
    for (size_t d = 0; d < buffers.size(); ++d) {
      for (const HostTensor& input : inputs_) buffers[d].push_back(client->to_device(input, d));
      for (const pjrt::Buffer& buffer : buffers[d]) arguments[d].push_back(&buffer);
    }
    for (auto& device : program.execute(arguments)) {
      const size_t half = device.size() / 2;
      for (size_t i = 0; i < half; ++i) expect_near(device[i].to_host(), device[half + i].to_host(), i);
    }
  }

 private:
  void expect_near(const HostTensor& found, const HostTensor& wanted, size_t output) const {
    const HostTensor a = found.to(DType::kF32), b = wanted.to(DType::kF32);
    double largest = 0, difference = 0;
    for (size_t i = 0; i < a.as<float>().size(); ++i) {
      const double x = a.as<float>()[i], y = b.as<float>()[i];
      ASSERT_TRUE(std::isfinite(x) && std::isfinite(y));
      largest = std::max(largest, std::abs(y));
      difference = std::max(difference, std::abs(x - y));
    }
    EXPECT_GT(largest, 0) << "nothing is compared";
    // bfloat16 has eight bits, and products of several layers round in another order.
    EXPECT_LT(difference, (dtype_ == DType::kBF16 ? 0.03 : 2e-5) * largest)
        << (output == 0 ? "value" : fmt::format("gradient {}", output));
  }

  Sizes sizes_;
  DType dtype_;
  Graph graph_;
  std::vector<Value> trained_, outputs_;
  std::vector<HostTensor> inputs_;
};

const Placement& one_device() {
  static const Placement placement;
  return placement;
}
Layers composed() {
  return Layers(Kernels(), one_device());
}

// --- A call of each kind, in all its variants ---------------------------------------------------------------------

template <class Call>
int variants() {
  return 1;
}

/** Computes a call by the first kernel of a platform that accepts it. Programs for a mesh are compared even where the kernel
 * is for one device alone. */
template <class Call>
struct ByKernel {
  Kernels kernels;
  Value operator()(const Call& call) const {
    Value found = kernels.try_call(call, {});
    if (!found) fail("no kernel accepts the call");
    return found;
  }
};

const LinearSpec& some_linear() {
  static const LinearSpec spec =
      standard::linear("self_attn.q_proj", "attn_q", 1, Dimension::kQueryHeads, 1, Dimension::kHidden, true);
  return spec;
}

constexpr Weights kWeights[] = {Weights::kNumbers, Weights::kInt8, Weights::kNf4, Weights::kInt8Blocks,
                                Weights::kUint4Blocks};

LinearCall linear_call(Comparison& c, bool bias, bool trained, Weights weights) {
  const Sizes& s = c.sizes();
  const bool quantised = weights != Weights::kNumbers;
  const int64_t in = quantised ? in_groups(s.in) : s.in;
  Value x = c.numbers({s.tokens(), in}, trained);
  auto [weight, scales] =
      quantised ? c.quantised(s.out, in, weights) : std::pair(c.numbers({s.out, in}, false), Value());
  return {x, weight, bias ? c.numbers({s.out}, false) : Value(), some_linear(), scales};
}

template <>
int variants<LinearCall>() {
  return 2 * std::size(kWeights);
}
void make_call(Comparison& c, int variant, const ByKernel<LinearCall>& build) {
  const LinearCall call = linear_call(c, variant % 2 == 1, true, kWeights[variant / 2]);
  c.compare(build(call), composed().linear(call));
}

template <>
int variants<AdaptedLinearCall>() {
  return 4 * std::size(kWeights);
}
AdaptedLinearCall adapted_call(Comparison& c, bool bias, bool trained, bool dropout, Weights weights) {
  const Sizes& s = c.sizes();
  const LinearCall linear = linear_call(c, bias, trained, weights);
  AdaptedLinearCall call{linear,
                         c.numbers({s.rank, linear.x.dim(1)}, true, 1, DType::kF32),
                         c.numbers({s.out, s.rank}, true, 1, DType::kF32),
                         0.7,
                         {}};
  if (dropout) {
    std::vector<int32_t> rows, places;
    for (int64_t i = 0; i < s.tokens(); ++i) {
      rows.push_back(static_cast<int32_t>(i / s.length));
      places.push_back(static_cast<int32_t>(i % s.length));
    }
    Value hash = token_hash(c.integers(rows, {s.sequences, s.length}), c.integers(places, {s.sequences, s.length}));
    call.dropout = {0.25, hash, full(c.graph(), DType::kU32, {}, 77), full(c.graph(), DType::kI32, {}, 1), 2};
  }
  return call;
}
void make_call(Comparison& c, int variant, const ByKernel<AdaptedLinearCall>& build) {
  const int kind = variant % 4;
  const AdaptedLinearCall call = adapted_call(c, kind == 3, kind != 1, kind >= 2, kWeights[variant / 4]);
  c.compare(build(call), composed().linear(call));
}

template <>
int variants<NormCall>() {
  return 4;
}
/** Llama's and Gemma's of tokens, Gemma's of heads, and Qwen's of heads at chosen places. */
void make_call(Comparison& c, int variant, const ByKernel<NormCall>& build) {
  const Sizes& s = c.sizes();
  const Shape shapes[] = {{s.tokens(), s.in},
                          {s.tokens(), s.in},
                          {s.sequences, s.length, s.heads, s.head_dim},
                          {s.tokens(), s.heads, s.head_dim}};
  const Shape& shape = shapes[variant];
  const double offset = variant == 1 || variant == 2 ? 1 : 0;
  const NormCall call{c.numbers(shape, true), c.numbers({shape.back()}, false), {1e-5, offset}};
  c.compare(build(call), composed().norm(call));
}

void make_call(Comparison& c, int, const ByKernel<RotaryCall>& build) {
  const Sizes& s = c.sizes();
  const Shape tables = {s.sequences, s.length, s.head_dim / 2};
  const RotaryCall call{c.numbers({s.sequences, s.length, s.heads, s.head_dim}, true),
                        {c.numbers(tables, false, 1, DType::kF32), c.numbers(tables, false, 1, DType::kF32)}};
  c.compare(build(call), composed().rotary(call));
}

/** Plain, with a window, with a soft cap that bends most scores, as Gemma 2 has it, with prefixes, and of one text a sequence. */
const AttentionRule kRules[] = {{0.4, {}, {}},
                                {0.4, 3, {}},
                                {0.4, {}, 0.25},
                                {0.4, 5, 50},
                                {.scale = 0.4, .prefixes = true},
                                {.scale = 0.4, .one_text = true},
                                {.scale = 0.4, .sliding_window = 3, .one_text = true, .deterministic = true}};

/** Segments with prefixes, padding at the end of each sequence: a prefix and two texts behind it, a text of its own, a prefix
 * that all of one text is. */
Value prefix_segments(Comparison& c, int64_t sequences, int64_t length) {
  constexpr int32_t kOrder[] = {4, 5, 6, 9, 12, 13};
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < sequences; ++i)
    for (int64_t t = 0; t < length; ++t) {
      const int64_t run = t * static_cast<int64_t>(std::size(kOrder) + 1) / length;
      ids.push_back(run < static_cast<int64_t>(std::size(kOrder)) ? kOrder[run] : 0);
    }
  return c.integers(ids, {sequences, length});
}

/** One text in each sequence, with padding behind it. */
Value one_text_segments(Comparison& c) {
  const Sizes& s = c.sizes();
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < s.tokens(); ++i) ids.push_back(i % s.length + 3 < s.length ? 1 : 0);
  return c.integers(ids, {s.sequences, s.length});
}

template <>
int variants<AttentionCall>() {
  return std::size(kRules);
}
void make_call(Comparison& c, int variant, const ByKernel<AttentionCall>& build) {
  const Sizes& s = c.sizes();
  const Shape keys = {s.sequences, s.length, s.key_heads, s.head_dim};
  Value q = c.numbers({s.sequences, s.length, s.heads, s.head_dim}, true), k = c.numbers(keys, true),
        v = c.numbers(keys, true);
  const AttentionRule& rule = kRules[variant];
  const Value segments = rule.prefixes   ? prefix_segments(c, s.sequences, s.length)
                         : rule.one_text ? one_text_segments(c)
                                         : c.segments();
  const AttentionCall call{q, k, v, segments, rule};
  // What is said of padding does not matter, and differs.
  Value real = compare(Compare::kNe, call.segment_ids, full_like(call.segment_ids, 0));
  auto masked = [&](const Value& o) { return select(broadcast(real, o.shape(), {0, 1}), o, full_like(o, 0)); };
  c.compare(masked(build(call)), masked(composed().attention(call)));
}

template <>
int variants<PooledAttentionCall>() {
  return 3;
}
/** Three of the rules. */
void make_call(Comparison& c, int variant, const ByKernel<PooledAttentionCall>& build) {
  const Sizes& s = c.sizes();
  const Shape keys = {1, s.tokens(), s.key_heads, s.head_dim};
  constexpr int64_t kRows = 4;
  Value q = c.numbers({kRows, s.heads, s.head_dim}, true), k = c.numbers(keys, true), v = c.numbers(keys, true);
  std::vector<int32_t> ids, index;
  for (int64_t i = 0; i < s.tokens(); ++i) ids.push_back(static_cast<int32_t>(1 + i / s.length));
  for (int64_t row = 0; row < kRows; ++row) index.push_back(static_cast<int32_t>(row * 5 + 3));
  const AttentionRule& rule = kRules[variant == 0 ? 0 : variant + 2];
  const PooledAttentionCall call{q,
                                 k,
                                 v,
                                 rule.prefixes ? prefix_segments(c, 1, s.tokens()) : c.integers(ids, {1, s.tokens()}),
                                 places_of(c.integers(index, {kRows}), s.tokens()),
                                 rule};
  c.compare(build(call), composed().attention(call));
}

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGeluTanh};

template <>
int variants<GatedCall>() {
  return std::size(kActivations);
}
void make_call(Comparison& c, int variant, const ByKernel<GatedCall>& build) {
  const Shape shape = {c.sizes().tokens(), c.sizes().out};
  Value gate = c.numbers(shape, true, 3), up = c.numbers(shape, true);
  const GatedCall call{gate, up, kActivations[variant]};
  c.compare(build(call), composed().gated(call));
}

template <>
int variants<FeedForwardCall>() {
  return 2 * std::size(kWeights);
}
/** Llama's and Gemma's. */
void make_call(Comparison& c, int variant, const ByKernel<FeedForwardCall>& build) {
  const Weights weights = kWeights[variant / 2];
  const bool quantised = weights != Weights::kNumbers, gemma = variant % 2 == 1;
  const Sizes& s = c.sizes();
  const int64_t in = quantised ? in_groups(s.in) : s.in, wide = quantised ? in_groups(s.out) : s.out;
  auto weight = [&](int64_t rows, int64_t columns, double scale) {
    return quantised ? c.quantised(rows, columns, weights)
                     : std::pair(c.numbers({rows, columns}, false, scale), Value());
  };
  Value h = c.numbers({s.tokens(), in}, true), norm = c.numbers({in}, false);
  const auto [gate, gate_scales] = weight(wide, in, 1);
  const auto [up, up_scales] = weight(wide, in, 1);
  const auto [down, down_scales] = weight(in, wide, 0.3);
  FeedForwardCall call{h, norm, {1e-5, gemma ? 1.0 : 0.0}, gate, up, down, kActivations[variant % 2]};
  call.gate_scales = gate_scales;
  call.up_scales = up_scales;
  call.down_scales = down_scales;
  const Layers layers = composed();
  Value normed = layers.norm({h, norm, call.rule});
  Value gated = layers.gated({layers.linear(LinearCall{normed, gate, {}, some_linear(), gate_scales}),
                              layers.linear(LinearCall{normed, up, {}, some_linear(), up_scales}), call.activation});
  c.compare(build(call), add(h, layers.linear(LinearCall{gated, down, {}, some_linear(), down_scales})));
}

// --- All kernels ----------------------------------------------------------------------------------------------------

struct KernelCase {
  std::string name;
  std::function<void(Comparison&)> make;
};

void PrintTo(const KernelCase& one, std::ostream* out) {
  *out << one.name;
}

template <class Call>
void add_cases(const KernelSet& set, const char* call_name, std::vector<KernelCase>& cases) {
  for (int variant = 0; variant < variants<Call>(); ++variant)
    cases.push_back({fmt::format("{}_{}_{}", set.platform, call_name, variant),
                     [&set, variant](Comparison& c) { make_call(c, variant, ByKernel<Call>{Kernels(set)}); }});
}

std::vector<KernelCase> cases_of_cpu() {
  std::vector<KernelCase> cases;
  const KernelSet& set = cpu_kernels();
  add_cases<LinearCall>(set, "linear", cases);
  add_cases<AdaptedLinearCall>(set, "adapted_linear", cases);
  add_cases<NormCall>(set, "norm", cases);
  add_cases<RotaryCall>(set, "rotary", cases);
  add_cases<AttentionCall>(set, "attention", cases);
  add_cases<PooledAttentionCall>(set, "pooled_attention", cases);
  add_cases<GatedCall>(set, "gated", cases);
  add_cases<FeedForwardCall>(set, "feed_forward", cases);
  static_assert(std::tuple_size_v<decltype(KernelSet::layers)> == 8, "each kind of call has its cases here");
  return cases;
}

/** Those of CUDA's devices are run with their calls written out: the graph around a call is compared, not cuDNN. */
std::vector<KernelCase> all_cases() {
  std::vector<KernelCase> cases = cases_of_cpu(), others;
  add_cases<AttentionCall>(plain_attention_kernels(), "attention", others);
  for (size_t i = 0; i < others.size(); ++i) {
    if (!kRules[i].logit_softcapping) cases.push_back(others[i]);  // those are not accepted: cudnn_attention_test.cpp
  }
  return cases;
}

/** A test that runs programs with the CPU's kernels. */
template <class Case>
class WithCpuKernels : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "the plugin is not built for ThreadSanitizer, which then reports its allocations";
#endif
    register_cpu_kernels(*pjrt::Plugin::load("cpu"));
  }
};

class RegisteredKernel : public WithCpuKernels<KernelCase> {
 protected:
  void compare(const Sizes& sizes, const Mesh& mesh) {
    for (DType dtype : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(dtype_name(dtype));
      Comparison comparison(sizes, dtype);
      GetParam().make(comparison);
      comparison.run(mesh);
    }
  }
};

TEST_P(RegisteredKernel, EqualsItsComposition) {
  compare(kOdd, {});
  compare(kEven, {});
}

TEST_P(RegisteredKernel, EqualsItsCompositionWhenCutOverAMesh) {
  compare(kEven, {2, 2, 2});
  // Nothing divides: every device has all of it.
  compare(kOdd, {2, 2, 2});
}

INSTANTIATE_TEST_SUITE_P(All, RegisteredKernel, testing::ValuesIn(all_cases()),
                         [](const auto& info) { return info.param.name; });

TEST(KernelRegistry, EveryKernelIsCompared) {
  std::string texts;
  for (const KernelCase& one : cases_of_cpu()) {
    Comparison comparison(kEven, DType::kF32);
    one.make(comparison);
    texts += comparison.text();
  }
  for (const KernelDefinition& kernel : cpu_kernels().definitions) {
    const std::string& called = kernel.first_output_target.empty() ? kernel.target : kernel.first_output_target;
    EXPECT_NE(texts.find("@" + kernel.target + "("), std::string::npos) << kernel.target;
    EXPECT_NE(texts.find("@" + called + "("), std::string::npos) << called;
  }
}

TEST(KernelRegistry, TargetsAreExactlyTheFunctionsOfTheKernels) {
  std::set<std::string> handlers, targets;
  for (const FfiHandler& handler : cpu_ffi_handlers()) handlers.insert(handler.target);
  for (const KernelDefinition& kernel : cpu_kernels().definitions) {
    EXPECT_TRUE(targets.insert(kernel.target).second) << kernel.target << " is registered twice";
    if (!kernel.first_output_target.empty()) targets.insert(kernel.first_output_target);
    EXPECT_TRUE(kernel.dimensions.stated()) << kernel.target;
    EXPECT_EQ(kernel.dimensions.partial.size(), kernel.dimensions.results.size()) << kernel.target;
  }
  EXPECT_EQ(targets, handlers);
}

TEST(KernelRegistry, OnlyWhatARuleHasIsWrittenAndCounted) {
  struct Program {
    std::string text;
    double flops;
  };
  const auto program = [](const AttentionRule& rule) {
    Graph graph;
    Value q = graph.parameter(DType::kF32, {2, 12, 4, 8}, "q"), k = graph.parameter(DType::kF32, {2, 12, 2, 8}, "k"),
          v = graph.parameter(DType::kF32, {2, 12, 2, 8}, "v"),
          segments = graph.parameter(DType::kI32, {2, 12}, "segments");
    const Value o = Kernels(cpu_kernels()).try_call(AttentionCall{q, k, v, segments, rule}, {});
    return Program{emit_module(graph, {o}), graph.flops({&o, 1})};
  };
  const Program plain = program({0.5, {}, {}}), windowed = program({0.5, 3, {}}), capped = program({0.5, {}, 30});
  for (const char* name : {"window", "softcap"}) EXPECT_EQ(plain.text.find(name), std::string::npos);
  EXPECT_NE(windowed.text.find("window = 3 : i32"), std::string::npos) << windowed.text;
  EXPECT_NE(capped.text.find("softcap = 3"), std::string::npos) << capped.text;
  // No key of a row is outside of a window that is as long.
  EXPECT_EQ(program({0.5, 12, {}}).text, plain.text);
  // Two products for each pair of a query and a key that it sees, with half of the diagonal: 72 pairs, or 31.5.
  EXPECT_EQ(plain.flops, 2 * 2 * 8 * 72 * 8);
  EXPECT_EQ(windowed.flops, 2 * 2 * 8 * 31.5 * 8);
  EXPECT_EQ(capped.flops, plain.flops);
}

/** Without kernels and with the CPU's, without dropout and with it. */
class DecomposedLinear : public WithCpuKernels<std::tuple<bool, bool>> {};

/** A quantised weight's rows have lengths too. */
TEST_P(DecomposedLinear, OfAQuantisedWeightIsThatOfItsNumbers) {
  const auto [kernels, dropout] = GetParam();
  Comparison c(kEven, DType::kF32);
  const AdaptedLinearCall call = adapted_call(c, true, true, dropout, Weights::kInt8);
  AdaptedLinearCall plain = call;
  plain.linear.weight = dequantised(call.linear.weight, call.linear.scales, DType::kF32);
  plain.linear.scales = Value();
  const Value magnitude = c.numbers({kEven.out}, true);
  const Layers layers(kernels ? Kernels(cpu_kernels()) : Kernels(), one_device());
  c.compare(layers.linear(DecomposedLinearCall{call, magnitude}),
            composed().linear(DecomposedLinearCall{plain, magnitude}));
  c.run({});
}

TEST_P(DecomposedLinear, IsPeftsFormula) {
  const auto [kernels, dropout] = GetParam();
  Comparison c(kOdd, DType::kF32);
  const AdaptedLinearCall call = adapted_call(c, true, true, dropout, Weights::kNumbers);
  const Value magnitude = c.numbers({kOdd.out}, true), x = call.linear.x, dropped = call.dropout(x);
  // magnitude / |W + s B A| by rows, the length a constant.
  Value sum = add(call.linear.weight, mul(matmul_nt(call.lora_b, transpose(call.lora_a, {1, 0})), call.scaling));
  Value length = sqrt(reduce_sum(mul(sum, sum), {1}));
  Value factor = broadcast_last(div(magnitude, stop_gradient(length)), {kOdd.tokens(), kOdd.out});
  // W x + bias, then what PEFT adds: (factor - 1) W x' + factor s B A x'.
  Value base = add(matmul_nt(x, call.linear.weight), broadcast_last(call.linear.bias, factor.shape()));
  Value adapter = mul(matmul_nt(matmul_nt(dropped, call.lora_a), call.lora_b), call.scaling);
  Value added = add(mul(add(factor, -1), matmul_nt(dropped, call.linear.weight)), mul(factor, adapter));
  const Layers layers(kernels ? Kernels(cpu_kernels()) : Kernels(), one_device());
  c.compare(layers.linear(DecomposedLinearCall{call, magnitude}), add(base, added));
  c.run({});
}

INSTANTIATE_TEST_SUITE_P(All, DecomposedLinear, testing::Combine(testing::Bool(), testing::Bool()));

TEST(KernelRegistry, APlatformWithoutKernelsIsPlain) {
  EXPECT_TRUE(Kernels::of_platform("tpu").plain());
  // cuDNN's attention begins with Ampere.
  EXPECT_TRUE(Kernels::of_platform("cuda", 75).plain());
  EXPECT_EQ(Kernels::of_platform("cuda", 80).name(), "cuda");
  EXPECT_EQ(Kernels::of_platform("cpu").name(), "cpu");
  EXPECT_EQ(Kernels().name(), "plain");
  EXPECT_THROW(cpu_kernels().definition("gavel_unknown"), Error);
}

TEST(KernelRegistry, AnUnknownCustomCallUnderAMeshIsRefused) {
  Graph graph;
  Value x = graph.parameter(DType::kF32, {8, 4}, "x");
  Value y = call_kernel(Kernel{"somebody_elses_kernel", {}, {}, 0}, {x}, {x.type()})[0];
  EXPECT_NO_THROW(emit_module(graph, {y}));
  ModuleOptions options;
  options.sharding = ModuleSharding{{2, 2, 2}, {{{}, {}}}, {{{}, {}}}};
  try {
    emit_module(graph, {y}, options);
    FAIL() << "it was emitted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("somebody_elses_kernel: nothing says how this kernel is cut"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace gavel

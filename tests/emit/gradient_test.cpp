// Every gradient rule against central differences in float64, on the CPU plugin.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/random.h"
#include "emit/plugin_runner.h"
#include "graph/gradients.h"
#include "graph/ops.h"
#include "graph/scan.h"
#include "nn/attention.h"
#include "nn/layers.h"

namespace gavel {
namespace {

using Values = std::vector<Value>;

struct GradientCase {
  std::string name;
  std::vector<Shape> inputs;
  std::function<Value(Values)> build;
  double low = -1.5, high = 1.5;  // range of the random inputs
};

void PrintTo(const GradientCase& c, std::ostream* out) {
  *out << c.name;
}

class GradientRule : public testing::TestWithParam<GradientCase> {};

TEST_P(GradientRule, MatchesCentralDifferences) {
  const GradientCase& c = GetParam();
  Graph graph;
  Values inputs;
  Random random(mix64(std::hash<std::string>{}(c.name)));
  std::vector<HostTensor> points;
  for (const Shape& shape : c.inputs) {
    inputs.push_back(graph.parameter(DType::kF64, shape, "x"));
    std::vector<double> values;
    for (int64_t i = 0; i < num_elements(shape); ++i) values.push_back(c.low + (c.high - c.low) * random.uniform());
    points.push_back(HostTensor::from(values, shape));
  }
  Value out = c.build(inputs);
  // Weights that differ make a wrong permutation of the result visible.
  Value flat = reshape(out, {num_elements(out.shape())});
  Value weights = sin(add(mul(iota(graph, DType::kF64, flat.shape(), 0), 0.7), 0.3));
  Value loss = reduce_sum(mul(flat, weights), {0});
  Values found = gradients(loss, inputs);
  CompiledGraph backward(graph, found), forward(graph, {loss});
  std::vector<HostTensor> gradient = backward.run(points);

  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < points.size(); ++i) {
    for (int64_t j = 0; j < points[i].size(); ++j) {
      double sides[2];
      for (int side = 0; side < 2; ++side) {
        std::vector<HostTensor> moved = points;
        auto span = points[i].as<double>();
        std::vector<double> values(span.begin(), span.end());
        values[static_cast<size_t>(j)] += side == 0 ? -kStep : kStep;
        moved[i] = HostTensor::from(values, points[i].shape());
        sides[side] = forward.run(moved)[0].as<double>()[0];
      }
      double expected = (sides[1] - sides[0]) / (2 * kStep);
      EXPECT_NEAR(gradient[i].as<double>()[static_cast<size_t>(j)], expected, 1e-7 * std::max(1.0, std::fabs(expected)))
          << "input " << i << " element " << j;
    }
  }
}

Value indices(Graph& graph, const std::vector<double>& values) {
  return constant(graph, DType::kI32, values);
}

Value scan_case(const Values& x, bool reverse) {
  // Two carries, a stacked input, a constant, a stacked result and the index all take part.
  auto body = [](const ScanInput& in) {
    Value a = in.carries[0], b = in.carries[1];
    Value i = broadcast_scalar(convert(in.index, DType::kF64), a.shape());
    Value next = tanh(add(mul(a, in.slices[0]), mul(b, in.constants[0])));
    return ScanOutput{{next, add(b, mul(next, mul(i, 0.3)))}, {mul(next, b)}};
  };
  ScanResult r = scan(x[0].graph(), 3, {x[0], x[1]}, {x[2]}, {x[3]}, body, reverse);
  return concatenate({r.carries[0], r.carries[1], reshape(r.stacked[0], {6})}, 0);
}

std::vector<GradientCase> cases() {
  auto unary = [](Value (*op)(const Value&)) { return [op](Values x) { return op(x[0]); }; };
  auto binary = [](Value (*op)(const Value&, const Value&)) { return [op](Values x) { return op(x[0], x[1]); }; };
  Shape s = {2, 3};
  std::vector<GradientCase> all = {
      {"add", {s, s}, binary(add)},
      {"sub", {s, s}, binary(sub)},
      {"mul", {s, s}, binary(mul)},
      {"div", {s, s}, binary(div), 0.5, 2},
      {"maximum", {s, s}, binary(maximum)},
      {"minimum", {s, s}, binary(minimum)},
      {"square_shared", {s}, [](Values x) { return mul(x[0], x[0]); }},
      {"neg", {s}, unary(neg)},
      {"exp", {s}, unary(exp)},
      {"log", {s}, unary(log), 0.5, 2},
      {"log1p", {s}, unary(log1p), -0.5, 2},
      {"sqrt", {s}, unary(sqrt), 0.5, 2},
      {"rsqrt", {s}, unary(rsqrt), 0.5, 2},
      {"logistic", {s}, unary(logistic)},
      {"tanh", {s}, unary(tanh)},
      {"sin", {s}, unary(sin)},
      {"cos", {s}, unary(cos)},
      {"abs", {s}, unary(abs)},
      {"select",
       {s, s},
       [](Values x) { return select(compare(Compare::kLt, x[0], full_like(x[0], 0.1)), x[0], x[1]); }},
      {"stop_gradient", {s}, [](Values x) { return add(x[0], sub(stop_gradient(x[0]), stop_gradient(x[0]))); }},
      {"reshape", {s}, [](Values x) { return reshape(x[0], {3, 2}); }},
      {"transpose", {{2, 3, 2}}, [](Values x) { return transpose(x[0], {2, 0, 1}); }},
      {"broadcast_new", {{3}}, [](Values x) { return broadcast(x[0], {2, 3, 2}, {1}); }},
      {"broadcast_one", {{2, 1}}, [](Values x) { return broadcast(x[0], {2, 3}, {0, 1}); }},
      {"broadcast_scalar", {{}}, [](Values x) { return broadcast_scalar(x[0], {2, 2}); }},
      {"slice", {{3, 4}}, [](Values x) { return slice(x[0], {1, 0}, {3, 2}); }},
      {"concatenate", {{2, 2}, {2, 1}}, [](Values x) { return concatenate({x[0], x[1], x[0]}, 1); }},
      {"pad", {s}, [](Values x) { return pad(x[0], {1, 0}, {0, 2}); }},
      {"unstack_one_unused", {{3, 2}}, [](Values x) { return add(unstack(x[0])[0], unstack(x[0])[2]); }},
      {"stack", {{2}, {2}}, [](Values x) { return stack({x[0], x[1], x[0]}); }},
      {"reduce_sum", {{2, 3, 2}}, [](Values x) { return reduce_sum(x[0], {0, 2}); }},
      {"reduce_max", {{2, 3, 2}}, [](Values x) { return reduce_max(x[0], {1}); }},
      {"dot_plain", {{2, 3}, {3, 4}}, [](Values x) { return dot(x[0], x[1], {{}, {}, {1}, {0}}); }},
      {"dot_batch", {{2, 3, 2}, {2, 2, 4}}, [](Values x) { return dot(x[0], x[1], {{0}, {0}, {2}, {1}}); }},
      {"dot_batch_inner", {{3, 2, 2}, {4, 2, 2}}, [](Values x) { return dot(x[0], x[1], {{2}, {1}, {1}, {2}}); }},
      {"dot_two_contracted",
       {{2, 3, 4}, {4, 2, 2}},
       [](Values x) { return dot(x[0], x[1], {{}, {}, {0, 2}, {1, 0}}); }},
      {"take", {{4, 2}}, [](Values x) { return take(x[0], reshape(indices(x[0].graph(), {1, 3, 1, 0}), {2, 2})); }},
      {"scatter_add", {{4, 2}}, [](Values x) { return scatter_add(indices(x[0].graph(), {1, 2, 1, 0}), x[0], 3); }},
      {"scan", {{2}, {2}, {3, 2}, {2}}, [](Values x) { return scan_case(x, false); }},
      {"scan_reverse", {{2}, {2}, {3, 2}, {2}}, [](Values x) { return scan_case(x, true); }},
      {"scan_of_a_longer_stack", {{2}, {2}, {5, 2}, {2}}, [](Values x) { return scan_case(x, false); }},
      {"scan_reverse_of_a_longer_stack", {{2}, {2}, {5, 2}, {2}}, [](Values x) { return scan_case(x, true); }},
      {"silu", {s}, unary(silu)},
      {"softmax", {s}, unary(softmax)},
      {"log_softmax", {s}, unary(log_softmax)},
      {"rms_norm", {{2, 4}, {4}}, [](Values x) { return rms_norm(x[0], x[1], 1e-5); }},
      {"matmul_nt", {{2, 3}, {4, 3}}, [](Values x) { return matmul_nt(x[0], x[1]); }},
      {"rotary",
       {{1, 3, 2, 4}},
       [](Values x) {
         Rotary r = rotary_angles(reshape(indices(x[0].graph(), {0, 1, 5}), {1, 3}), {1.0, 0.1});
         r = {convert(r.cos, DType::kF64), convert(r.sin, DType::kF64)};
         return apply_rotary({x[0], r});
       }},
      {"attention_blocks_and_segments",
       {{2, 5, 4, 2}, {2, 5, 2, 2}, {2, 5, 2, 2}},
       [](Values x) {
         Value segments = reshape(indices(x[0].graph(), {1, 1, 2, 2, 2, 1, 1, 1, 0, 0}), {2, 5});
         return causal_attention({x[0], x[1], x[2], segments, {0.7}}, 2);
       }},
      // Three blocks of two, the last of them padded.
      {"blockwise_attention",
       {{2, 5, 4, 2}, {2, 5, 2, 2}, {2, 5, 2, 2}},
       [](Values x) {
         Value segments = reshape(indices(x[0].graph(), {1, 1, 2, 2, 2, 1, 1, 1, 0, 0}), {2, 5});
         return blockwise_attention({x[0], x[1], x[2], segments, {0.7}}, 2);
       }},
      {"gathered_attention",
       {{3, 4, 2}, {2, 5, 2, 2}, {2, 5, 2, 2}},
       [](Values x) {
         Value segments = reshape(indices(x[0].graph(), {1, 1, 2, 2, 2, 1, 1, 1, 0, 0}), {2, 5});
         return gathered_attention(
             {x[0], x[1], x[2], segments, places_of(indices(x[0].graph(), {1, 4, 5 + 2}), 5), {0.7}});
       }},
      {"attention_with_window_and_soft_cap",
       {{2, 5, 4, 2}, {2, 5, 2, 2}, {2, 5, 2, 2}},
       [](Values x) {
         Value segments = reshape(indices(x[0].graph(), {1, 1, 1, 1, 2, 1, 1, 1, 0, 0}), {2, 5});
         return causal_attention({x[0], x[1], x[2], segments, {0.7, 2, 0.5}}, 2);
       }},
      {"blockwise_attention_with_window_and_soft_cap",
       {{2, 5, 4, 2}, {2, 5, 2, 2}, {2, 5, 2, 2}},
       [](Values x) {
         Value segments = reshape(indices(x[0].graph(), {1, 1, 1, 1, 2, 1, 1, 1, 0, 0}), {2, 5});
         return blockwise_attention({x[0], x[1], x[2], segments, {0.7, 2, 0.5}}, 2);
       }},
      {"gathered_attention_with_window_and_soft_cap",
       {{3, 4, 2}, {2, 5, 2, 2}, {2, 5, 2, 2}},
       [](Values x) {
         Value segments = reshape(indices(x[0].graph(), {1, 1, 1, 1, 2, 1, 1, 1, 0, 0}), {2, 5});
         return gathered_attention(
             {x[0], x[1], x[2], segments, places_of(indices(x[0].graph(), {1, 3, 5 + 2}), 5), {0.7, 2, 0.5}});
       }},
      {"norm_with_offset", {{2, 4}, {4}}, [](Values x) { return norm_composition({x[0], x[1], {1e-5, 1}}); }},
      {"gelu_tanh", {s}, unary(gelu_tanh)},
  };
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, GradientRule, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

TEST(Gradients, ConvertPassesThroughFloatsOnly) {
  Graph graph;
  Value x = graph.parameter(DType::kF64, {2}, "x");
  Value narrow = convert(mul(x, 3), DType::kBF16);
  Value whole = convert(convert(convert(x, DType::kI32), DType::kF64), DType::kBF16);
  Value loss = reduce_sum(convert(add(narrow, whole), DType::kF64), {0});
  auto gradient =
      CompiledGraph(graph, gradients(loss, std::vector{x})).run({HostTensor::from<double>({0.5, 1.5}, {2})});
  EXPECT_EQ(gradient[0].as<double>()[0], 3);
  EXPECT_EQ(gradient[0].as<double>()[1], 3);
}

TEST(Gradients, WhatTheLossDoesNotUseGetsZeros) {
  Graph graph;
  Value x = graph.parameter(DType::kF32, {2}, "x"), y = graph.parameter(DType::kF32, {3}, "y");
  Value loss = reduce_sum(x, {0});
  int32_t before = graph.size();
  auto found = gradients(loss, std::vector{x, y});
  EXPECT_EQ(found[1].shape(), Shape{3});
  EXPECT_LE(graph.size() - before, 4);
  EXPECT_THROW(gradients(x, std::vector{x}), Error);
}

TEST(Gradients, FrozenWeightsGetNoProducts) {
  Graph graph;
  Value x = graph.parameter(DType::kF32, {4, 8}, "x"), frozen = graph.parameter(DType::kF32, {8, 8}, "w"),
        trained = graph.parameter(DType::kF32, {2, 8}, "a");
  Value out = matmul_nt(tanh(matmul_nt(x, frozen)), trained);
  Value loss = reduce_sum(out, {0, 1});
  auto found = gradients(loss, std::vector{trained});
  // Forward 2*4*8*8 + 2*4*8*2, backward only the product for `trained`.
  EXPECT_EQ(graph.flops(std::vector{loss, found[0]}), 2 * 4 * 8 * 8 + 2 * 4 * 8 * 2 + 2 * 4 * 8 * 2);
}

}  // namespace
}  // namespace gavel

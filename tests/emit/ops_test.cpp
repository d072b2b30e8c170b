// Every op run on the CPU plugin against values computed here, shape errors, and the text itself.
#include "graph/ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "emit/plugin_runner.h"
#include "graph/scan.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<double> doubles(const HostTensor& tensor) {
  auto span = tensor.as<double>();
  return {span.begin(), span.end()};
}

std::vector<int32_t> ints(const HostTensor& tensor) {
  auto span = tensor.as<int32_t>();
  return {span.begin(), span.end()};
}

std::string message(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Ops, ElementwiseValues) {
  struct Case {
    std::string name;
    std::function<Value(Value, Value)> build;
    std::function<double(double, double)> expected;
  };
  auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  std::vector<Case> cases = {
      {"add", [](Value a, Value b) { return add(a, b); }, [](double a, double b) { return a + b; }},
      {"sub", [](Value a, Value b) { return sub(a, b); }, [](double a, double b) { return a - b; }},
      {"mul", [](Value a, Value b) { return mul(a, b); }, [](double a, double b) { return a * b; }},
      {"div", [](Value a, Value b) { return div(a, b); }, [](double a, double b) { return a / b; }},
      {"maximum", [](Value a, Value b) { return maximum(a, b); }, [](double a, double b) { return std::max(a, b); }},
      {"minimum", [](Value a, Value b) { return minimum(a, b); }, [](double a, double b) { return std::min(a, b); }},
      {"neg", [](Value a, Value) { return neg(a); }, [](double a, double) { return -a; }},
      {"exp", [](Value a, Value) { return exp(a); }, [](double a, double) { return std::exp(a); }},
      {"log", [](Value a, Value) { return log(a); }, [](double a, double) { return std::log(a); }},
      {"log1p", [](Value a, Value) { return log1p(a); }, [](double a, double) { return std::log1p(a); }},
      {"sqrt", [](Value a, Value) { return sqrt(a); }, [](double a, double) { return std::sqrt(a); }},
      {"rsqrt", [](Value a, Value) { return rsqrt(a); }, [](double a, double) { return 1 / std::sqrt(a); }},
      {"logistic", [](Value a, Value) { return logistic(a); }, [&](double a, double) { return sigmoid(a); }},
      {"tanh", [](Value a, Value) { return tanh(a); }, [](double a, double) { return std::tanh(a); }},
      {"sin", [](Value a, Value) { return sin(a); }, [](double a, double) { return std::sin(a); }},
      {"cos", [](Value a, Value) { return cos(a); }, [](double a, double) { return std::cos(a); }},
      {"abs", [](Value, Value b) { return abs(b); }, [](double, double b) { return std::fabs(b); }},
      {"silu", [](Value a, Value) { return silu(a); }, [&](double a, double) { return a * sigmoid(a); }},
      {"select", [](Value a, Value b) { return select(compare(Compare::kGt, a, b), a, full_like(b, 7)); },
       [](double a, double b) { return a > b ? a : 7; }},
      {"less_or_equal", [](Value a, Value b) { return select(compare(Compare::kLe, a, b), b, a); },
       [](double a, double b) { return a <= b ? b : a; }},
  };
  Graph graph;
  Value a = graph.parameter(DType::kF64, {3}, "a"), b = graph.parameter(DType::kF64, {3}, "b");
  std::vector<Value> outputs;
  for (const Case& c : cases) outputs.push_back(c.build(a, b));
  std::vector<double> x = {0.5, 1.25, 3}, y = {-1, 1.25, 2};
  auto found = CompiledGraph(graph, outputs).run({HostTensor::from(x, {3}), HostTensor::from(y, {3})});
  for (size_t i = 0; i < cases.size(); ++i)
    for (size_t j = 0; j < 3; ++j)
      EXPECT_NEAR(doubles(found[i])[j], cases[i].expected(x[j], y[j]), 1e-14) << cases[i].name;
}

/** What it is for beside log(add(x, 1)), which is 0 here. */
TEST(Ops, Log1pKeepsSmallNumbers) {
  Graph graph;
  Value x = graph.parameter(DType::kF64, {2}, "x");
  auto found = CompiledGraph(graph, {log1p(x)}).run({HostTensor::from<double>({1e-20, -1e-20}, {2})});
  EXPECT_THAT(doubles(found[0]), ElementsAre(1e-20, -1e-20));
}

TEST(Ops, IntegerValues) {
  Graph graph;
  Value a = graph.parameter(DType::kU32, {2}, "a"), b = graph.parameter(DType::kU32, {2}, "b");
  auto out = CompiledGraph(graph, {bit_and(a, b), bit_xor(a, b), shift_right_logical(a, b), mul(a, b)})
                 .run({HostTensor::from<uint32_t>({0xffffffffu, 12}, {2}), HostTensor::from<uint32_t>({4, 2}, {2})});
  auto at = [&](size_t i) { return std::vector<uint32_t>(out[i].as<uint32_t>().begin(), out[i].as<uint32_t>().end()); };
  EXPECT_THAT(at(0), ElementsAre(4u, 0u));
  EXPECT_THAT(at(1), ElementsAre(0xfffffffbu, 14u));
  EXPECT_THAT(at(2), ElementsAre(0x0fffffffu, 3u));
  EXPECT_THAT(at(3), ElementsAre(0xfffffffcu, 24u));
}

TEST(Ops, ShapesAndIndices) {
  Graph graph;
  Value x = graph.parameter(DType::kF64, {2, 3}, "x");
  Value rows = constant(graph, DType::kI32, {1, 0, 1});
  std::vector<Value> outputs = {
      transpose(x, {1, 0}),
      broadcast(slice_dim(x, 0, 0, 1), {2, 3}, {0, 1}),
      concatenate({x, slice_dim(x, -1, 2, 3)}, 1),
      pad(x, {0, 1}, {1, 0}),
      reduce_sum(x, {1}),
      reduce_max(x, {0}),
      take(x, rows),
      scatter_add(rows, reshape(iota(graph, DType::kF64, {3, 1}, 0), {3, 1}), 2),
      iota(graph, DType::kF64, {2, 2}, 1),
      dot(x, x, {{}, {}, {1}, {1}}),
      unstack(x)[1],
      convert(convert(x, DType::kI32), DType::kF64),
  };
  auto out = CompiledGraph(graph, outputs).run({HostTensor::from<double>({1, 2, 3, 4, 5, 6.5}, {2, 3})});
  EXPECT_THAT(doubles(out[0]), ElementsAre(1, 4, 2, 5, 3, 6.5));
  EXPECT_THAT(doubles(out[1]), ElementsAre(1, 2, 3, 1, 2, 3));
  EXPECT_THAT(doubles(out[2]), ElementsAre(1, 2, 3, 3, 4, 5, 6.5, 6.5));
  EXPECT_THAT(doubles(out[3]), ElementsAre(0, 1, 2, 3, 0, 4, 5, 6.5, 0, 0, 0, 0));
  EXPECT_THAT(doubles(out[4]), ElementsAre(6, 15.5));
  EXPECT_THAT(doubles(out[5]), ElementsAre(4, 5, 6.5));
  EXPECT_THAT(doubles(out[6]), ElementsAre(4, 5, 6.5, 1, 2, 3, 4, 5, 6.5));
  EXPECT_THAT(doubles(out[7]), ElementsAre(1, 2));
  EXPECT_THAT(doubles(out[8]), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(doubles(out[9]), ElementsAre(14, 33.5, 33.5, 83.25));
  EXPECT_THAT(doubles(out[10]), ElementsAre(4, 5, 6.5));
  EXPECT_THAT(doubles(out[11]), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(Ops, ScanRunsInBothDirections) {
  Graph graph;
  Value xs = graph.parameter(DType::kI32, {3}, "xs"), start = graph.parameter(DType::kI32, {}, "start");
  auto body = [](const ScanInput& in) {
    Value next = add(mul(in.carries[0], 10), in.slices[0]);
    return ScanOutput{{next}, {add(in.index, mul(next, 0))}};
  };
  std::vector<Value> outputs;
  for (bool reverse : {false, true}) {
    ScanResult r = scan(graph, 3, {start}, {xs}, {}, body, reverse);
    outputs.push_back(r.carries[0]);
    outputs.push_back(r.stacked[0]);
  }
  auto out = CompiledGraph(graph, outputs)
                 .run({HostTensor::from<int32_t>({1, 2, 3}, {3}), HostTensor::from<int32_t>({9}, {})});
  EXPECT_THAT(ints(out[0]), ElementsAre(9123));
  EXPECT_THAT(ints(out[1]), ElementsAre(0, 1, 2));
  EXPECT_THAT(ints(out[2]), ElementsAre(9321));
  EXPECT_THAT(ints(out[3]), ElementsAre(0, 1, 2));
}

TEST(Ops, ConstantsKeepTheirBits) {
  Graph graph;
  std::vector<double> values = {0.1, -1e-30, 3.4028234e38, std::numeric_limits<double>::infinity(), -0.0};
  auto out = CompiledGraph(graph, {constant(graph, DType::kF32, values), constant(graph, DType::kF64, values)}).run({});
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(out[0].as<float>()[i], static_cast<float>(values[i]));
    EXPECT_EQ(out[1].as<double>()[i], values[i]);
  }
  EXPECT_TRUE(std::signbit(out[0].as<float>()[4]));
}

TEST(Ops, ShapeMistakesNameTheOpAndBothShapes) {
  Graph graph, other;
  Value a = graph.parameter(DType::kF32, {2, 3}, "a"), b = graph.parameter(DType::kF32, {3, 2}, "b");
  Value i = graph.parameter(DType::kI32, {2, 3}, "i");
  EXPECT_THAT(message([&] { add(a, b); }),
              testing::AllOf(HasSubstr("add:"), HasSubstr("2x3xf32"), HasSubstr("3x2xf32")));
  EXPECT_THAT(message([&] { bit_and(a, a); }), HasSubstr("and:"));
  EXPECT_THAT(message([&] { exp(i); }), HasSubstr("exponential:"));
  EXPECT_THAT(message([&] { reshape(a, {4}); }), HasSubstr("reshape: [2, 3] can't become [4]"));
  EXPECT_THAT(message([&] { transpose(a, {0, 0}); }), HasSubstr("transpose:"));
  EXPECT_THAT(message([&] { broadcast(a, {2, 4}, {0, 1}); }), HasSubstr("broadcast_in_dim:"));
  EXPECT_THAT(message([&] { slice(a, {0, 0}, {3, 3}); }), HasSubstr("slice:"));
  EXPECT_THAT(message([&] { concatenate({a, b}, 0); }), HasSubstr("concatenate:"));
  EXPECT_THAT(message([&] { pad(a, {0}, {0}); }), HasSubstr("pad:"));
  EXPECT_THAT(message([&] { reduce_sum(a, {2}); }), HasSubstr("reduce_sum:"));
  EXPECT_THAT(message([&] { dot(a, a, {{}, {}, {1}, {0}}); }), HasSubstr("contracted dimensions differ"));
  EXPECT_THAT(message([&] { take(a, a); }), HasSubstr("take:"));
  EXPECT_THAT(message([&] { select(a, a, a); }), HasSubstr("select:"));
  EXPECT_THAT(message([&] { rms_norm(a, b, 1e-5); }), HasSubstr("rms_norm:"));
  EXPECT_THAT(message([&] { add(a, other.parameter(DType::kF32, {2, 3}, "c")); }), HasSubstr("another graph"));
  EXPECT_THAT(message([&] {
                scan(graph, 2, {a}, {}, {},
                     [](const ScanInput& in) { return ScanOutput{{transpose(in.carries[0], {1, 0})}, {}}; });
              }),
              HasSubstr("scan: carry 0"));
}

TEST(Module, TextIsTheSameEveryTimeAndLeavesOutWhatNothingNeeds) {
  auto build = [] {
    Graph graph;
    Value x = graph.parameter(DType::kF32, {2}, "x");
    graph.parameter(DType::kF32, {2}, "unused");
    mul(x, 5);
    return emit_module(graph, {add(x, 1.5)}, {"tiny", {{0, 0}}});
  };
  EXPECT_EQ(build(),
            "module @tiny {\n"
            "  func.func public @main(%arg0: tensor<2xf32> {tf.aliasing_output = 0 : i32}, %arg1: "
            "tensor<2xf32>) -> "
            "(tensor<2xf32>) {\n"
            "    %0 = stablehlo.constant dense<1.500000000e+00> : tensor<2xf32>\n"
            "    %1 = stablehlo.add %arg0, %0 : tensor<2xf32>\n"
            "    return %1 : tensor<2xf32>\n"
            "  }\n"
            "}\n");
  EXPECT_EQ(build(), build());
}

TEST(Module, RefusesDonationsThatDoNotFit) {
  Graph graph;
  Value x = graph.parameter(DType::kF32, {2}, "x"), y = graph.parameter(DType::kF32, {3}, "y");
  EXPECT_THROW(emit_module(graph, {y}, {"m", {{0, 0}}}), Error);
  EXPECT_THROW(emit_module(graph, {x, x}, {"m", {{0, 0}, {0, 1}}}), Error);
  EXPECT_THROW(emit_module(graph, {x}, {"m", {{5, 0}}}), Error);
}

}  // namespace
}  // namespace gavel

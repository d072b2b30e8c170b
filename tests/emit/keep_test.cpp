// What keep() spares a scan's gradient changes no number of it.
#include "graph/keep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "emit/plugin_runner.h"
#include "graph/custom_gradient.h"
#include "graph/gradients.h"
#include "graph/ops.h"
#include "graph/scan.h"

namespace gavel {
namespace {

using Values = std::vector<Value>;
/** Marks a value, or not, by the number of the place where it stands. */
using Mark = std::function<Value(int place, const Value&)>;

/** An op with a rule of its own that reads both of what it gives. */
Values scaled_sine(const Value& x) {
  return with_gradient(
      "scaled_sine", {x}, [](const Values& in) { return Values{mul(sin(in[0]), 2), cos(in[0])}; },
      [](const GradientContext& context) {
        Value dy = mul(context.output_gradients[0], mul(context.outputs[1], 2));
        // Zero, by way of the first output.
        return Values{add(dy, mul(sub(context.outputs[0], mul(sin(context.inputs[0]), 2)), 0))};
      });
}

/** A loop of two carries, stacked inputs, a constant and a stacked result, whose body has a loop of its own. */
Values loss_gradients(Graph& graph, const Mark& mark, bool reverse) {
  Value x = graph.parameter(DType::kF64, {3, 4}, "x"), w = graph.parameter(DType::kF64, {5, 4, 4}, "w"),
        c = graph.parameter(DType::kF64, {3, 4}, "c");
  auto body = [&](const ScanInput& in) {
    Value product = mark(0, matmul_nt(in.carries[0], in.slices[0]));
    Value turned = mark(1, transpose(reshape(tanh(product), {3, 2, 2}), {1, 0, 2}));
    Values sine = scaled_sine(reshape(transpose(turned, {1, 0, 2}), {3, 4}));
    mark(2, sine[1]);
    auto inner = [&](const ScanInput& step) {
      return ScanOutput{{mark(3, mul(step.carries[0], tanh(add(step.carries[0], step.constants[0]))))}, {}};
    };
    Value looped = mark(4, scan(in.graph, 2, {sine[0]}, {}, {in.constants[0]}, inner).carries[0]);
    Value next = add(in.carries[0], mul(looped, 0.3));
    return ScanOutput{{next, add(in.carries[1], mul(product, next))}, {mul(next, looped)}};
  };
  ScanResult r = scan(graph, 5, {x, full_like(x, 0.5)}, {w}, {c}, body, reverse);
  Value loss =
      add(reduce_sum(mul(r.carries[0], r.carries[1]), {0, 1}), reduce_sum(mul(r.stacked[0], r.stacked[0]), {0, 1, 2}));
  Values outputs = gradients(loss, Values{x, w, c});
  outputs.push_back(loss);
  return outputs;
}

std::vector<HostTensor> run(const Mark& mark, bool reverse) {
  Graph graph;
  Values outputs = loss_gradients(graph, mark, reverse);
  Random random(7);
  std::vector<HostTensor> inputs;
  for (const Value& parameter : graph.parameters()) {
    std::vector<double> numbers;
    for (int64_t i = 0; i < num_elements(parameter.shape()); ++i) numbers.push_back(random.uniform() - 0.5);
    inputs.push_back(HostTensor::from(numbers, parameter.shape()));
  }
  return CompiledGraph(graph, outputs).run(inputs);
}

void expect_numbers_of_computing_again(const std::vector<int>& places, bool reverse) {
  auto marked = [&](int place, const Value& value) {
    return std::find(places.begin(), places.end(), place) == places.end() ? value : keep(value);
  };
  auto expected = run([](int, const Value& value) { return value; }, reverse), found = run(marked, reverse);
  for (size_t i = 0; i < expected.size(); ++i) {
    auto want = expected[i].as<double>(), have = found[i].as<double>();
    for (size_t j = 0; j < want.size(); ++j)
      EXPECT_NEAR(have[j], want[j], 1e-13 * std::max(1.0, std::abs(want[j]))) << i << ' ' << j;
  }
}

TEST(Keep, NumbersAreThoseOfComputingAgain) {
  expect_numbers_of_computing_again({0, 1, 2, 3, 4}, false);
}

TEST(Keep, NumbersAreThoseOfComputingAgainInReverse) {
  expect_numbers_of_computing_again({1, 2, 4}, true);
}

}  // namespace
}  // namespace gavel

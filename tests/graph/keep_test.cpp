// What a scan's gradient reads instead of computing it again, by the text of its loops.
#include "graph/keep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "graph/custom_gradient.h"
#include "graph/gradients.h"
#include "graph/ops.h"
#include "graph/printer.h"
#include "graph/scan.h"

namespace gavel {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string text_of(const Graph& graph, const std::vector<Value>& outputs) {
  Printer printer;
  std::vector<std::string> arguments;
  for (size_t i = 0; i < graph.parameters().size(); ++i) arguments.push_back(fmt::format("%arg{}", i));
  printer.print_nodes(graph, outputs, arguments);
  return printer.text();
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

struct Loops {
  std::string forward, both;  // without and with the gradient
  double flops = 0;           // with it
};

/** x [3, 4] goes through 5 layers x + tanh(x W) U, of which `mark` marks the product or what it is shown. */
Loops layers(Value (*mark)(const Value&)) {
  Graph graph;
  Value x = graph.parameter(DType::kF32, {3, 4}, "x"), w = graph.parameter(DType::kF32, {5, 6, 4}, "w"),
        u = graph.parameter(DType::kF32, {5, 4, 6}, "u");
  auto body = [&](const ScanInput& in) {
    Value inner = mark(matmul_nt(in.carries[0], in.slices[0]));
    return ScanOutput{{add(in.carries[0], matmul_nt(tanh(inner), in.slices[1]))}, {}};
  };
  Value y = scan(graph, 5, {x}, {w, u}, {}, body).carries[0];
  Value loss = reduce_sum(mul(y, y), {0, 1});
  std::vector<Value> outputs = gradients(loss, std::vector{x, w, u});
  Loops found;
  found.forward = text_of(graph, {loss});
  outputs.push_back(loss);
  found.both = text_of(graph, outputs);
  found.flops = graph.flops(outputs);
  return found;
}

Value unmarked(const Value& value) {
  return value;
}

TEST(Keep, TheMarkedProductIsNotInTheGradientsLoop) {
  const Loops plain = layers(unmarked), kept = layers(keep);
  // Two products forward, one of them again, and two for each of them going back.
  EXPECT_EQ(count(plain.both, "dot_general"), 7U);
  EXPECT_EQ(count(kept.both, "dot_general"), 6U);
  EXPECT_THAT(plain.both, Not(HasSubstr("tensor<5x3x6xf32>")));
  EXPECT_THAT(kept.both, HasSubstr("tensor<5x3x6xf32>"));
  EXPECT_EQ(plain.flops - kept.flops, 5 * 2.0 * 3 * 4 * 6);
}

TEST(Keep, NothingIsStackedWhereNoGradientIsTaken) {
  EXPECT_EQ(layers(keep).forward, layers(unmarked).forward);
}

TEST(Keep, WhatTheGradientDoesNotReadIsNotStacked) {
  // tanh's gradient reads what it gave, so the product below it is not needed.
  auto both = [](const Value& value) { return add(keep(tanh(keep(value))), 0); };
  const Loops kept = layers(+both);
  EXPECT_EQ(count(kept.both, "dot_general"), 6U);
  Loops outer = layers(+[](const Value& value) { return add(keep(tanh(value)), 0); });
  EXPECT_EQ(kept.both, outer.both);
}

TEST(Keep, ReshapesAndTransposesAreLookedThrough) {
  const Loops through = layers(+[](const Value& value) {
    return reshape(transpose(keep(transpose(reshape(value, {3, 2, 3}), {1, 0, 2})), {1, 0, 2}), {3, 6});
  });
  EXPECT_EQ(count(through.both, "dot_general"), 6U);
  EXPECT_THAT(through.both, HasSubstr("tensor<5x3x6xf32>"));
}

TEST(Keep, OutsideAScanAndOnWhatIsThereAnywayItDoesNothing) {
  Graph graph, marked;
  auto build = [](Graph& g, Value (*mark)(const Value&)) {
    Value x = g.parameter(DType::kF32, {3}, "x");
    Value loss = reduce_sum(mark(tanh(mark(exp(x)))), {0});
    return gradients(loss, std::vector{x});
  };
  EXPECT_EQ(text_of(graph, build(graph, unmarked)), text_of(marked, build(marked, keep)));
  auto entering = [](Value (*mark)(const Value&)) {
    Graph g;
    Value x = g.parameter(DType::kF32, {3}, "x");
    auto body = [&](const ScanInput& in) {
      return ScanOutput{{mul(mark(in.carries[0]), mark(full(in.graph, DType::kF32, {3}, 2)))}, {}};
    };
    Value y = scan(g, 2, {x}, {}, {}, body).carries[0];
    return text_of(g, gradients(reduce_sum(y, {0}), std::vector{x}));
  };
  EXPECT_EQ(entering(unmarked), entering(keep));
}

TEST(Keep, AnOpOfItsOwnGradientIsSparedWithAllThatItGives) {
  // As attention is: the rule reads the second output, which nothing else does. Marked by its first output, by its second
  // alone, by what a join makes of both, and not at all.
  enum Mark { kNone, kFirst, kSecond };
  auto build = [](Mark mark) {
    Graph graph;
    Value x = graph.parameter(DType::kF32, {4}, "x");
    auto body = [&](const ScanInput& in) {
      std::vector<Value> found = with_gradient(
          "square", {in.carries[0]},
          [](const std::vector<Value>& v) { return std::vector{mul(v[0], v[0]), logistic(v[0])}; },
          [](const GradientContext& context) {
            return std::vector{mul(context.output_gradients[0], mul(context.outputs[0], context.outputs[1]))};
          });
      if (mark == kFirst) found[0] = keep(found[0]);
      if (mark == kSecond) keep(found[1]);
      return ScanOutput{{found[0]}, {}};
    };
    Value y = scan(graph, 3, {x}, {}, {}, body).carries[0];
    return text_of(graph, gradients(reduce_sum(y, {0}), std::vector{x}));
  };
  EXPECT_EQ(count(build(kNone), "logistic"), 1U);  // in the backward loop alone
  EXPECT_EQ(count(build(kFirst), "logistic"), 1U);
  EXPECT_EQ(build(kFirst), build(kSecond));
  const std::string kept = build(kFirst), backward = kept.substr(kept.rfind("stablehlo.while"));
  EXPECT_THAT(backward, Not(HasSubstr("logistic")));
  const std::string again = build(kNone);
  EXPECT_THAT(again.substr(again.rfind("stablehlo.while")), HasSubstr("logistic"));
}

}  // namespace
}  // namespace gavel

// The two plain forms of attention against each other.
#include "nn/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "emit/plugin_runner.h"
#include "graph/gradients.h"
#include "graph/ops.h"

namespace gavel {
namespace {

HostTensor random_values(const Shape& shape, uint64_t seed) {
  HostTensor out(DType::kF32, shape);
  auto values = out.as_mutable<float>();
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(2 * random_uniform(seed, i) - 1);
  return out;
}

class AttentionForms : public testing::TestWithParam<AttentionRule> {};

TEST_P(AttentionForms, BlockwiseEqualsWholeScoresInValuesAndGradients) {
  constexpr int64_t kBatch = 2, kLength = 50, kHeads = 4, kKeyHeads = 2, kFeatures = 8;
  Graph graph;
  std::vector<Value> in = {graph.parameter(DType::kF32, {kBatch, kLength, kHeads, kFeatures}, "q"),
                           graph.parameter(DType::kF32, {kBatch, kLength, kKeyHeads, kFeatures}, "k"),
                           graph.parameter(DType::kF32, {kBatch, kLength, kKeyHeads, kFeatures}, "v")};
  Value segments = graph.parameter(DType::kI32, {kBatch, kLength}, "segments");
  Value weights = graph.parameter(DType::kF32, in[0].shape(), "weights");
  std::vector<Value> outputs;
  for (bool blockwise : {false, true}) {
    const AttentionCall call{in[0], in[1], in[2], segments, GetParam()};
    Value o = blockwise ? blockwise_attention(call, 16) : causal_attention(call, 16);
    outputs.push_back(o);
    for (Value& gradient : gradients(reduce_sum(mul(o, weights), {0, 1, 2, 3}), in)) outputs.push_back(gradient);
  }
  // One row of a single segment and padding, one packed with three, which are a prefix and two texts where there are such.
  const int32_t first = GetParam().prefixes ? 4 : 1;
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < kLength; ++i) ids.push_back(i < 41 ? first : 0);
  for (int64_t i = 0; i < kLength; ++i) ids.push_back(i < 17 ? first : i < 18 ? first + 1 : i < 44 ? first + 2 : 0);
  auto found =
      CompiledGraph(graph, outputs)
          .run({random_values(in[0].shape(), 1), random_values(in[1].shape(), 2), random_values(in[2].shape(), 3),
                HostTensor::from(ids, {kBatch, kLength}), random_values(in[0].shape(), 4)});
  for (size_t k = 0; k < 4; ++k)
    for (size_t i = 0; i < found[k].as<float>().size(); ++i)
      ASSERT_NEAR(found[k].as<float>()[i], found[k + 4].as<float>()[i], 2e-6) << "output " << k << ", element " << i;
}

INSTANTIATE_TEST_SUITE_P(Rules, AttentionForms,
                         testing::Values(AttentionRule{0.3}, AttentionRule{0.3, 7}, AttentionRule{0.3, 20},
                                         AttentionRule{0.3, std::nullopt, 0.2}, AttentionRule{0.3, 9, 0.2},
                                         AttentionRule{.scale = 0.3, .prefixes = true}));

TEST(BlockwiseAttention, NoValueOfTheSizeOfAllScoresIsMade) {
  Graph graph;
  constexpr int64_t kLength = 2048;
  std::vector<Value> in;
  for (const char* name : {"q", "k", "v"}) in.push_back(graph.parameter(DType::kF32, {1, kLength, 2, 4}, name));
  Value segments = graph.parameter(DType::kI32, {1, kLength}, "segments");
  Value o = blockwise_attention({in[0], in[1], in[2], segments, {0.3}}, 512);
  auto found = gradients(reduce_sum(o, {0, 1, 2, 3}), in);
  std::string text = emit_module(graph, found);
  EXPECT_EQ(text.find("2048x2048"), std::string::npos);
  EXPECT_EQ(text.find("1024x2048"), std::string::npos);
}

}  // namespace
}  // namespace gavel

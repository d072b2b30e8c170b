// Adapters in bfloat16: what rounding them costs, beside a branch in float32.
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "emit/plugin_runner.h"
#include "graph/gradients.h"
#include "graph/ops.h"
#include "nn/layers.h"

namespace gavel {
namespace {

constexpr int64_t kTokens = 96, kIn = 160, kOut = 128, kRank = 16;
constexpr double kScaling = 1.7;

enum class Form { kReference, kFloat32Branch, kOurs };

struct Result {
  std::vector<std::vector<double>> values;  // y, and the gradients of x, A and B
};

/** x, W, A, B and dy, all but A and B with numbers that bfloat16 has. */
std::vector<HostTensor> inputs() {
  Random random(11);
  std::vector<HostTensor> all;
  for (auto [shape, size] : std::vector<std::pair<Shape, double>>{
           {{kTokens, kIn}, 1}, {{kOut, kIn}, 0.1}, {{kRank, kIn}, 0.1}, {{kOut, kRank}, 0.1}, {{kTokens, kOut}, 1}}) {
    const bool exact = all.size() != 2 && all.size() != 3;
    std::vector<float> numbers;
    for (int64_t i = 0; i < num_elements(shape); ++i) {
      const auto number = static_cast<float>(size * (2 * random.uniform() - 1));
      numbers.push_back(exact ? bf16_to_f32(f32_to_bf16(number)) : number);
    }
    all.push_back(HostTensor::from(numbers, shape));
  }
  return all;
}

Result run(Form form) {
  Graph graph;
  std::vector<Value> in;
  for (const HostTensor& tensor : inputs()) in.push_back(graph.parameter(DType::kF32, tensor.shape(), "in"));
  const Value &a = in[2], &b = in[3];
  const DType type = form == Form::kReference ? DType::kF32 : DType::kBF16;
  Value x = convert(in[0], type), y;
  const Value weight = convert(in[1], type);
  if (form == Form::kFloat32Branch) {
    // As PEFT computes it: x becomes float32, and only what the branch gives is rounded.
    Value branch = matmul_nt(matmul_nt(convert(x, DType::kF32), a), b);
    y = add(matmul_nt(x, weight), convert(mul(branch, kScaling), type));
  } else {
    LinearSpec spec;
    const Placement placement;
    y = Layers({}, placement).linear(AdaptedLinearCall{{x, weight, {}, spec}, a, b, kScaling, {}});
  }
  Value dy = convert(in[4], type);
  std::vector<Value> found = vjp(std::vector{y}, std::vector{dy}, std::vector{x, a, b});
  EXPECT_EQ(found[1].dtype(), DType::kF32);
  std::vector<Value> outputs = {convert(y, DType::kF32), convert(found[0], DType::kF32), found[1], found[2]};
  Result result;
  for (const HostTensor& tensor : CompiledGraph(graph, outputs).run(inputs())) {
    auto values = tensor.as<float>();
    result.values.emplace_back(values.begin(), values.end());
  }
  return result;
}

/** Of each of Result::values, the root of the mean square of the distance, divided by that of the reference. */
std::vector<double> distances(const Result& found, const Result& reference) {
  std::vector<double> all;
  for (size_t i = 0; i < reference.values.size(); ++i) {
    double distance = 0, size = 0;
    for (size_t j = 0; j < reference.values[i].size(); ++j) {
      distance += std::pow(found.values[i][j] - reference.values[i][j], 2);
      size += std::pow(reference.values[i][j], 2);
    }
    all.push_back(std::sqrt(distance / size));
  }
  return all;
}

TEST(AdapterInBFloat16, IsNoFurtherFromFloat32ThanAFloat32Branch) {
  const Result reference = run(Form::kReference);
  const auto ours = distances(run(Form::kOurs), reference), branch = distances(run(Form::kFloat32Branch), reference);
  // What is rounded anyway, y and the gradient of x, decides: a branch that is itself rounded adds little.
  for (size_t i : {0, 1}) {
    EXPECT_LT(ours[i], 1.25 * branch[i]) << i;
    EXPECT_LT(ours[i], 0.005) << i;
  }
  // Gradients of A and B: those of a float32 branch see dy and x in bfloat16 as ours do, and round nothing more; ours round the
  // narrow product once, 2^-9 of each number, which a sum over tokens averages out.
  for (size_t i : {2, 3}) EXPECT_LT(ours[i], 0.003) << i;
}

TEST(AdapterInBFloat16, GradientsAreSumsInFloat32) {
  // Rounded to bfloat16, a gradient would have 8 bits; most of these have more.
  const Result ours = run(Form::kOurs);
  for (size_t i : {2, 3}) {
    size_t longer = 0;
    for (double value : ours.values[i])
      longer += bf16_to_f32(f32_to_bf16(static_cast<float>(value))) != static_cast<float>(value);
    EXPECT_GT(longer, ours.values[i].size() / 2);
  }
}

}  // namespace
}  // namespace gavel

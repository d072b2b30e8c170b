// Products with quantised weights: the bits are those of products with the numbers that the codes mean.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/nf4.h"
#include "kernels/linear.h"
#include "kernels/mlp.h"
#include "kernels/reference.h"

namespace gavel {
namespace {

using namespace testing_kernels;

/** Random codes and scales, and beside them the numbers that they mean, in float32. */
struct Quantised {
  std::vector<uint8_t> codes;
  Buffer scales, numbers;
  FrozenWeight weight;

  Quantised(DType codes_type, DType scales_type, int64_t out, int64_t in, int64_t group, uint64_t seed)
      : codes(static_cast<size_t>(codes_type == DType::kI8 ? out * in : out * in / 2)),
        scales(Buffer::random(scales_type, out * in / group, seed)),
        numbers(DType::kF32, out * in) {
    Random random(seed + 1);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random.uniform() * 256);
    for (int64_t i = 0; i < out * in; ++i) {
      const auto scale = static_cast<float>(scales[i / group]);
      const float number = codes_type == DType::kI8
                               ? static_cast<float>(static_cast<int8_t>(codes[static_cast<size_t>(i)]))
                               : kNf4Values[i % 2 == 0 ? codes[static_cast<size_t>(i / 2)] >> 4
                                                       : codes[static_cast<size_t>(i / 2)] & 15];
      numbers.set(i, number * scale);
    }
    weight = {{codes_type, codes.data()}, {scales_type, scales.data()}, group};
  }
};

struct QuantisedCase {
  DType codes, scales;
  int64_t group;
};
const QuantisedCase kQuantisedCases[] = {{DType::kI8, DType::kBF16, 64}, {DType::kI8, DType::kBF16, 128},
                                         {DType::kI8, DType::kF32, 32},  {DType::kI8, DType::kF32, 6},
                                         {DType::kU8, DType::kF32, 64},  {DType::kU8, DType::kBF16, 10}};

class QuantisedKernels : public testing::TestWithParam<std::tuple<QuantisedCase, DType, Compute>> {};

TEST_P(QuantisedKernels, LinearsHaveTheBitsOfTheirNumbers) {
  const auto [kind, type, compute] = GetParam();
  constexpr int64_t kRank = 3;
  for (int64_t groups : {1, 3})
    for (const auto& [rows, out] : {std::pair<int64_t, int64_t>{1, 2}, {7, 65}, {70, 130}}) {
      const LinearShape s{rows, groups * kind.group, out};
      SCOPED_TRACE(fmt::format("{} x {} -> {}", s.rows, s.in, s.out));
      const Quantised w(kind.codes, kind.scales, s.out, s.in, kind.group, 5);
      const Buffer x = Buffer::random(type, s.rows * s.in, 1), dy = Buffer::random(type, s.rows * s.out, 4),
                   bias = Buffer::random(type, s.out, 3), a = Buffer::random(DType::kF32, kRank * s.in, 7),
                   b = Buffer::random(DType::kF32, s.out * kRank, 8);
      const Lora lora{kRank, 0.5f, a.floats(), b.floats()};
      std::vector<Buffer> found;
      for (const FrozenWeight& weight : {w.weight, FrozenWeight(DType::kF32, w.numbers.data())}) {
        Buffer y(type, s.rows * s.out), adapted = y, dx(type, s.rows * s.in), dx_adapted = dx,
                                        xa(DType::kF32, s.rows * kRank), da(DType::kF32, kRank * s.in),
                                        db(DType::kF32, s.out * kRank);
        linear_forward(s, {type, x.data()}, weight, {type, bias.data()}, {type, y.data()}, compute);
        linear_input_gradient(s, {type, dy.data()}, weight, {type, dx.data()}, compute);
        linear_lora_forward(s, {type, x.data()}, {type, x.data()}, weight, {}, lora, {type, adapted.data()},
                            xa.floats(), compute);
        linear_lora_gradients(s, {type, dy.data()}, {type, x.data()}, weight, xa.floats(), lora,
                              {{type, dx_adapted.data()}, {}, da.floats(), db.floats()}, compute);
        for (const Buffer& one : {y, dx, adapted, dx_adapted, da, db}) found.push_back(one);
      }
      for (size_t i = 0; i < found.size() / 2; ++i) {
        double largest = 0;
        for (double value : found[i].doubles()) largest = std::max(largest, std::fabs(value));
        EXPECT_GT(largest, 0) << i;
        EXPECT_TRUE(found[i].same_bits(found[found.size() / 2 + i])) << "result " << i;
      }
    }
}

TEST_P(QuantisedKernels, FeedForwardBlocksHaveTheBitsOfTheirNumbers) {
  const auto [kind, type, compute] = GetParam();
  const MlpShape s{37, 2 * kind.group, 5 * kind.group};
  const Quantised gate(kind.codes, kind.scales, s.intermediate, s.hidden, kind.group, 1),
      up(kind.codes, kind.scales, s.intermediate, s.hidden, kind.group, 3),
      down(kind.codes, kind.scales, s.hidden, s.intermediate, kind.group, 5);
  const Buffer h = Buffer::random(type, s.rows * s.hidden, 1), dy = Buffer::random(type, s.rows * s.hidden, 4),
               norm = Buffer::random(type, s.hidden, 3);
  auto weights = [&](bool numbers) {
    auto of = [&](const Quantised& one) {
      return numbers ? FrozenWeight(DType::kF32, one.numbers.data()) : one.weight;
    };
    return MlpWeights{{{type, norm.data()}, 1e-5f, 0}, of(gate), of(up), of(down), GateFunction::kSilu};
  };
  std::vector<Buffer> found;
  for (bool numbers : {false, true}) {
    Buffer y(type, s.rows * s.hidden), dh = y, gated(type, s.rows * s.intermediate), upped = gated;
    mlp_forward(s, type, h.data(), weights(numbers), y.data(), gated.data(), upped.data(), compute);
    mlp_gradient(s, type, h.data(), weights(numbers), gated.data(), upped.data(), dy.data(), dh.data(), compute);
    found.push_back(y);
    found.push_back(dh);
  }
  EXPECT_TRUE(found[0].same_bits(found[2]));
  EXPECT_TRUE(found[1].same_bits(found[3]));
}

std::string quantised_case_name(const testing::TestParamInfo<QuantisedKernels::ParamType>& info) {
  const auto& [kind, type, compute] = info.param;
  return fmt::format("{}_{}_{}_{}_compute{}", dtype_name(kind.codes), kind.group, dtype_name(kind.scales),
                     dtype_name(type), static_cast<int>(compute));
}
INSTANTIATE_TEST_SUITE_P(All, QuantisedKernels,
                         testing::Combine(testing::ValuesIn(kQuantisedCases),
                                          testing::Values(DType::kF32, DType::kBF16),
                                          testing::Values(Compute::kBF16, Compute::kF32)),
                         quantised_case_name);

TEST(QuantisedWeights, RefuseGroupsThatDoNotFit) {
  const Quantised w(DType::kI8, DType::kF32, 4, 64, 32, 1);
  const Buffer x = Buffer::random(DType::kF32, 64, 1);
  Buffer y(DType::kF32, 4);
  auto refused = [&](const FrozenWeight& weight, int64_t in) {
    EXPECT_THROW(
        linear_forward({1, in, 4}, {DType::kF32, x.data()}, weight, {}, {DType::kF32, y.data()}, Compute::kF32), Error);
  };
  refused(w.weight, 48);
  refused({{DType::kF32, w.codes.data()}, {DType::kF32, w.scales.data()}, 32}, 64);
  refused({{DType::kI8, w.codes.data()}, {DType::kI32, w.scales.data()}, 32}, 64);
  refused({{DType::kI8, w.codes.data()}, {DType::kF32, w.scales.data()}, 1}, 64);
}

}  // namespace
}  // namespace gavel

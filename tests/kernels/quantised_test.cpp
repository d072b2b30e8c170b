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

struct QuantisedCase {
  DType codes, scales;
  int64_t group;
  BlockScales blocks = {};
  bool in_blocks() const { return scales == DType::kF16; }
  /** Neighbours whose scales are together. */
  int64_t unit() const { return group * (in_blocks() ? blocks.groups : 1); }
};
const QuantisedCase kQuantisedCases[] = {
    {DType::kI8, DType::kBF16, 64},
    {DType::kI8, DType::kBF16, 128},
    {DType::kI8, DType::kF32, 32},
    {DType::kI8, DType::kF32, 6},
    {DType::kU8, DType::kF32, 64},
    {DType::kU8, DType::kBF16, 128},
    {DType::kU8, DType::kBF16, 10},
    // As GGUF's Q4_K, Q6_K, both in one, Q8_0, Q4_0 and Q4_1; and of no size that a vector has.
    {DType::kU8, DType::kF16, 32, {8, true}},
    {DType::kI8, DType::kF16, 16, {16, false}},
    {DType::kI8, DType::kF16, 16, {16, true}},
    {DType::kI8, DType::kF16, 32, {1, false}},
    {DType::kU8, DType::kF16, 32, {1, false}},
    {DType::kU8, DType::kF16, 32, {1, true}},
    {DType::kU8, DType::kF16, 6, {2, true}},
};

/** Random codes and scales, and beside them the numbers that they mean, in float32. */
struct Quantised {
  std::vector<uint8_t> codes;
  Buffer scales, numbers;
  FrozenWeight weight;

  Quantised(const QuantisedCase& kind, int64_t out, int64_t in, uint64_t seed)
      : codes(static_cast<size_t>(kind.codes == DType::kI8 ? out * in : out * in / 2)),
        scales(
            Buffer::random(kind.scales, out * in / kind.unit() * (kind.in_blocks() ? kind.blocks.count() : 1), seed)),
        numbers(DType::kF32, out * in) {
    Random random(seed + 1);
    for (uint8_t& code : codes) code = static_cast<uint8_t>(random.uniform() * 256);
    // Groups' multiples are whole numbers, so that products are exact.
    if (kind.in_blocks())
      for (int64_t i = 0; i < scales.size(); ++i)
        if (i % kind.blocks.count() % kind.blocks.of_each() != 0)
          scales.set(i, std::floor(random.uniform() * 128) - 64);
    for (int64_t i = 0; i < out * in; ++i) {
      const uint8_t byte = codes[static_cast<size_t>(kind.codes == DType::kI8 ? i : i / 2)];
      const int four = i % 2 == 0 ? byte >> 4 : byte & 15;
      const bool int8 = kind.codes == DType::kI8;
      const auto eight = static_cast<float>(static_cast<int8_t>(byte));
      if (!kind.in_blocks()) {
        numbers.set(
            i, (int8 ? eight : kNf4Values[static_cast<size_t>(four)]) * static_cast<float>(scales[i / kind.group]));
        continue;
      }
      const float code = int8 ? eight : static_cast<float>(kind.blocks.minima ? four : four - 8);
      auto scaled = [&](int64_t first) {
        const int64_t at = i / kind.unit() * kind.blocks.count() + first;
        const double multiple = kind.blocks.groups == 1 ? 1 : scales[at + 1 + i % kind.unit() / kind.group];
        return static_cast<float>(scales[at] * multiple);
      };
      const float product = code * scaled(0);
      numbers.set(i, kind.blocks.minima ? product - scaled(kind.blocks.of_each()) : product);
    }
    weight = {{kind.codes, codes.data()}, {kind.scales, scales.data()}, kind.group, kind.blocks};
  }
};

class QuantisedKernels : public testing::TestWithParam<std::tuple<QuantisedCase, DType, Compute>> {};

TEST_P(QuantisedKernels, LinearsHaveTheBitsOfTheirNumbers) {
  const auto [kind, type, compute] = GetParam();
  constexpr int64_t kRank = 3;
  for (int64_t groups : {1, 3})
    for (const auto& [rows, out] : {std::pair<int64_t, int64_t>{1, 2}, {7, 65}, {70, 130}}) {
      const LinearShape s{rows, groups * kind.unit(), out};
      SCOPED_TRACE(fmt::format("{} x {} -> {}", s.rows, s.in, s.out));
      const Quantised w(kind, s.out, s.in, 5);
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
  const MlpShape s{37, 2 * kind.unit(), 5 * kind.unit()};
  const Quantised gate(kind, s.intermediate, s.hidden, 1), up(kind, s.intermediate, s.hidden, 3),
      down(kind, s.hidden, s.intermediate, 5);
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
  const std::string blocks =
      kind.in_blocks() ? fmt::format("_of_{}{}", kind.blocks.groups, kind.blocks.minima ? "_minima" : "") : "";
  return fmt::format("{}_{}{}_{}_{}_compute{}", dtype_name(kind.codes), kind.group, blocks, dtype_name(kind.scales),
                     dtype_name(type), static_cast<int>(compute));
}
INSTANTIATE_TEST_SUITE_P(All, QuantisedKernels,
                         testing::Combine(testing::ValuesIn(kQuantisedCases),
                                          testing::Values(DType::kF32, DType::kBF16),
                                          testing::Values(Compute::kBF16, Compute::kF32)),
                         quantised_case_name);

TEST(QuantisedWeights, RefuseGroupsThatDoNotFit) {
  const Quantised w({DType::kI8, DType::kF32, 32}, 4, 64, 1);
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
  refused({{DType::kI8, w.codes.data()}, {DType::kF16, w.scales.data()}, 16, {8, false}}, 64);
}

}  // namespace
}  // namespace gavel

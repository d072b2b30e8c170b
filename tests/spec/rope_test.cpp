#include "spec/rope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace gavel {
namespace {

/** Of 16 features, as transformers 5.24 gives them for the same rope_parameters. */
void expect_frequencies(const RopeSpec& rope, const std::vector<double>& expected, double scale) {
  const auto found = inverse_frequencies(rope, 16);
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(found[i], expected[i], 2e-7 * expected[i]) << i;
  EXPECT_NEAR(rotary_scale(rope.scaling), scale, 1e-14);
}

RopeSpec rope_of(const std::string& type, double factor, int64_t original) {
  RopeSpec rope;
  rope.scaling.type = type;
  rope.scaling.factor = factor;
  rope.scaling.original_max_position_embeddings = original;
  return rope;
}

TEST(Rope, YarnIsAsTransformersHasIt) {
  const std::vector<double> expected = {
      1, 0.316227764, 0.0812500045, 0.0197642371, 0.00437500002, 0.000790569466, 0.000250000012, 7.90569466e-05};
  RopeSpec rope = rope_of("yarn", 4, 1024);
  expect_frequencies(rope, expected, 1.138629436111989);
  rope.scaling.attention_factor = 0.75;
  expect_frequencies(rope, expected, 0.75);
  RopeSpec other = rope_of("yarn", 8, 512);
  other.scaling.beta_fast = 16;
  other.scaling.beta_slow = 2;
  other.scaling.truncate = false;
  other.scaling.mscale = 1;
  other.scaling.mscale_all_dim = 0.5;
  expect_frequencies(
      other,
      {1, 0.316227764, 0.0716084614, 0.00732499827, 0.00124999997, 0.000395284733, 0.000125000006, 3.95284733e-05},
      1.094179988101349);
}

TEST(Rope, LongropeTakesItsShortDivisors) {
  RopeSpec rope = rope_of("longrope", 4, 1024);
  rope.scaling.short_factor = {1, 1.1, 1.2, 1.5, 2, 2.5, 3, 4};
  rope.scaling.long_factor = {1, 2, 3, 4, 5, 6, 7, 8};
  expect_frequencies(
      rope, {1, 0.287479758, 0.0833333358, 0.0210818499, 0.00499999989, 0.00126491114, 0.00033333333, 7.90569466e-05},
      1.0954451150103321);
  EXPECT_EQ(longest_text(rope.scaling, 4096), 1024);
  rope.scaling.long_factor = rope.scaling.short_factor;
  EXPECT_FALSE(longest_text(rope.scaling, 4096)) << "the same divisors at every length";
}

TEST(Rope, LinearStretchesAndDynamicIsPlainUpToTheTrainedLength) {
  RopeSpec linear = rope_of("linear", 2.5, 0);
  linear.rope_theta = 500000;
  expect_frequencies(linear,
                     {0.400000006, 0.0775691047, 0.0150424121, 0.00291706598, 0.00056568539, 0.000109699278,
                      2.12731829e-05, 4.12535428e-06},
                     1);
  RopeSpec dynamic = rope_of("dynamic", 2, 0);
  EXPECT_EQ(inverse_frequencies(dynamic, 16), inverse_frequencies(RopeSpec(), 16));
  EXPECT_EQ(longest_text(dynamic.scaling, 4096), 4096);
  EXPECT_FALSE(longest_text(linear.scaling, 4096));
}

TEST(Rope, Llama3StretchesLongWavelengthsAlone) {
  expect_frequencies(
      rope_of("llama3", 8, 256),
      {1, 0.316227764, 0.100000001, 0.00661310693, 0.00124999997, 0.000395284733, 0.000125000006, 3.95284733e-05}, 1);
  // Wavelengths beyond 8192 are stretched by 8, those below 2048 not at all.
  RopeSpec large = rope_of("llama3", 8, 8192);
  large.rope_theta = 500000;
  auto factors = frequency_divisors(large, 128);
  ASSERT_EQ(factors.size(), 64u);
  EXPECT_EQ(factors.front(), 1);
  EXPECT_EQ(factors.back(), 8);
  for (size_t i = 1; i < factors.size(); ++i) EXPECT_GE(factors[i], factors[i - 1]);
  EXPECT_TRUE(std::any_of(factors.begin(), factors.end(), [](double f) { return f > 1 && f < 8; }));
}

TEST(Rope, AnInfiniteDivisorTurnsNothing) {
  RopeSpec none;
  none.freq_factors.assign(8, std::numeric_limits<float>::infinity());
  for (double frequency : inverse_frequencies(none, 16)) EXPECT_EQ(frequency, 0);
}

}  // namespace
}  // namespace gavel

#include "kernels/elementwise.h"

#include <numbers>
#include <numeric>

#include "base/error.h"
#include "kernels/reference.h"

namespace gavel {
namespace {

using namespace testing_kernels;

const DType kFloatTypes[] = {DType::kF32, DType::kBF16};
const int64_t kSizes[] = {1, 15, 16, 33, 576};

double most(DType type) {
  return type == DType::kF32 ? 1e-6 : 4e-3;
}

TEST(RmsNorm, MatchesDoublesWithAndWithoutAGradientPastIt) {
  for (DType type : kFloatTypes)
    for (DType weight_type : kFloatTypes)
      for (int64_t n : kSizes) {
        const int64_t rows = 70;
        const Buffer x = Buffer::random(type, rows * n, 1), w = Buffer::random(weight_type, n, 3),
                     dy = Buffer::random(type, rows * n, 4), dr = Buffer::random(type, rows * n, 5);
        const float eps = 1e-3f;
        for (auto [residual, offset] : {std::pair{false, 0.0f}, {true, 0.0f}, {true, 1.0f}, {false, 0.25f}}) {
          Buffer y(type, rows * n), dh(type, rows * n);
          const RmsNorm norm{{weight_type, w.data()}, eps, offset};
          rms_norm_forward(rows, n, type, x.data(), norm, y.data());
          rms_norm_gradient(rows, n, type, x.data(), norm, dy.data(), residual ? dr.data() : nullptr, dh.data());
          std::vector<double> want_y, want_dh;
          for (int64_t row = 0; row < rows; ++row) {
            double square = 0, along = 0;
            for (int64_t i = row * n; i < (row + 1) * n; ++i) {
              square += x[i] * x[i];
              along += dy[i] * (w[i % n] + offset) * x[i];
            }
            const double inverse = 1 / std::sqrt(square / static_cast<double>(n) + eps);
            for (int64_t i = row * n; i < (row + 1) * n; ++i) {
              want_y.push_back(x[i] * inverse * (w[i % n] + offset));
              want_dh.push_back(inverse * dy[i] * (w[i % n] + offset) -
                                x[i] * inverse * inverse * inverse * along / static_cast<double>(n) +
                                (residual ? dr[i] : 0));
            }
          }
          EXPECT_LT(relative_error(y, want_y), most(type)) << n;
          EXPECT_LT(relative_error(dh, want_dh), most(type)) << n;
        }
      }
}

/** A gate's function and its derivative, from their definitions. */
std::pair<double, double> reference_gate(GateFunction function, double g) {
  if (function == GateFunction::kSilu) {
    const double s = 1 / (1 + std::exp(-g));
    return {g * s, s * (1 + g * (1 - s))};
  }
  const double root = std::sqrt(2 / std::numbers::pi), tanh = std::tanh(root * (g + 0.044715 * g * g * g));
  return {g * (1 + tanh) / 2, (1 + tanh) / 2 + g / 2 * (1 - tanh * tanh) * root * (1 + 3 * 0.044715 * g * g)};
}

class GatedActivation : public testing::TestWithParam<GateFunction> {};

TEST_P(GatedActivation, MatchesDoubles) {
  const GateFunction function = GetParam();
  for (DType type : kFloatTypes)
    for (int64_t n : {1, 31, 64, 40000}) {
      Buffer g = Buffer::random(type, n, 1, 8);
      const Buffer u = Buffer::random(type, n, 2), dy = Buffer::random(type, n, 3);
      if (n > 2) {
        g.set(0, 200);
        g.set(1, -200);
      }
      Buffer y(type, n), dg(type, n), du(type, n);
      gated_forward(function, n, type, g.data(), u.data(), y.data());
      gated_gradient(function, n, type, g.data(), u.data(), dy.data(), dg.data(), du.data());
      std::vector<double> want_y, want_dg, want_du;
      for (int64_t i = 0; i < n; ++i) {
        const auto [value, slope] = reference_gate(function, g[i]);
        want_y.push_back(value * u[i]);
        want_dg.push_back(dy[i] * u[i] * slope);
        want_du.push_back(dy[i] * value);
      }
      EXPECT_LT(relative_error(y, want_y), most(type));
      EXPECT_LT(relative_error(dg, want_dg), most(type));
      EXPECT_LT(relative_error(du, want_du), most(type));
    }
}

TEST_P(GatedActivation, SmallValuesKeepTheirDigits) {
  // Where the largest value is not what errors are measured by: gates from far below, over 0, to where 1 is reached.
  const GateFunction function = GetParam();
  const int64_t n = 4000;
  Buffer g(DType::kF32, n), one(DType::kF32, n), y(DType::kF32, n), dg(DType::kF32, n), du(DType::kF32, n);
  for (int64_t i = 0; i < n; ++i) {
    g.set(i, -5 + 12 * static_cast<double>(i) / static_cast<double>(n));
    one.set(i, 1);
  }
  gated_forward(function, n, DType::kF32, g.data(), one.data(), y.data());
  gated_gradient(function, n, DType::kF32, g.data(), one.data(), one.data(), dg.data(), du.data());
  for (int64_t i = 0; i < n; ++i) {
    const auto [value, slope] = reference_gate(function, g[i]);
    // GELU's exponent goes down to -20, and its rounding is an error of the value's.
    ASSERT_NEAR(y[i], value, 4e-6 * std::abs(value)) << g[i];
    ASSERT_NEAR(du[i], value, 4e-6 * std::abs(value)) << g[i];
    ASSERT_NEAR(dg[i], slope, 1e-6) << g[i];
  }
}

INSTANTIATE_TEST_SUITE_P(All, GatedActivation, testing::Values(GateFunction::kSilu, GateFunction::kGeluTanh),
                         [](const auto& info) { return info.param == GateFunction::kSilu ? "silu" : "gelu_tanh"; });

TEST(GeGlu, HugeAndUndefinedGates) {
  const float huge[] = {1e30f, -1e30f, INFINITY, NAN}, one[] = {1, 1, 1, 1};
  float y[4], dg[4], du[4];
  gated_forward(GateFunction::kGeluTanh, 4, DType::kF32, huge, one, y);
  gated_gradient(GateFunction::kGeluTanh, 4, DType::kF32, huge, one, one, dg, du);
  EXPECT_EQ(y[0], 1e30f);
  EXPECT_NEAR(y[1], 0, 1e-7);
  EXPECT_EQ(y[2], INFINITY);
  EXPECT_TRUE(std::isnan(y[3]));
  EXPECT_EQ(dg[0], 1);
  EXPECT_NEAR(dg[1], 0, 1e-7);
  EXPECT_EQ(dg[2], 1);
  EXPECT_TRUE(std::isnan(dg[3]));
}

TEST(Rotary, MatchesDoublesAndTurnsBack) {
  for (DType type : kFloatTypes)
    for (int64_t dim : {2, 8, 40, 64}) {
      const int64_t tokens = 14, heads = 3;
      const Buffer x = Buffer::random(type, tokens * heads * dim, 1);
      Buffer cosine(DType::kF32, tokens * dim / 2), sine(DType::kF32, tokens * dim / 2);
      for (int64_t i = 0; i < tokens * dim / 2; ++i) {
        cosine.set(i, std::cos(0.37 * static_cast<double>(i)));
        sine.set(i, std::sin(0.37 * static_cast<double>(i)));
      }
      Buffer y(type, x.size()), back(type, x.size());
      rotary(tokens, heads, dim, type, x.data(), cosine.floats(), sine.floats(), false, y.data());
      rotary(tokens, heads, dim, type, y.data(), cosine.floats(), sine.floats(), true, back.data());
      std::vector<double> wanted(static_cast<size_t>(x.size()));
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t h = 0; h < heads; ++h)
          for (int64_t i = 0; i < dim / 2; ++i) {
            const int64_t at = (t * heads + h) * dim + i, table = t * (dim / 2) + i;
            wanted[static_cast<size_t>(at)] = x[at] * cosine[table] - x[at + dim / 2] * sine[table];
            wanted[static_cast<size_t>(at + dim / 2)] = x[at + dim / 2] * cosine[table] + x[at] * sine[table];
          }
      EXPECT_LT(relative_error(y, wanted), most(type));
      EXPECT_LT(relative_error(back, x.doubles()), 2 * most(type));
    }
}

TEST(Elementwise, RefusesOtherTypes) {
  float x = 0;
  EXPECT_THROW(gated_forward(GateFunction::kSilu, 1, DType::kF16, &x, &x, &x), Error);
  EXPECT_THROW(rms_norm_forward(1, 1, DType::kI32, &x, {{DType::kF32, &x}}, &x), Error);
  EXPECT_THROW(rms_norm_forward(1, 1, DType::kF32, &x, {{DType::kF16, &x}}, &x), Error);
  EXPECT_THROW(rotary(1, 1, 3, DType::kF32, &x, &x, &x, false, &x), Error);
}

}  // namespace
}  // namespace gavel

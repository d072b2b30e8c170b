#include "kernels/elementwise.h"

#include <numeric>

#include "base/error.h"
#include "kernels/reference.h"

namespace gavel {
namespace {

using namespace testing_kernels;

const DType kTypes[] = {DType::kF32, DType::kBF16};
const int64_t kSizes[] = {1, 15, 16, 33, 576};

double most(DType type) {
  return type == DType::kF32 ? 1e-6 : 4e-3;
}

TEST(RmsNorm, MatchesDoublesWithAndWithoutAGradientPastIt) {
  for (DType type : kTypes)
    for (DType weight_type : kTypes)
      for (int64_t n : kSizes) {
        const int64_t rows = 70;
        const Buffer x = Buffer::random(type, rows * n, 1), w = Buffer::random(weight_type, n, 3),
                     dy = Buffer::random(type, rows * n, 4), dr = Buffer::random(type, rows * n, 5);
        const float eps = 1e-3f;
        for (bool residual : {false, true}) {
          Buffer y(type, rows * n), dh(type, rows * n);
          rms_norm_forward(rows, n, type, x.data(), {weight_type, w.data()}, eps, y.data());
          rms_norm_gradient(rows, n, type, x.data(), {weight_type, w.data()}, eps, dy.data(),
                            residual ? dr.data() : nullptr, dh.data());
          std::vector<double> want_y, want_dh;
          for (int64_t row = 0; row < rows; ++row) {
            double square = 0, along = 0;
            for (int64_t i = row * n; i < (row + 1) * n; ++i) {
              square += x[i] * x[i];
              along += dy[i] * w[i % n] * x[i];
            }
            const double inverse = 1 / std::sqrt(square / static_cast<double>(n) + eps);
            for (int64_t i = row * n; i < (row + 1) * n; ++i) {
              want_y.push_back(x[i] * inverse * w[i % n]);
              want_dh.push_back(inverse * dy[i] * w[i % n] -
                                x[i] * inverse * inverse * inverse * along / static_cast<double>(n) +
                                (residual ? dr[i] : 0));
            }
          }
          EXPECT_LT(relative_error(y, want_y), most(type)) << n;
          EXPECT_LT(relative_error(dh, want_dh), most(type)) << n;
        }
      }
}

TEST(SwiGlu, MatchesDoubles) {
  for (DType type : kTypes)
    for (int64_t n : {1, 31, 64, 40000}) {
      Buffer g = Buffer::random(type, n, 1, 8);
      const Buffer u = Buffer::random(type, n, 2), dy = Buffer::random(type, n, 3);
      if (n > 2) {
        g.set(0, 200);
        g.set(1, -200);
      }
      Buffer y(type, n), dg(type, n), du(type, n);
      swiglu_forward(n, type, g.data(), u.data(), y.data());
      swiglu_gradient(n, type, g.data(), u.data(), dy.data(), dg.data(), du.data());
      std::vector<double> want_y, want_dg, want_du;
      for (int64_t i = 0; i < n; ++i) {
        const double s = 1 / (1 + std::exp(-g[i]));
        want_y.push_back(g[i] * s * u[i]);
        want_dg.push_back(dy[i] * u[i] * s * (1 + g[i] * (1 - s)));
        want_du.push_back(dy[i] * g[i] * s);
      }
      EXPECT_LT(relative_error(y, want_y), most(type));
      EXPECT_LT(relative_error(dg, want_dg), most(type));
      EXPECT_LT(relative_error(du, want_du), most(type));
    }
}

TEST(Rotary, MatchesDoublesAndTurnsBack) {
  for (DType type : kTypes)
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
  EXPECT_THROW(swiglu_forward(1, DType::kF16, &x, &x, &x), Error);
  EXPECT_THROW(rms_norm_forward(1, 1, DType::kI32, &x, {DType::kF32, &x}, 0, &x), Error);
  EXPECT_THROW(rms_norm_forward(1, 1, DType::kF32, &x, {DType::kF16, &x}, 0, &x), Error);
  EXPECT_THROW(rotary(1, 1, 3, DType::kF32, &x, &x, &x, false, &x), Error);
}

}  // namespace
}  // namespace gavel

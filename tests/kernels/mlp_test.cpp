#include "kernels/mlp.h"

#include <fmt/format.h>

#include <numbers>

#include "base/error.h"
#include "kernels/reference.h"
#include "kernels/thread_pool.h"

namespace gavel {
namespace {

using namespace testing_kernels;

constexpr double kEps = 1e-5;

/** A gate's function and its derivative. */
std::pair<double, double> gate(GateFunction function, double g) {
  const double root = std::sqrt(2 / std::numbers::pi);
  const double inner = function == GateFunction::kSilu ? g : 2 * root * (g + 0.044715 * g * g * g);
  const double turn = function == GateFunction::kSilu ? 1 : 2 * root * (1 + 3 * 0.044715 * g * g);
  const double sigmoid = 1 / (1 + std::exp(-inner));
  return {g * sigmoid, sigmoid + g * sigmoid * (1 - sigmoid) * turn};
}

/** The block and its gradient by their definition; `norm` with its offset. */
struct Reference {
  std::vector<double> y, dh;

  Reference(const MlpShape& s, GateFunction function, const std::vector<double>& h, const std::vector<double>& norm,
            const std::vector<double>& wg, const std::vector<double>& wu, const std::vector<double>& wd,
            const std::vector<double>& dy) {
    const auto rows = static_cast<size_t>(s.rows), k = static_cast<size_t>(s.hidden);
    std::vector<double> n(h.size()), inverse(rows);
    for (size_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (size_t i = 0; i < k; ++i) squares += h[r * k + i] * h[r * k + i];
      inverse[r] = 1 / std::sqrt(squares / static_cast<double>(k) + kEps);
      for (size_t i = 0; i < k; ++i) n[r * k + i] = h[r * k + i] * inverse[r] * norm[i];
    }
    std::vector<double> g = matmul(n, wg, s.rows, s.intermediate, s.hidden, false, true),
                        u = matmul(n, wu, s.rows, s.intermediate, s.hidden, false, true), gated(g.size()), dg(g.size()),
                        du(g.size());
    std::vector<double> d_gated = matmul(dy, wd, s.rows, s.intermediate, s.hidden);
    for (size_t i = 0; i < g.size(); ++i) {
      const auto [value, slope] = gate(function, g[i]);
      gated[i] = value * u[i];
      dg[i] = d_gated[i] * u[i] * slope;
      du[i] = d_gated[i] * value;
    }
    y = matmul(gated, wd, s.rows, s.hidden, s.intermediate, false, true);
    for (size_t i = 0; i < y.size(); ++i) y[i] += h[i];
    std::vector<double> dn = matmul(dg, wg, s.rows, s.hidden, s.intermediate);
    const std::vector<double> more = matmul(du, wu, s.rows, s.hidden, s.intermediate);
    dh = dy;
    for (size_t r = 0; r < rows; ++r) {
      double along = 0;
      for (size_t i = 0; i < k; ++i) {
        dn[r * k + i] = (dn[r * k + i] + more[r * k + i]) * norm[i];
        along += dn[r * k + i] * h[r * k + i];
      }
      along *= inverse[r] * inverse[r] / static_cast<double>(k);
      for (size_t i = 0; i < k; ++i) dh[r * k + i] += inverse[r] * (dn[r * k + i] - h[r * k + i] * along);
    }
  }
};

/** As Llama has the block, and as Gemma has it. */
struct Form {
  GateFunction function;
  float offset;
};

class MlpTypes : public testing::TestWithParam<std::tuple<DType, DType, Compute>> {};

TEST_P(MlpTypes, MatchesDoublesAndIsTheSameWithoutSavedValues) {
  const auto [type, weight_type, compute] = GetParam();
  // Three products in a row, each rounding its operands once more.
  const bool rounds = type == DType::kBF16 || compute == Compute::kBF16;
  const double most = 3 * tolerance(rounds ? DType::kBF16 : DType::kF32);
  for (const auto& [s, form] : {std::pair<MlpShape, Form>{{1, 1, 1}, {GateFunction::kSilu, 0}},
                                {{3, 5, 7}, {GateFunction::kSilu, 0}},
                                {{70, 33, 130}, {GateFunction::kSilu, 0}},
                                {{250, 64, 192}, {GateFunction::kSilu, 0}},
                                {{201, 96, 320}, {GateFunction::kSilu, 0}},
                                {{3, 5, 7}, {GateFunction::kGeluTanh, 1}},
                                {{70, 33, 130}, {GateFunction::kGeluTanh, 0}},
                                {{250, 64, 192}, {GateFunction::kSilu, 1}},
                                {{201, 96, 320}, {GateFunction::kGeluTanh, 1}}}) {
    SCOPED_TRACE(fmt::format("{} x {} x {}, gate {}, offset {}", s.rows, s.hidden, s.intermediate,
                             static_cast<int>(form.function), form.offset));
    const Buffer h = Buffer::random(type, s.rows * s.hidden, 1), norm = Buffer::random(DType::kF32, s.hidden, 2),
                 wg = Buffer::random(weight_type, s.intermediate * s.hidden, 3),
                 wu = Buffer::random(weight_type, s.intermediate * s.hidden, 4),
                 wd = Buffer::random(weight_type, s.intermediate * s.hidden, 5, 0.2),
                 dy = Buffer::random(type, s.rows * s.hidden, 6);
    const MlpWeights weights{{{DType::kF32, norm.data()}, static_cast<float>(kEps), form.offset},
                             {weight_type, wg.data()},
                             {weight_type, wu.data()},
                             {weight_type, wd.data()},
                             form.function};
    Buffer y(type, h.size()), alone(type, h.size()), dh(type, h.size()), gate(type, s.rows * s.intermediate),
        up(type, gate.size());
    mlp_forward(s, type, h.data(), weights, y.data(), gate.data(), up.data(), compute);
    mlp_forward(s, type, h.data(), weights, alone.data(), nullptr, nullptr, compute);
    EXPECT_TRUE(y.same_bits(alone));
    mlp_gradient(s, type, h.data(), weights, gate.data(), up.data(), dy.data(), dh.data(), compute);
    std::vector<double> factors = norm.doubles();
    for (double& factor : factors) factor += form.offset;
    const Reference wanted(s, form.function, h.doubles(), factors, wg.doubles(), wu.doubles(), wd.doubles(),
                           dy.doubles());
    EXPECT_LT(relative_error(y, wanted.y), most);
    EXPECT_LT(relative_error(dh, wanted.dh), most);
  }
}

INSTANTIATE_TEST_SUITE_P(All, MlpTypes,
                         testing::Combine(testing::Values(DType::kF32, DType::kBF16),
                                          testing::Values(DType::kF32, DType::kBF16),
                                          testing::Values(Compute::kBF16, Compute::kF32)),
                         [](const auto& info) {
                           return fmt::format("x_{}_w_{}_compute{}", dtype_name(std::get<0>(info.param)),
                                              dtype_name(std::get<1>(info.param)),
                                              static_cast<int>(std::get<2>(info.param)));
                         });

/** With few threads the weights go by columns, with more of them than there are panels by blocks of rows. */
TEST(Mlp, ColumnsAndRowsGiveTheSameBits) {
  const int before = kernel_threads();
  const MlpShape s{37, 128, 330};
  for (DType type : {DType::kF32, DType::kBF16}) {
    const Buffer h = Buffer::random(type, s.rows * s.hidden, 1), norm = Buffer::random(DType::kF32, s.hidden, 2),
                 gate = Buffer::random(type, s.intermediate * s.hidden, 3), up = Buffer::random(type, gate.size(), 4),
                 down = Buffer::random(type, gate.size(), 5, 0.2);
    const MlpWeights weights{{{DType::kF32, norm.data()}, static_cast<float>(kEps), 0},
                             {type, gate.data()},
                             {type, up.data()},
                             {type, down.data()},
                             GateFunction::kSilu};
    std::vector<Buffer> found;
    for (int threads : {1, 2, 9}) {
      set_kernel_threads(threads);
      Buffer y(type, h.size()), gated(type, s.rows * s.intermediate), upped(type, gated.size());
      mlp_forward(s, type, h.data(), weights, y.data(), gated.data(), upped.data(), Compute::kBF16);
      for (const Buffer& one : {y, gated, upped}) found.push_back(one);
    }
    for (size_t i = 3; i < found.size(); ++i) EXPECT_TRUE(found[i].same_bits(found[i % 3])) << i;
  }
  set_kernel_threads(before);
}

TEST(Mlp, BadArgumentsAreErrors) {
  const Compute compute = Compute::kF32;
  EXPECT_THROW(mlp_forward({1, 0, 4}, DType::kF32, nullptr, {}, nullptr, nullptr, nullptr, compute), Error);
  float one = 1;
  EXPECT_THROW(mlp_forward({1, 1, 1}, DType::kF32, &one, {}, &one, &one, nullptr, compute), Error);
  mlp_forward({0, 4, 4}, DType::kF32, nullptr, {}, nullptr, nullptr, nullptr, compute);
}

}  // namespace
}  // namespace gavel

#include "kernels/linear.h"

#include <fmt/format.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "kernels/convert.h"
#include "kernels/reference.h"
#include "kernels/thread_pool.h"

namespace gavel {
namespace {

using namespace testing_kernels;

std::string name(DType type) {
  return type == DType::kF32 ? "f32" : "bf16";
}

/** bf16 operands make products exact in float32 compute; then only the result's type rounds. */
double expected_error(DType compute, DType out) {
  return compute == DType::kBF16 || out == DType::kBF16 ? tolerance(DType::kBF16) : tolerance(DType::kF32);
}

using Types = std::tuple<DType, DType, DType, Compute>;  // x, w, y
class LinearTypes : public testing::TestWithParam<Types> {};

TEST_P(LinearTypes, ForwardAndInputGradientMatchDoubles) {
  const auto [xt, wt, yt, compute] = GetParam();
  const bool bf16 = has_native_bf16() && compute == Compute::kBF16;
  const double most = expected_error(bf16 ? DType::kBF16 : DType::kF32, yt);
  for (const LinearShape& s : {LinearShape{1, 1, 1}, LinearShape{3, 5, 7}, LinearShape{70, 33, 130},
                               LinearShape{300, 64, 48}, LinearShape{1100, 40, 24}}) {
    SCOPED_TRACE(fmt::format("{} x {} -> {}", s.rows, s.in, s.out));
    const Buffer x = Buffer::random(xt, s.rows * s.in, 1), w = Buffer::random(wt, s.out * s.in, 2),
                 bias = Buffer::random(wt, s.out, 3), dy = Buffer::random(xt, s.rows * s.out, 4);
    Buffer y(yt, s.rows * s.out), biased(yt, s.rows * s.out), dx(yt, s.rows * s.in);
    linear_forward(s, {xt, x.data()}, {wt, w.data()}, {}, {yt, y.data()}, compute);
    linear_forward(s, {xt, x.data()}, {wt, w.data()}, {wt, bias.data()}, {yt, biased.data()}, compute);
    linear_input_gradient(s, {xt, dy.data()}, {wt, w.data()}, {yt, dx.data()}, compute);
    std::vector<double> wanted = matmul(x.doubles(), w.doubles(), s.rows, s.out, s.in, false, true);
    EXPECT_LT(relative_error(y, wanted), most);
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += bias[static_cast<int64_t>(i) % s.out];
    EXPECT_LT(relative_error(biased, wanted), most);
    EXPECT_LT(relative_error(dx, matmul(dy.doubles(), w.doubles(), s.rows, s.in, s.out)), most);
  }
}

const DType kTypes[] = {DType::kF32, DType::kBF16};
std::string types_name(const testing::TestParamInfo<Types>& info) {
  const auto [x, w, y, compute] = info.param;
  return fmt::format("x_{}_w_{}_y_{}_compute{}", name(x), name(w), name(y), static_cast<int>(compute));
}
INSTANTIATE_TEST_SUITE_P(All, LinearTypes,
                         testing::Combine(testing::ValuesIn(kTypes), testing::ValuesIn(kTypes),
                                          testing::ValuesIn(kTypes), testing::Values(Compute::kBF16, Compute::kF32)),
                         types_name);

struct LoraCase {
  LinearShape s;
  int64_t rank;
  Buffer x, xl, w, a, b, dy;
  Lora lora;
  LoraCase(LinearShape shape, int64_t r, DType type)
      : s(shape),
        rank(r),
        x(Buffer::random(type, s.rows * s.in, 1)),
        xl(Buffer::random(type, s.rows * s.in, 2)),
        w(Buffer::random(type, s.out * s.in, 3)),
        a(Buffer::random(DType::kF32, r * s.in, 4)),
        b(Buffer::random(DType::kF32, s.out * r, 5)),
        dy(Buffer::random(type, s.rows * s.out, 6)),
        lora{r, 0.5f, a.floats(), b.floats()} {}
};

std::vector<double> add(std::vector<double> x, const std::vector<double>& y, double scale) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += scale * y[i];
  return x;
}

class LoraTypes : public testing::TestWithParam<std::tuple<DType, Compute>> {};

TEST_P(LoraTypes, ForwardAndGradientsMatchDoubles) {
  const auto [type, compute] = GetParam();
  const double most = tolerance(type);
  for (const auto& [s, rank] :
       {std::pair<LinearShape, int64_t>{{3, 5, 7}, 1}, {{300, 64, 48}, 4}, {{1100, 33, 24}, 16}, {{130, 40, 100}, 5}}) {
    SCOPED_TRACE(fmt::format("{} x {} -> {}, rank {}", s.rows, s.in, s.out, rank));
    LoraCase c(s, rank, type);
    Buffer y(type, s.rows * s.out), xa(DType::kF32, s.rows * rank);
    const ConstMatrix x{type, c.x.data()}, xl{type, c.xl.data()}, w{type, c.w.data()}, dy{type, c.dy.data()};
    linear_lora_forward(s, x, xl, w, {}, c.lora, {type, y.data()}, xa.floats(), compute);
    const auto want_xa = matmul(c.xl.doubles(), c.a.doubles(), s.rows, rank, s.in, false, true);
    EXPECT_LT(relative_error(xa, want_xa), most);
    const auto base = matmul(c.x.doubles(), c.w.doubles(), s.rows, s.out, s.in, false, true);
    const auto update = matmul(want_xa, c.b.doubles(), s.rows, s.out, rank, false, true);
    EXPECT_LT(relative_error(y, add(base, update, 0.5)), most);

    Buffer dx(type, s.rows * s.in), split(type, s.rows * s.in), dxl(type, s.rows * s.in);
    Buffer da(DType::kF32, rank * s.in), db(DType::kF32, s.out * rank), da2 = da, db2 = db;
    linear_lora_gradients(s, dy, xl, w, xa.floats(), c.lora, {{type, dx.data()}, {}, da.floats(), db.floats()},
                          compute);
    linear_lora_gradients(s, dy, xl, w, xa.floats(), c.lora,
                          {{type, split.data()}, {type, dxl.data()}, da2.floats(), db2.floats()}, compute);
    const auto u = matmul(c.dy.doubles(), c.b.doubles(), s.rows, rank, s.out);
    const auto want_dx = matmul(c.dy.doubles(), c.w.doubles(), s.rows, s.in, s.out);
    const auto want_dxl = matmul(u, c.a.doubles(), s.rows, s.in, rank);
    EXPECT_LT(relative_error(dx, add(want_dx, want_dxl, 0.5)), most);
    EXPECT_LT(relative_error(split, want_dx), most);
    EXPECT_LT(relative_error(dxl, add(std::vector<double>(want_dxl.size(), 0), want_dxl, 0.5)), most);
    const auto want_da = matmul(u, c.xl.doubles(), rank, s.in, s.rows, true);
    EXPECT_LT(relative_error(da, add(std::vector<double>(want_da.size(), 0), want_da, 0.5)), most);
    const auto want_db = matmul(c.dy.doubles(), want_xa, s.out, rank, s.rows, true);
    EXPECT_LT(relative_error(db, add(std::vector<double>(want_db.size(), 0), want_db, 0.5)), most);
    EXPECT_TRUE(da.same_bits(da2));
    EXPECT_TRUE(db.same_bits(db2));
  }
}

INSTANTIATE_TEST_SUITE_P(All, LoraTypes,
                         testing::Values(std::tuple(DType::kF32, Compute::kF32),
                                         std::tuple(DType::kBF16, Compute::kBF16),
                                         std::tuple(DType::kBF16, Compute::kF32)));

TEST(Linear, WithoutRowsNothingIsWritten) {
  LoraCase c({0, 4, 6}, 2, DType::kF32);
  Buffer da = Buffer::random(DType::kF32, 8, 1), db = Buffer::random(DType::kF32, 12, 1);
  float nothing = 7;
  const ConstMatrix x{DType::kF32, &nothing};
  linear_forward(c.s, x, {DType::kF32, c.w.data()}, {}, {DType::kF32, &nothing}, Compute::kF32);
  linear_lora_gradients(c.s, x, x, {DType::kF32, c.w.data()}, &nothing, c.lora,
                        {{DType::kF32, &nothing}, {}, da.floats(), db.floats()}, Compute::kF32);
  EXPECT_EQ(nothing, 7);
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(da[i], 0);
  for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(db[i], 0);
}

TEST(Lora, RefusesGradientsThatItDoesNotComputeAlone) {
  LoraCase c({2, 4, 6}, 2, DType::kF32);
  Buffer dxl(DType::kF32, 8), xa(DType::kF32, 4), da(DType::kF32, 8), db(DType::kF32, 12);
  const ConstMatrix dy{DType::kF32, c.dy.data()}, xl{DType::kF32, c.xl.data()}, w{DType::kF32, c.w.data()};
  const auto gradients = [&](const LoraGradients& wanted) {
    linear_lora_gradients(c.s, dy, xl, w, xa.floats(), c.lora, wanted, Compute::kF32);
  };
  EXPECT_THROW(gradients({{}, {}, da.floats(), nullptr}), Error);
  EXPECT_THROW(gradients({{}, {}, nullptr, db.floats()}), Error);
  EXPECT_THROW(gradients({{}, {DType::kF32, dxl.data()}, da.floats(), db.floats()}), Error);
}

TEST(Linear, CallersFromManyThreadsGetTheirOwnResults) {
  const LinearShape s{200, 32, 48};
  std::vector<Buffer> found;
  for (uint64_t i = 0; i < 6; ++i) found.emplace_back(DType::kF32, s.rows * s.out);
  const Buffer w = Buffer::random(DType::kF32, s.out * s.in, 2);
  std::vector<std::thread> callers;
  for (uint64_t i = 0; i < 6; ++i)
    callers.emplace_back([&, i] {
      const Buffer x = Buffer::random(DType::kF32, s.rows * s.in, 10 + i);
      for (int repeat = 0; repeat < 5; ++repeat)
        linear_forward(s, {DType::kF32, x.data()}, {DType::kF32, w.data()}, {}, {DType::kF32, found[i].data()},
                       Compute::kF32);
    });
  for (auto& caller : callers) caller.join();
  for (uint64_t i = 0; i < 6; ++i) {
    const Buffer x = Buffer::random(DType::kF32, s.rows * s.in, 10 + i);
    EXPECT_LT(relative_error(found[i], matmul(x.doubles(), w.doubles(), s.rows, s.out, s.in, false, true)), 2e-6);
  }
}

TEST(Linear, AnyNumberOfThreadsIsRight) {
  const int before = kernel_threads();
  for (int threads : {1, 3, 7}) {
    set_kernel_threads(threads);
    EXPECT_EQ(kernel_threads(), threads);
    for (const LinearShape& s : {LinearShape{2, 31, 300}, LinearShape{500, 31, 65}}) {
      const Buffer x = Buffer::random(DType::kF32, s.rows * s.in, 1), w = Buffer::random(DType::kF32, s.out * s.in, 2);
      Buffer y(DType::kF32, s.rows * s.out), again(DType::kF32, s.rows * s.out);
      linear_forward(s, {DType::kF32, x.data()}, {DType::kF32, w.data()}, {}, {DType::kF32, y.data()}, Compute::kF32);
      linear_forward(s, {DType::kF32, x.data()}, {DType::kF32, w.data()}, {}, {DType::kF32, again.data()},
                     Compute::kF32);
      EXPECT_LT(relative_error(y, matmul(x.doubles(), w.doubles(), s.rows, s.out, s.in, false, true)), 2e-6);
      EXPECT_TRUE(y.same_bits(again));
    }
  }
  set_kernel_threads(before);
}

/** With few threads a weight goes by columns, with more of them than it has panels by blocks of rows. */
TEST(Lora, ColumnsAndRowsGiveTheSameBits) {
  const int before = kernel_threads();
  for (DType type : {DType::kF32, DType::kBF16})
    for (Compute compute : {Compute::kBF16, Compute::kF32}) {
      const LoraCase c({37, 64, 208}, 5, type);
      std::vector<Buffer> found;
      for (int threads : {1, 2, 9}) {
        set_kernel_threads(threads);
        Buffer y(type, c.s.rows * c.s.out), xa(DType::kF32, c.s.rows * c.rank);
        linear_lora_forward(c.s, {type, c.x.data()}, {type, c.xl.data()}, {type, c.w.data()}, {}, c.lora,
                            {type, y.data()}, xa.floats(), compute);
        found.push_back(y);
        found.push_back(xa);
      }
      for (size_t i = 2; i < found.size(); ++i) EXPECT_TRUE(found[i].same_bits(found[i % 2])) << i;
    }
  set_kernel_threads(before);
}

TEST(Linear, RefusesOtherTypes) {
  float x = 0;
  const Compute compute = Compute::kF32;
  EXPECT_THROW(linear_forward({1, 1, 1}, {DType::kF16, &x}, {DType::kF32, &x}, {}, {DType::kF32, &x}, compute), Error);
  EXPECT_THROW(linear_forward({1, 0, 1}, {DType::kF32, &x}, {DType::kF32, &x}, {}, {DType::kF32, &x}, compute), Error);
}

TEST(ThreadPool, RunsEveryTaskOnceAndPassesErrorsOn) {
  KernelCall call;
  std::vector<std::atomic<int>> counts(1000);
  call.run(1000, [&](int64_t task, int worker) {
    EXPECT_LT(worker, call.threads());
    counts[static_cast<size_t>(task)]++;
  });
  for (const auto& count : counts) EXPECT_EQ(count, 1);
  EXPECT_THROW(call.run(100,
                        [](int64_t task, int) {
                          if (task == 50) fail("task {}", task);
                        }),
               Error);
  int after = 0;
  call.run(1, [&](int64_t, int) { ++after; });
  EXPECT_EQ(after, 1);
}

TEST(ThreadPool, DenormalsAreZeroOnEveryThreadAndOnlyInside) {
  volatile float small = 1e-30f;
  std::vector<float> products(64, 1);
  {
    KernelCall call;
    call.run(64, [&](int64_t task, int) { products[static_cast<size_t>(task)] = small * 1e-10f; });
  }
  for (float product : products) EXPECT_EQ(std::bit_cast<uint32_t>(product), 0u);
  EXPECT_NE(std::bit_cast<uint32_t>(small * 1e-10f), 0u);
}

TEST(Convert, RoundsAsTheScalarForm) {
  Random random(1);
  std::vector<float> values;
  for (int i = 0; i < 1003; ++i) values.push_back(std::bit_cast<float>(static_cast<uint32_t>(random.next())));
  values.insert(values.end(), {INFINITY, -INFINITY, NAN, 0.0f, -0.0f, 3.4e38f, 1e-40f});
  std::vector<uint16_t> half(values.size());
  narrow(values.data(), half.data(), values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    // The processor's own rounding takes a denormal for zero.
    const bool zero = has_native_bf16() && std::fpclassify(values[i]) == FP_SUBNORMAL;
    EXPECT_EQ(half[i], f32_to_bf16(zero ? std::copysign(0.0f, values[i]) : values[i]))
        << std::bit_cast<uint32_t>(values[i]);
  }
  std::vector<float> back(values.size());
  widen(half.data(), back.data(), half.size());
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(std::bit_cast<uint32_t>(back[i]), std::bit_cast<uint32_t>(bf16_to_f32(half[i])));
}

}  // namespace
}  // namespace gavel

#include "kernels/attention.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <hwy/targets.h>

#include <numeric>

#include "base/error.h"
#include "kernels/reference.h"
#include "kernels/thread_pool.h"

namespace gavel {
namespace {

using namespace testing_kernels;

struct Case {
  AttentionShape shape;
  int segments;  // most of them a row; 0: one segment and no padding
  bool shuffled = false;
};

std::vector<int32_t> make_segments(const Case& c, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> out;
  for (int64_t b = 0; b < c.shape.batch; ++b) {
    std::vector<int32_t> row(static_cast<size_t>(c.shape.keys), 1);
    if (c.segments > 0) {
      // Runs of random length; what is left is padding.
      size_t at = 0;
      std::fill(row.begin(), row.end(), 0);
      for (int32_t id = 1; id <= c.segments; ++id) {
        const size_t length = random.below(2 * row.size() / static_cast<size_t>(c.segments) + 1);
        for (size_t i = 0; i < length && at < row.size(); ++i) row[at++] = id;
      }
      if (c.shuffled) shuffle(row, random);
    }
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

struct Pass {
  Buffer q, k, v, d_o, o, lse, dq, dk, dv;
  std::vector<int32_t> segments;

  Pass(const Case& c, DType type, uint64_t seed)
      : q(Buffer::random(type, q_size(c.shape), seed, 2)),
        k(Buffer::random(type, k_size(c.shape), seed + 1, 2)),
        v(Buffer::random(type, k_size(c.shape), seed + 2)),
        d_o(Buffer::random(type, q_size(c.shape), seed + 3)),
        o(type, q_size(c.shape)),
        lse(DType::kF32, c.shape.batch * c.shape.heads * c.shape.queries),
        dq(type, q_size(c.shape)),
        dk(type, k_size(c.shape)),
        dv(type, k_size(c.shape)),
        segments(make_segments(c, seed + 4)) {}
  static int64_t q_size(const AttentionShape& s) { return s.batch * s.queries * s.heads * s.head_dim; }
  static int64_t k_size(const AttentionShape& s) { return s.batch * s.keys * s.kv_heads * s.head_dim; }

  void go(const AttentionShape& shape, float scale, AttentionMask mask = {}) {
    if (!mask.key_segments) mask.key_segments = segments.data();
    attention_forward(shape, q.type(), scale, q.data(), k.data(), v.data(), mask, o.data(), lse.floats());
    attention_backward(shape, q.type(), scale, q.data(), k.data(), v.data(), mask, o.data(), lse.floats(), d_o.data(),
                       {dq.data(), dk.data(), dv.data()});
  }
};

std::vector<int32_t> iota_positions(const AttentionShape& s) {
  std::vector<int32_t> out(static_cast<size_t>(s.batch * s.queries));
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int32_t>(i % static_cast<size_t>(s.queries));
  return out;
}

void expect_close(const Pass& run, const AttentionReference& reference) {
  const double most = tolerance(run.q.type());
  EXPECT_LT(relative_error(run.o, reference.o), most);
  EXPECT_LT(relative_error(run.lse, reference.lse), run.q.type() == DType::kF32 ? 2e-6 : 1e-4);
  EXPECT_LT(relative_error(run.dq, reference.dq), 2 * most);
  EXPECT_LT(relative_error(run.dk, reference.dk), 2 * most);
  EXPECT_LT(relative_error(run.dv, reference.dv), 2 * most);
}

class AttentionCases : public testing::TestWithParam<std::tuple<Case, DType>> {};

TEST_P(AttentionCases, ForwardAndBackwardMatchTheDefinition) {
  const auto& [c, type] = GetParam();
  const auto& s = c.shape;
  Pass run(c, type, 100);
  const float scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
  run.go(s, scale);
  const auto reference = attention_reference(s, scale, run.q.doubles(), run.k.doubles(), run.v.doubles(), run.segments,
                                             run.segments, iota_positions(s), run.d_o.doubles());
  expect_close(run, reference);
  // Padding: exactly zero, whatever stands there.
  for (int64_t i = 0; i < s.batch * s.queries; ++i) {
    if (run.segments[static_cast<size_t>(i)] != 0) continue;
    for (int64_t e = 0; e < s.heads * s.head_dim; ++e) {
      ASSERT_EQ(run.o[i * s.heads * s.head_dim + e], 0);
      ASSERT_EQ(run.dq[i * s.heads * s.head_dim + e], 0);
    }
    for (int64_t e = 0; e < s.kv_heads * s.head_dim; ++e) {
      ASSERT_EQ(run.dk[i * s.kv_heads * s.head_dim + e], 0);
      ASSERT_EQ(run.dv[i * s.kv_heads * s.head_dim + e], 0);
    }
  }
}

std::string case_name(const testing::TestParamInfo<std::tuple<Case, DType>>& info) {
  const auto& [c, type] = info.param;
  return fmt::format("b{}_s{}_h{}_{}_d{}_seg{}_{}", c.shape.batch, c.shape.queries, c.shape.heads, c.shape.kv_heads,
                     c.shape.head_dim, c.segments, dtype_name(type));
}
INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionCases,
    testing::Combine(testing::Values(Case{{1, 1, 1, 1, 1, 1}, 0}, Case{{1, 7, 7, 2, 1, 8}, 0},
                                     Case{{2, 64, 64, 2, 2, 16}, 0}, Case{{1, 65, 65, 3, 1, 40}, 2},
                                     Case{{2, 130, 130, 6, 2, 64}, 3}, Case{{1, 257, 257, 4, 4, 33}, 4},
                                     Case{{1, 200, 200, 2, 1, 128}, 5, true}, Case{{3, 97, 97, 4, 2, 80}, 1},
                                     Case{{1, 320, 320, 3, 1, 24}, 9}),
                     testing::Values(DType::kF32, DType::kBF16)),
    case_name);

TEST(Attention, QueriesAtChosenPositionsOnly) {
  for (DType type : {DType::kF32, DType::kBF16}) {
    const Case c{{2, 5, 150, 4, 2, 16}, 3};
    Pass run(c, type, 7);
    std::vector<int32_t> positions{149, 3, 70, 0, 20, 1, 2, 149, 64, 63}, segments;
    for (size_t i = 0; i < positions.size(); ++i)
      segments.push_back(run.segments[i / 5 * 150 + static_cast<size_t>(positions[i])]);
    segments[3] = 77;  // a segment that no key has: sees nothing
    run.go(c.shape, 0.25f, {run.segments.data(), segments.data(), positions.data()});
    expect_close(run, attention_reference(c.shape, 0.25, run.q.doubles(), run.k.doubles(), run.v.doubles(),
                                          run.segments, segments, positions, run.d_o.doubles()));
    for (int64_t h = 0; h < 4; ++h) EXPECT_EQ(run.lse[h * 5 + 3], 0);
  }
}

TEST(Attention, PaddingMayHoldAnything) {
  const Case c{{1, 100, 100, 2, 1, 16}, 0};
  Pass run(c, DType::kF32, 3);
  for (size_t i = 60; i < 100; ++i) run.segments[i] = 0;
  Pass dirty = run;
  for (int64_t i = 60 * 32; i < 100 * 32; ++i) {
    dirty.q.set(i, NAN);
    dirty.d_o.set(i, INFINITY);
  }
  for (int64_t i = 60 * 16; i < 100 * 16; ++i) {
    dirty.k.set(i, INFINITY);
    dirty.v.set(i, NAN);
  }
  run.go(c.shape, 0.25f);
  dirty.go(c.shape, 0.25f);
  EXPECT_TRUE(run.o.same_bits(dirty.o));
  EXPECT_TRUE(run.dq.same_bits(dirty.dq));
  EXPECT_TRUE(run.dk.same_bits(dirty.dk));
  EXPECT_TRUE(run.dv.same_bits(dirty.dv));
}

TEST(Attention, AnotherRunGivesTheSameBits) {
  const Case c{{2, 300, 300, 6, 2, 64}, 3};
  for (DType type : {DType::kF32, DType::kBF16}) {
    Pass first(c, type, 9), second(c, type, 9);
    first.go(c.shape, 0.125f);
    second.go(c.shape, 0.125f);
    EXPECT_TRUE(first.o.same_bits(second.o));
    EXPECT_TRUE(first.lse.same_bits(second.lse));
    EXPECT_TRUE(first.dq.same_bits(second.dq));
    EXPECT_TRUE(first.dk.same_bits(second.dk));
    EXPECT_TRUE(first.dv.same_bits(second.dv));
  }
}

TEST(Attention, OneRowIsSharedAmongManyThreads) {
  // One key head for five threads: dk and dv are sums of parts.
  const int before = kernel_threads();
  const Case c{{1, 300, 300, 3, 1, 32}, 2};
  set_kernel_threads(5);
  Pass many(c, DType::kF32, 11), again(c, DType::kF32, 11);
  many.go(c.shape, 0.2f);
  again.go(c.shape, 0.2f);
  set_kernel_threads(before);
  EXPECT_TRUE(many.dk.same_bits(again.dk));
  expect_close(many, attention_reference(c.shape, 0.2, many.q.doubles(), many.k.doubles(), many.v.doubles(),
                                         many.segments, many.segments, iota_positions(c.shape), many.d_o.doubles()));
}

TEST(Attention, PackedEqualsApart) {
  // Two sequences in one row give what each gives alone.
  const Case both{{1, 150, 150, 2, 1, 16}, 0};
  Pass packed(both, DType::kF32, 21);
  for (size_t i = 0; i < 150; ++i) packed.segments[i] = i < 90 ? 4 : 9;
  packed.go(both.shape, 0.25f);
  const AttentionShape alone{1, 60, 60, 2, 1, 16};
  Pass apart({alone, 0}, DType::kF32, 0);
  for (int64_t i = 0; i < 60 * 32; ++i) {
    apart.q.set(i, packed.q[90 * 32 + i]);
    apart.d_o.set(i, packed.d_o[90 * 32 + i]);
  }
  for (int64_t i = 0; i < 60 * 16; ++i) {
    apart.k.set(i, packed.k[90 * 16 + i]);
    apart.v.set(i, packed.v[90 * 16 + i]);
  }
  apart.go(alone, 0.25f);
  for (int64_t i = 0; i < 60 * 32; ++i) {
    ASSERT_NEAR(apart.o[i], packed.o[90 * 32 + i], 1e-6);
    ASSERT_NEAR(apart.dq[i], packed.dq[90 * 32 + i], 1e-5);
  }
  for (int64_t i = 0; i < 60 * 16; ++i) ASSERT_NEAR(apart.dk[i], packed.dk[90 * 16 + i], 1e-5);
}

TEST(Attention, LargeScoresStayFinite) {
  const Case c{{1, 80, 80, 1, 1, 16}, 0};
  Pass run(c, DType::kF32, 5);
  for (int64_t i = 0; i < run.q.size(); ++i) run.q.set(i, run.q[i] * 1e3);
  run.go(c.shape, 1.0f);
  const auto reference = attention_reference(c.shape, 1.0, run.q.doubles(), run.k.doubles(), run.v.doubles(),
                                             run.segments, run.segments, iota_positions(c.shape), {});
  // Scores of 1e4 carry an absolute error of 1e-3 in float32, and so do the probabilities.
  EXPECT_LT(relative_error(run.o, reference.o), 5e-3);
  EXPECT_LT(relative_error(run.dq, std::vector<double>(static_cast<size_t>(run.dq.size()), 0)), HUGE_VAL);
}

TEST(Attention, EightThousandTokens) {
  // 8,192 tokens in two sequences: full scores would be 256 MB a head. Some rows are checked one by one.
  const int64_t n = 8192;
  const Case c{{1, n, n, 1, 1, 16}, 0};
  Pass run(c, DType::kBF16, 31);
  for (size_t i = 5000; i < static_cast<size_t>(n); ++i) run.segments[i] = 2;
  run.go(c.shape, 0.25f);
  const AttentionShape few{1, 4, n, 1, 1, 16};
  const std::vector<int32_t> positions{8191, 5000, 4999, 100}, segments{2, 2, 1, 1};
  std::vector<double> q, wanted_lse;
  for (int32_t p : positions)
    for (int64_t e = 0; e < 16; ++e) q.push_back(run.q[p * 16 + e]);
  const auto reference =
      attention_reference(few, 0.25, q, run.k.doubles(), run.v.doubles(), run.segments, segments, positions, {});
  for (size_t i = 0; i < positions.size(); ++i) {
    EXPECT_NEAR(run.lse[positions[i]], reference.lse[i], 1e-3);
    for (int64_t e = 0; e < 16; ++e)
      EXPECT_NEAR(run.o[positions[i] * 16 + e], reference.o[i * 16 + static_cast<size_t>(e)], 4e-3);
  }
  // Values receive each query's whole gradient: the columns of dv and of do have the same sums.
  for (int64_t e = 0; e < 16; ++e) {
    double dv = 0, d_o = 0, size = 0;
    for (int64_t i = 0; i < n; ++i) {
      dv += run.dv[i * 16 + e];
      d_o += run.d_o[i * 16 + e];
      size += std::abs(run.d_o[i * 16 + e]);
    }
    EXPECT_NEAR(dv, d_o, size * 2e-3);
  }
}

TEST(Attention, EveryProcessorThisOneCanPlay) {
  // Vectors narrower than this machine's own, down to none, for the kernels that older processors run.
  const Case c{{2, 130, 130, 6, 2, 40}, 3};
  const int64_t supported = hwy::SupportedTargets();
  for (int64_t target : {HWY_AVX3, HWY_AVX2, HWY_SCALAR, HWY_EMU128}) {
    if ((supported & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    for (DType type : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(fmt::format("{} {}", hwy::TargetName(target), dtype_name(type)));
      Pass pass(c, type, 100);
      pass.go(c.shape, 0.3f);
      expect_close(
          pass, attention_reference(c.shape, 0.3, pass.q.doubles(), pass.k.doubles(), pass.v.doubles(), pass.segments,
                                    pass.segments, iota_positions(c.shape), pass.d_o.doubles()));
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
}

TEST(Attention, RefusesImpossibleShapes) {
  const std::vector<int32_t> segments(8, 1);
  float x[64] = {}, lse[8] = {};
  const AttentionMask mask{segments.data()};
  EXPECT_THROW(attention_forward({1, 4, 4, 3, 2, 2}, DType::kF32, 1, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 2, 4, 2, 2, 2}, DType::kF32, 1, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 4, 4, 2, 2, 2}, DType::kF16, 1, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 4, 4, 2, 2, 2}, DType::kF32, 0, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 4, 4, 2, 2, 2}, DType::kF32, 1, x, x, x, {}, x, lse), Error);
  attention_forward({0, 4, 4, 2, 2, 2}, DType::kF32, 1, x, x, x, mask, x, lse);
}

}  // namespace
}  // namespace gavel

#include "kernels/attention.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <hwy/targets.h>

#include <numeric>

#include "base/error.h"
#include "kernels/attention_blocks.h"
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

  void go(const AttentionShape& shape, const ScoreRule& rule, AttentionMask mask = {}) {
    if (!mask.key_segments) mask.key_segments = segments.data();
    attention_forward(shape, q.type(), rule, q.data(), k.data(), v.data(), mask, o.data(), lse.floats());
    attention_backward(shape, q.type(), rule, q.data(), k.data(), v.data(), mask, o.data(), lse.floats(), d_o.data(),
                       {dq.data(), dk.data(), dv.data()});
  }
};

std::vector<int32_t> iota_positions(const AttentionShape& s) {
  std::vector<int32_t> out(static_cast<size_t>(s.batch * s.queries));
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int32_t>(i % static_cast<size_t>(s.queries));
  return out;
}

void expect_close(const Pass& run, const AttentionReference& reference, double lse_tolerance = 2e-6) {
  const double most = tolerance(run.q.type());
  EXPECT_LT(relative_error(run.o, reference.o), most);
  EXPECT_LT(relative_error(run.lse, reference.lse), run.q.type() == DType::kF32 ? lse_tolerance : 1e-4);
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
  run.go(s, {scale});
  const auto reference = attention_reference(s, {scale}, run.q.doubles(), run.k.doubles(), run.v.doubles(),
                                             run.segments, run.segments, iota_positions(s), run.d_o.doubles());
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
  for (DType type : {DType::kF32, DType::kBF16})
    for (const auto& [window, softcap] : {std::pair<int64_t, float>{0, 0.0f}, {1, 0.0f}, {30, 0.25f}, {86, 50.0f}}) {
      SCOPED_TRACE(fmt::format("window {}, cap {}", window, softcap));
      const Case c{{2, 5, 150, 4, 2, 16}, 3};
      Pass run(c, type, 7);
      std::vector<int32_t> positions{149, 3, 70, 0, 20, 1, 2, 149, 64, 63}, segments;
      for (size_t i = 0; i < positions.size(); ++i)
        segments.push_back(run.segments[i / 5 * 150 + static_cast<size_t>(positions[i])]);
      segments[3] = 77;  // a segment that no key has: sees nothing
      run.go(c.shape, {0.25f, softcap}, {run.segments.data(), segments.data(), positions.data(), window});
      expect_close(run, attention_reference(c.shape, {0.25, softcap, window}, run.q.doubles(), run.k.doubles(),
                                            run.v.doubles(), run.segments, segments, positions, run.d_o.doubles()));
      for (int64_t h = 0; h < 4; ++h) EXPECT_EQ(run.lse[h * 5 + 3], 0);
    }
}

class AttentionRules : public testing::TestWithParam<std::tuple<int64_t, double, DType>> {};

TEST_P(AttentionRules, WindowAndSoftCapMatchTheDefinition) {
  const auto& [window, softcap, type] = GetParam();
  // One segment over several blocks, packed rows with padding, segments in no order, and Gemma's head dimension.
  for (const Case& c : {Case{{1, 200, 200, 2, 1, 32}, 0}, Case{{2, 230, 230, 4, 2, 16}, 3},
                        Case{{1, 150, 150, 2, 2, 40}, 4, true}, Case{{1, 131, 131, 2, 1, 256}, 2}}) {
    SCOPED_TRACE(fmt::format("{} places, head dimension {}", c.shape.keys, c.shape.head_dim));
    Pass run(c, type, 40);
    // Scores of about one: a small cap bends all of them, a large one next to none.
    const double scale = 1 / std::sqrt(static_cast<double>(c.shape.head_dim));
    run.go(c.shape, {static_cast<float>(scale), static_cast<float>(softcap)}, {.window = window});
    expect_close(
        run,
        attention_reference(c.shape, {static_cast<float>(scale), softcap, window}, run.q.doubles(), run.k.doubles(),
                            run.v.doubles(), run.segments, run.segments, iota_positions(c.shape), run.d_o.doubles()),
        // A small cap leaves small scores, but the errors of the products that they are made of.
        softcap > 0 && softcap < 1 ? 4e-6 : 2e-6);
  }
}

INSTANTIATE_TEST_SUITE_P(All, AttentionRules,
                         testing::Combine(testing::Values(0, 1, 2, 31, 63, 64, 65, 128, 150, 5000),
                                          testing::Values(0.0, 0.25, 50.0), testing::Values(DType::kF32, DType::kBF16)),
                         [](const auto& info) {
                           return fmt::format("window{}_cap{}_{}", std::get<0>(info.param),
                                              std::get<1>(info.param) == 0.25 ? "quarter"
                                              : std::get<1>(info.param) > 0   ? "50"
                                                                              : "none",
                                              dtype_name(std::get<2>(info.param)));
                         });

TEST(Attention, AWindowAsLongAsTheRowChangesNoBit) {
  const Case c{{1, 300, 300, 2, 1, 32}, 2};
  Pass plain(c, DType::kF32, 8), windowed(c, DType::kF32, 8);
  plain.go(c.shape, {0.2f});
  windowed.go(c.shape, {0.2f}, {.window = 300});
  EXPECT_TRUE(plain.o.same_bits(windowed.o));
  EXPECT_TRUE(plain.dq.same_bits(windowed.dq));
  EXPECT_TRUE(plain.dk.same_bits(windowed.dk));
}

/** How many pairs of blocks are worked on, for one row of `keys` places. */
int64_t meetings(int64_t keys, int64_t window, Meeting wanted) {
  const std::vector<int32_t> segments(static_cast<size_t>(keys), 1);
  const AttentionPlan plan({1, keys, keys, 1, 1, 16}, {.key_segments = segments.data(), .window = window});
  int64_t found = 0;
  for (int64_t i = 0; i < plan.query_blocks(); ++i)
    for (int64_t j = 0; j < plan.key_blocks(); ++j) found += plan.meeting(0, i, j) == wanted ? 1 : 0;
  return found;
}

TEST(Attention, BlocksOutsideTheWindowAreSkipped) {
  // 64 blocks of 64 places: the diagonal is partial, and what is below it is seen whole.
  EXPECT_EQ(meetings(4096, 0, Meeting::kPartial), 64);
  EXPECT_EQ(meetings(4096, 0, Meeting::kAll), 64 * 63 / 2);
  // A window of eight blocks: seven of them whole, and the oldest, which the window leaves, in part.
  EXPECT_EQ(meetings(4096, 512, Meeting::kAll), 7 * 57 + 7 * 6 / 2);
  EXPECT_EQ(meetings(4096, 512, Meeting::kPartial), 64 + 56);
  // Twice the row is twice the work.
  EXPECT_EQ(meetings(8192, 512, Meeting::kAll), 7 * 121 + 7 * 6 / 2);
  // The place itself needs no other block; one more place, and the first query of a block sees the last of the one before.
  EXPECT_EQ(meetings(4096, 1, Meeting::kPartial), 64);
  EXPECT_EQ(meetings(4096, 2, Meeting::kPartial), 64 + 63);
  EXPECT_EQ(meetings(4096, 65, Meeting::kPartial), 64 + 63);
  EXPECT_EQ(meetings(4096, 66, Meeting::kPartial), 64 + 63 + 62);
  // All queries of a block see all keys of the one before: the last sees the first, 127 places back.
  EXPECT_EQ(meetings(4096, 127, Meeting::kAll), 0);
  EXPECT_EQ(meetings(4096, 128, Meeting::kAll), 63);
}

/** Groups of a prefix and two texts, of random lengths, perhaps none; in order, as batches have them, or not. */
std::vector<int32_t> prefix_segments(const AttentionShape& shape, int32_t groups, bool shuffled) {
  Random random(77);
  std::vector<int32_t> out;
  for (int64_t b = 0; b < shape.batch; ++b) {
    std::vector<int32_t> row(static_cast<size_t>(shape.keys), 0);
    size_t at = 0;
    for (int32_t id = 4; id < 4 * groups + 4; ++id) {
      if (id % 4 == 3) continue;
      const size_t length = random.below(2 * row.size() / static_cast<size_t>(3 * groups) + 1);
      for (size_t i = 0; i < length && at < row.size(); ++i) row[at++] = id;
    }
    if (shuffled) shuffle(row, random);
    out.insert(out.end(), row.begin(), row.end());
  }
  return out;
}

TEST(Attention, TextsSeeTheirPrefixAndNotEachOther) {
  for (DType type : {DType::kF32, DType::kBF16})
    for (const auto& [c, groups] : {std::pair{Case{{1, 200, 200, 2, 1, 32}, 0}, 1},
                                    {Case{{2, 330, 330, 4, 2, 16}, 0}, 3},
                                    {Case{{1, 700, 700, 2, 1, 24}, 0}, 1},
                                    {Case{{1, 150, 150, 2, 2, 40}, 0, true}, 2}}) {
      SCOPED_TRACE(fmt::format("{} places, {}", c.shape.keys, dtype_name(type)));
      Pass run(c, type, 60);
      run.segments = prefix_segments(c.shape, groups, c.shuffled);
      run.go(c.shape, {0.25f, 5}, {.prefixes = true});
      expect_close(run,
                   attention_reference(c.shape, {0.25, 5, 0, true}, run.q.doubles(), run.k.doubles(), run.v.doubles(),
                                       run.segments, run.segments, iota_positions(c.shape), run.d_o.doubles()));
    }
  const std::vector<int32_t> one(100, 4);
  EXPECT_THROW(AttentionPlan({1, 100, 100, 1, 1, 16}, {.key_segments = one.data(), .window = 9, .prefixes = true}),
               Error);
}

TEST(Attention, APrefixIsSeenInWholeBlocks) {
  // Four blocks each of prefix, first and second text: the second's queries see all of the prefix and nothing of the first.
  std::vector<int32_t> segments;
  for (int32_t id : {4, 5, 6}) segments.insert(segments.end(), 256, id);
  const AttentionPlan plan({1, 768, 768, 1, 1, 16}, {.key_segments = segments.data(), .prefixes = true});
  EXPECT_EQ(plan.meeting(0, 8, 0), Meeting::kAll);
  EXPECT_EQ(plan.meeting(0, 11, 3), Meeting::kAll);
  EXPECT_EQ(plan.meeting(0, 11, 10), Meeting::kAll);
  EXPECT_EQ(plan.meeting(0, 11, 11), Meeting::kPartial);
  EXPECT_EQ(plan.meeting(0, 8, 5), Meeting::kNone);
  EXPECT_EQ(plan.meeting(0, 4, 8), Meeting::kNone);
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
  run.go(c.shape, {0.25f});
  dirty.go(c.shape, {0.25f});
  EXPECT_TRUE(run.o.same_bits(dirty.o));
  EXPECT_TRUE(run.dq.same_bits(dirty.dq));
  EXPECT_TRUE(run.dk.same_bits(dirty.dk));
  EXPECT_TRUE(run.dv.same_bits(dirty.dv));
}

TEST(Attention, AnotherRunGivesTheSameBits) {
  const Case c{{2, 300, 300, 6, 2, 64}, 3};
  for (DType type : {DType::kF32, DType::kBF16}) {
    Pass first(c, type, 9), second(c, type, 9);
    first.go(c.shape, {0.125f});
    second.go(c.shape, {0.125f});
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
  many.go(c.shape, {0.2f});
  again.go(c.shape, {0.2f});
  set_kernel_threads(before);
  EXPECT_TRUE(many.dk.same_bits(again.dk));
  expect_close(many, attention_reference(c.shape, {0.2}, many.q.doubles(), many.k.doubles(), many.v.doubles(),
                                         many.segments, many.segments, iota_positions(c.shape), many.d_o.doubles()));
}

TEST(Attention, PackedEqualsApart) {
  // Two sequences in one row give what each gives alone.
  const Case both{{1, 150, 150, 2, 1, 16}, 0};
  Pass packed(both, DType::kF32, 21);
  for (size_t i = 0; i < 150; ++i) packed.segments[i] = i < 90 ? 4 : 9;
  packed.go(both.shape, {0.25f});
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
  apart.go(alone, {0.25f});
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
  run.go(c.shape, {1.0f});
  const auto reference = attention_reference(c.shape, {1.0}, run.q.doubles(), run.k.doubles(), run.v.doubles(),
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
  run.go(c.shape, {0.25f});
  const AttentionShape few{1, 4, n, 1, 1, 16};
  const std::vector<int32_t> positions{8191, 5000, 4999, 100}, segments{2, 2, 1, 1};
  std::vector<double> q, wanted_lse;
  for (int32_t p : positions)
    for (int64_t e = 0; e < 16; ++e) q.push_back(run.q[p * 16 + e]);
  const auto reference =
      attention_reference(few, {0.25}, q, run.k.doubles(), run.v.doubles(), run.segments, segments, positions, {});
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
      for (const auto& [window, softcap] : {std::pair<int64_t, float>{0, 0.0f}, {40, 0.5f}}) {
        Pass pass(c, type, 100);
        pass.go(c.shape, {0.3f, softcap}, {.window = window});
        expect_close(pass, attention_reference(c.shape, {0.3, softcap, window}, pass.q.doubles(), pass.k.doubles(),
                                               pass.v.doubles(), pass.segments, pass.segments, iota_positions(c.shape),
                                               pass.d_o.doubles()));
      }
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
}

TEST(Attention, RefusesImpossibleShapes) {
  const std::vector<int32_t> segments(8, 1);
  float x[64] = {}, lse[8] = {};
  const AttentionMask mask{segments.data()};
  EXPECT_THROW(attention_forward({1, 4, 4, 3, 2, 2}, DType::kF32, {1}, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 2, 4, 2, 2, 2}, DType::kF32, {1}, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 4, 4, 2, 2, 2}, DType::kF16, {1}, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 4, 4, 2, 2, 2}, DType::kF32, {0}, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 4, 4, 2, 2, 2}, DType::kF32, {1}, x, x, x, {}, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 4, 4, 2, 2, 2}, DType::kF32, {1, -1}, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 4, 4, 2, 2, 2}, DType::kF32, {1, NAN}, x, x, x, mask, x, lse), Error);
  EXPECT_THROW(attention_forward({1, 4, 4, 2, 2, 2}, DType::kF32, {1}, x, x, x,
                                 {.key_segments = segments.data(), .window = -1}, x, lse),
               Error);
  attention_forward({0, 4, 4, 2, 2, 2}, DType::kF32, {1}, x, x, x, mask, x, lse);
}

}  // namespace
}  // namespace gavel

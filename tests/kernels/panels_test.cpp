#include "kernels/panels.h"

#include <fmt/format.h>
#include <hwy/targets.h>

#include "base/error.h"
#include "kernels/column_product.h"
#include "kernels/convert.h"
#include "kernels/packed_weight.h"
#include "kernels/reference.h"

namespace gavel {
namespace {

using namespace testing_kernels;

const DType kPanelTypes[] = {DType::kF32, DType::kBF16};

TEST(PackedWeight, MultipliesAsTheWeightItself) {
  for (DType type : kPanelTypes)
    for (DType stored : kPanelTypes)
      for (bool transposed : {false, true})
        for (auto [k, n] : {std::pair<int64_t, int64_t>{1, 1},
                            {2, 3},
                            {6, 70},
                            {32, 64},
                            {64, 448},
                            {96, 200},
                            {576, 576},
                            {33, 384},
                            {130, 127}}) {
          if (!packs_into_panels(type, k)) continue;
          for (int64_t rows : {1, 2, 3, 4, 5, 6, 13, 16, 23, 32, 37, 49}) {
            SCOPED_TRACE(fmt::format("{} rows of {} as {}, {} x {}{}", rows, dtype_name(stored), dtype_name(type), k, n,
                                     transposed ? ", transposed" : ""));
            const Buffer a = Buffer::random(type, rows * k, 1), w = Buffer::random(stored, k * n, 2);
            Buffer c(DType::kF32, rows * n);
            PackedWeight packed(type, k, n);
            KernelCall call;
            const Packing packing{&packed, {{stored, w.data()}, transposed}};
            pack_weights(call, {&packing, 1});
            packed.multiply(rows, a.data(), {DType::kF32, c.data()});
            EXPECT_LT(relative_error(c, matmul(a.doubles(), w.doubles(), rows, n, k, false, transposed)),
                      tolerance(type == stored ? DType::kF32 : type));
          }
        }
}

/** Panels have another width on each; in float32, since a target without pairs can't stand in for one with them. */
TEST(PackedWeight, EveryInstructionSetMultipliesAlike) {
  const int64_t rows = 11, k = 70, n = 150;
  const Buffer a = Buffer::random(DType::kF32, rows * k, 1), w = Buffer::random(DType::kF32, k * n, 2);
  const int64_t supported = hwy::SupportedTargets();
  for (int64_t target : {HWY_AVX3, HWY_AVX2, HWY_SCALAR, HWY_EMU128}) {
    if ((supported & target) == 0) continue;
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
    for (bool transposed : {false, true}) {
      Buffer c(DType::kF32, rows * n);
      PackedWeight packed(DType::kF32, k, n);
      KernelCall call;
      const Packing packing{&packed, {{DType::kF32, w.data()}, transposed}};
      pack_weights(call, {&packing, 1});
      packed.multiply(rows, a.data(), {DType::kF32, c.data()});
      EXPECT_LT(relative_error(c, matmul(a.doubles(), w.doubles(), rows, n, k, false, transposed)),
                tolerance(DType::kF32))
          << hwy::TargetName(target);
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
}

/** Two weights in one product, with all that may be asked for beside. */
TEST(Panels, TermsBiasAndSumsAddUp) {
  const int64_t rows = 11, k = 48, rank = 6;
  for (DType type : kPanelTypes)
    for (int64_t n : {64, 100, 208}) {
      if (!packs_into_panels(type, k)) continue;
      SCOPED_TRACE(fmt::format("{} x {}", dtype_name(type), n));
      const Buffer a = Buffer::random(type, rows * k, 1), w = Buffer::random(type, k * n, 2),
                   left = Buffer::random(type, rows * rank, 3), b = Buffer::random(DType::kF32, n * rank, 4),
                   bias = Buffer::random(DType::kF32, n, 5);
      PackedWeight base(type, k, n), low(type, rank, n);
      KernelCall call;
      const Packing packings[] = {{&base, {{type, w.data()}, false}}, {&low, {{DType::kF32, b.data()}, true, 0.5f}}};
      pack_weights(call, packings);
      const PanelTerm terms[] = {base.term(a.data(), k), low.term(left.data(), rank)};
      std::vector<double> wanted = matmul(a.doubles(), w.doubles(), rows, n, k);
      const std::vector<double> update = matmul(left.doubles(), b.doubles(), rows, n, rank, false, true);
      for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += 0.5 * update[i] + bias[static_cast<int64_t>(i) % n];
      for (DType out : kPanelTypes) {
        Buffer c(out, rows * n);
        panel_product(type, rows, n, terms, {{out, c.data()}, n, bias.floats(), {}});
        EXPECT_LT(relative_error(c, wanted), tolerance(type == DType::kBF16 ? type : out));
        // A row comes out the same in another block of rows.
        Buffer last(out, n);
        const PanelTerm of_last[] = {
            base.term(static_cast<const char*>(a.data()) + (rows - 1) * k * static_cast<int64_t>(byte_size(type)), k),
            low.term(static_cast<const char*>(left.data()) + (rows - 1) * rank * static_cast<int64_t>(byte_size(type)),
                     rank)};
        panel_product(type, 1, n, of_last, {{out, last.data()}, n, bias.floats(), {}});
        for (int64_t i = 0; i < n; ++i) ASSERT_EQ(last[i], c[(rows - 1) * n + i]) << i;
      }
      // Into part of a wider matrix, with something added; the second time to itself.
      for (DType out : kPanelTypes) {
        const int64_t leading = n + 7;
        Buffer c(out, rows * leading), more = Buffer::random(out, rows * leading, 6);
        for (int64_t i = 0; i < c.size(); ++i) c.set(i, 9);
        panel_product(type, rows, n, terms, {{out, c.data()}, leading, bias.floats(), {out, more.data()}});
        std::vector<double> sums = more.doubles();
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = 0; i < leading; ++i) {
            const auto at = static_cast<size_t>(r * leading + i);
            sums[at] = i < n ? sums[at] + wanted[static_cast<size_t>(r * n + i)] : 9;
          }
        EXPECT_LT(relative_error(c, sums), tolerance(type == DType::kBF16 ? type : out));
        panel_product(type, rows, n, terms, {{out, more.data()}, leading, bias.floats(), {out, more.data()}});
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = 0; i < n; ++i) ASSERT_EQ(more[r * leading + i], c[r * leading + i]);
      }
      // The second panel by itself.
      if (n > kPanelColumns) {
        Buffer c(DType::kF32, rows * n), part(DType::kF32, rows * (n - kPanelColumns));
        base.multiply(rows, a.data(), {DType::kF32, c.data()});
        const PanelTerm later = base.term(a.data(), k, kPanelColumns);
        panel_product(type, rows, n - kPanelColumns, {&later, 1},
                      {{DType::kF32, part.data()}, n - kPanelColumns, nullptr, {}});
        for (int64_t r = 0; r < rows; ++r)
          for (int64_t i = kPanelColumns; i < n; ++i)
            ASSERT_EQ(part[r * (n - kPanelColumns) + i - kPanelColumns], c[r * n + i]);
      }
    }
}

/** Column by column, on any number of threads, as with all weights packed first. */
TEST(Panels, ColumnsHaveTheSameBits) {
  const int64_t k = 48, rank = 6;
  for (DType type : kPanelTypes)
    for (int64_t n : {7, 64, 208, 330})
      for (int64_t rows : {1, 11, 37}) {
        if (!packs_into_panels(type, k)) continue;
        const Buffer a = Buffer::random(type, rows * k, 1), left = Buffer::random(type, rows * rank, 3),
                     w = Buffer::random(type, k * n, 2), b = Buffer::random(DType::kF32, n * rank, 4),
                     bias = Buffer::random(DType::kF32, n, 5);
        const PanelSource base{{type, w.data()}, true}, low{{DType::kF32, b.data()}, true, 0.5f};
        Buffer wanted(type, rows * n);
        {
          PackedWeight base_packed(type, k, n), low_packed(type, rank, n);
          KernelCall call;
          const Packing packings[] = {{&base_packed, base}, {&low_packed, low}};
          pack_weights(call, packings);
          const PanelTerm terms[] = {base_packed.term(a.data(), k), low_packed.term(left.data(), rank)};
          panel_product(type, rows, n, terms, {{type, wanted.data()}, n, bias.floats(), {}});
        }
        for (int threads : {1, 2, 3, 8}) {
          SCOPED_TRACE(fmt::format("{} rows, {} x {}, {} threads", rows, dtype_name(type), n, threads));
          const int before = kernel_threads();
          set_kernel_threads(threads);
          Buffer y(type, rows * n);
          {
            KernelCall call;
            const ColumnTerm terms[] = {{k, a.data(), base}, {rank, left.data(), low}};
            multiply_by_columns(call, type, rows, n, terms, {type, y.data()}, bias.floats());
          }
          set_kernel_threads(before);
          EXPECT_TRUE(y.same_bits(wanted));
        }
      }
}

TEST(LowRankWeight, MultipliesAsTheWeightItself) {
  for (DType type : kPanelTypes)
    for (bool transposed : {false, true})
      for (int64_t k : {32, 96, 576, 50})
        for (int64_t n : {1, 4, 6, 8, 16}) {
          if (!packs_into_panels(type, k)) continue;
          for (int64_t rows : {1, 6, 17}) {
            SCOPED_TRACE(
                fmt::format("{} rows, {}, {} x {}{}", rows, dtype_name(type), k, n, transposed ? ", transposed" : ""));
            const Buffer a = Buffer::random(type, rows * k, 1), w = Buffer::random(DType::kF32, k * n, 2);
            Buffer c(DType::kF32, rows * n);
            LowRankWeight(type, k, n, {{DType::kF32, w.data()}, transposed, 0.5f}).multiply(rows, a.data(), c.floats());
            std::vector<double> wanted = matmul(a.doubles(), w.doubles(), rows, n, k, false, transposed);
            for (double& value : wanted) value *= 0.5;
            EXPECT_LT(relative_error(c, wanted), tolerance(type));
          }
        }
}

TEST(Panels, WhatCannotBeMultipliedIsAnError) {
  EXPECT_FALSE(packs_into_panels(DType::kBF16, 3));
  EXPECT_FALSE(packs_into_panels(DType::kI32, 2));
  std::vector<float> memory(1024), c(64);
  EXPECT_THROW(pack_panels(DType::kBF16, 3, 1, {{DType::kF32, memory.data()}}, memory.data()), Error);
  const PanelTerm odd{3, memory.data(), 3, memory.data()};
  EXPECT_THROW(panel_product(DType::kBF16, 1, 1, {&odd, 1}, {{DType::kF32, c.data()}, 1, nullptr, {}}), Error);
  const PanelTerm term{4, memory.data(), 4, memory.data()};
  EXPECT_THROW(
      panel_product(DType::kF32, 1, 1, {&term, 1}, {{DType::kBF16, c.data()}, 1, nullptr, {DType::kF32, c.data()}}),
      Error);
}

/** Tiles end at 16 rows, 16 columns and 32 products: every way to miss an end, in a sum of two weights. */
TEST(Panels, RemaindersOfTilesAddUp) {
  for (DType type : kPanelTypes)
    for (int64_t rows : {15, 17, 31, 33, 48, 65})
      for (int64_t k : {30, 32, 62, 98})
        for (int64_t n : {15, 17, 33, 63, 65, 129}) {
          if (!packs_into_panels(type, k)) continue;
          SCOPED_TRACE(fmt::format("{} rows of {}, {} x {}", rows, dtype_name(type), k, n));
          const int64_t rank = k - 26;
          const Buffer a = Buffer::random(type, rows * k, 1), w = Buffer::random(type, k * n, 2),
                       left = Buffer::random(type, rows * rank, 3), b = Buffer::random(type, rank * n, 4);
          PackedWeight base(type, k, n), low(type, rank, n);
          KernelCall call;
          const Packing packings[] = {{&base, {{type, w.data()}, false}}, {&low, {{type, b.data()}, false}}};
          pack_weights(call, packings);
          const PanelTerm terms[] = {base.term(a.data(), k), low.term(left.data(), rank)};
          Buffer c(DType::kF32, rows * n + 1);
          c.set(rows * n, 9);
          panel_product(type, rows, n, terms, {{DType::kF32, c.data()}, n, nullptr, {}});
          std::vector<double> wanted = matmul(a.doubles(), w.doubles(), rows, n, k);
          const std::vector<double> more = matmul(left.doubles(), b.doubles(), rows, n, rank);
          for (size_t i = 0; i < wanted.size(); ++i) wanted[i] += more[i];
          wanted.push_back(9);
          EXPECT_LT(relative_error(c, wanted), tolerance(DType::kF32));
        }
}

TEST(RowBlocks, CoverAllRowsInOrderAndEndInSmallOnes) {
  EXPECT_EQ(RowBlocks(DType::kF32, 0, 2).count(), 0);
  for (int64_t rows : {1, 11, 95, 193, 1000, 3648, 4096})
    for (int threads : {1, 2, 7}) {
      const RowBlocks blocks(DType::kF32, rows, threads, 96);
      int64_t next = 0, before = 96;
      for (int64_t i = 0; i < blocks.count(); ++i) {
        EXPECT_EQ(blocks[i].first, next);
        EXPECT_GE(blocks[i].rows, 1);
        EXPECT_LE(blocks[i].rows, before);
        if (i + 1 < blocks.count()) {
          EXPECT_EQ(blocks[i].rows % 12, 0);
        }
        before = blocks[i].rows;
        next += blocks[i].rows;
      }
      EXPECT_EQ(next, rows);
    }
  const RowBlocks blocks(DType::kF32, 4096, 2, 96);
  EXPECT_EQ(blocks[0].rows, 96);
  EXPECT_LE(blocks[blocks.count() - 1].rows, 24);
}

}  // namespace
}  // namespace gavel

#include "plan/hlo_work.h"

#include <gtest/gtest.h>

#include "plan/hlo_builder.h"
#include "plan/hlo_module.h"

namespace gavel {
namespace {

using namespace hlo_builder;

constexpr double kProducts = 2.0 * 128 * 64 * 256;

/** A product over the left side's second dimension. */
std::string product(uint64_t type, uint64_t id, uint64_t left, uint64_t right) {
  return instruction("dot", array(type, {128, 64}), id, {left, right}) + text(30, number(1, 1));
}

ExecutedWork work_of(std::initializer_list<std::string> computations, const WorkRates& rates = {1, 1, 1, 1}) {
  std::string module = text(1, "module");
  for (const std::string& part : computations) module += text(3, part);
  const std::string proto = module + number(6, 1);
  return count_work(hlo::read_module(proto), rates, 3);
}

TEST(HloWork, AProductCountsByItsTypeAndReadsWhatItNeeds) {
  auto work = [](uint64_t type, const WorkRates& rates) {
    return work_of({computation(1, {instruction("parameter", array(type, {128, 256}), 11),
                                    instruction("parameter", array(type, {256, 64}), 12) + number(9, 1),
                                    product(type, 13, 11, 12)})},
                   rates);
  };
  const ExecutedWork wide = work(kF32, {.products = 1, .float32 = 10, .attention = 1, .memory = 1e9});
  EXPECT_EQ(wide.float32_flops, kProducts);
  EXPECT_EQ(wide.flops, 0);
  EXPECT_EQ(wide.bytes, 4 * (128 * 256 + 256 * 64 + 128 * 64));
  EXPECT_EQ(wide.launches, 1);
  EXPECT_DOUBLE_EQ(wide.seconds, kProducts / 10);
  const ExecutedWork narrow = work(kBF16, {.products = 1e12, .float32 = 1, .attention = 1, .memory = 2});
  EXPECT_EQ(narrow.flops, kProducts);
  EXPECT_DOUBLE_EQ(narrow.seconds, narrow.bytes / 2);  // whichever takes longer
  EXPECT_DOUBLE_EQ(work(kBF16, {.products = 1e12, .float32 = 1, .attention = 1, .memory = 1e12, .kernel = 3}).seconds,
                   3);
}

TEST(HloWork, ALoopsFusionReadsASliceOfTheStack) {
  const std::string fused =
      computation(3, {instruction("parameter", array(kBF16, {4, 256, 64}), 31),
                      instruction("parameter", array(kBF16, {128, 256}), 32) + number(9, 1),
                      instruction("bitcast", array(kBF16, {4, 256, 64}), 33, {31}),
                      instruction("dynamic-slice", array(kBF16, {256, 64}), 34, {33}), product(kBF16, 35, 32, 34)});
  const std::string body =
      computation(2, {instruction("parameter", tuple({array(kBF16, {4, 256, 64}), array(kBF16, {128, 256})}), 21),
                      instruction("get-tuple-element", array(kBF16, {4, 256, 64}), 22, {21}),
                      instruction("get-tuple-element", array(kBF16, {128, 256}), 23, {21}),
                      instruction("fusion", array(kBF16, {128, 64}), 24, {22, 23}, {3})});
  for (bool known : {true, false}) {
    const std::string entry = computation(
        1, {instruction("while", tuple({}), 11, {}, {2}, known ? R"({"known_trip_count":{"n":"10"}})" : "")});
    const ExecutedWork work = work_of({fused, body, entry});
    const double runs = known ? 10 : 3;
    EXPECT_EQ(work.flops, runs * kProducts);
    EXPECT_EQ(work.bytes, runs * 2 * (256 * 64 + 128 * 256 + 128 * 64));
    EXPECT_EQ(work.launches, runs);
  }
}

TEST(HloWork, WhatIsWrittenInPlaceCountsAsWhatIsPutThere) {
  const std::string fused = computation(2, {instruction("parameter", array(kF32, {100, 8}), 21),
                                            instruction("parameter", array(kF32, {1, 8}), 22) + number(9, 1),
                                            instruction("negate", array(kF32, {1, 8}), 23, {22}),
                                            instruction("dynamic-update-slice", array(kF32, {100, 8}), 24, {21, 23})});
  const std::string entry = computation(
      1, {instruction("parameter", array(kF32, {100, 8}), 11), instruction("parameter", array(kF32, {1, 8}), 12),
          instruction("fusion", array(kF32, {100, 8}), 13, {11, 12}, {2}),
          instruction("dynamic-update-slice", array(kF32, {100, 8}), 14, {13, 12})});
  EXPECT_EQ(work_of({fused, entry}).bytes, (32 + 32) + 2 * 32);
}

TEST(HloWork, LibrariesProductsAndAttentionAreKnownByTheirCalls) {
  const std::string gemm =
      instruction("custom-call", tuple({array(kBF16, {128, 64}), array(kBF16, {1000})}), 13, {11, 12}, {},
                  R"({"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],)"
                  R"("rhs_contracting_dimensions":["0"]}}})") +
      text(28, "__cublas$gemm");
  const std::string entry = computation(1, {instruction("parameter", array(kBF16, {128, 256}), 11),
                                            instruction("parameter", array(kBF16, {256, 64}), 12), gemm});
  EXPECT_EQ(work_of({entry}).flops, kProducts);
  auto attention = [](const std::string& target) {
    return work_of({computation(1, {instruction("parameter", array(kBF16, {2, 64, 8, 16}), 11),
                                    instruction("parameter", array(kBF16, {2, 32, 4, 16}), 12),
                                    instruction("custom-call", tuple({array(kBF16, {2, 64, 8, 16})}), 13, {11, 12}) +
                                        text(28, target)})},
                   {.products = 1, .float32 = 1, .attention = 4, .memory = 1e12});
  };
  const double forward = 2.0 * 2 * 64 * 8 * 32 * 16;  // two products of the causal half
  EXPECT_EQ(attention("__cudnn$fmhaSoftmax").attention_flops, forward);
  EXPECT_EQ(attention("__cudnn$fmhaSoftmaxBackward").attention_flops, 2.5 * forward);
  EXPECT_EQ(attention("__cudnn$fmhaSoftmax").seconds, forward / 4);
  EXPECT_EQ(attention("something else").attention_flops, 0);
}

TEST(HloWork, ACompilersCyclesAreAddedUp) {
  const std::string body =
      computation(2, {instruction("fusion", array(kF32, {1}), 21, {}, {}, R"({"estimated_cycles":"250"})"),
                      instruction("copy", array(kF32, {1}), 22, {}, {}, R"({"estimated_cycles":"50"})")});
  const std::string entry =
      computation(1, {instruction("while", tuple({}), 11, {}, {2}, R"({"known_trip_count":{"n":"4"}})"),
                      instruction("fusion", array(kF32, {1}), 12, {}, {}, R"({"estimated_cycles":"7"})")});
  EXPECT_EQ(work_of({body, entry}).cycles, 4 * 300 + 7);
}

}  // namespace
}  // namespace gavel

#include "plan/hlo_stats.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "plan/hlo_builder.h"

namespace gavel {
namespace {

using namespace hlo_builder;

std::string module_text() {
  std::string body = computation(2, {
                                        instruction("all-gather", array(kBF16, {8, 4}), 21),
                                        instruction("all-reduce-start", array(kF32, {10}), 22),
                                        instruction("all-reduce-done", array(kF32, {10}), 23, {22}),
                                    });
  std::string endless = computation(3, {instruction("collective-permute", array(kF32, {3}), 31)});
  std::string entry =
      computation(1, {
                         instruction("parameter", array(kF32, {16, 2}), 11),
                         instruction("reduce-scatter", array(kF32, {2, 2}), 12, {11}),
                         instruction("all-gather-start", tuple({array(kF32, {2}), array(kF32, {16})}), 13),
                         instruction("all-gather-done", array(kF32, {16}), 14, {13}),
                         instruction("while", tuple({}), 15, {11}, {2}, R"({"known_trip_count":{"n":"32"}})"),
                         instruction("while", tuple({}), 16, {11}, {3}),
                     });
  return text(1, "module") + text(3, body) + text(3, endless) + text(3, entry) + number(6, 1);
}

TEST(HloStats, CountsEachKindAndLoopsAsOftenAsTheyRun) {
  for (const std::string& proto : {module_text(), text(1, module_text()) + text(2, "config")}) {
    Collectives found = count_collectives(proto, 5, 8);
    EXPECT_EQ(found.bytes.at("all-gather"), 32 * 64 + 64);
    EXPECT_EQ(found.calls.at("all-gather"), 33);
    EXPECT_EQ(found.bytes.at("all-reduce"), 32 * 40);
    EXPECT_EQ(found.bytes.at("reduce-scatter"), 128);
    EXPECT_EQ(found.bytes.at("collective-permute"), 5 * 12);
    EXPECT_EQ(found.unknown_loops, 1);
    // Seven of eight parts come from others; a sum is scattered and gathered.
    EXPECT_EQ(found.received.at("all-gather"), 32 * 56 + 56);
    EXPECT_EQ(found.received.at("all-reduce"), 32 * 2 * 35);
    EXPECT_EQ(found.received.at("reduce-scatter"), 112);
    EXPECT_EQ(found.received.at("collective-permute"), 5 * 12);
    // All but what is started and ended apart.
    EXPECT_EQ(found.waited_for, 32 * 56 + 112 + 5 * 12);
  }
}

TEST(HloStats, WhatADeviceTakesInDependsOnItsGroup) {
  auto received = [](const std::string& of, const std::string& kind, int64_t devices = 8) {
    std::string entry = computation(1, {instruction("parameter", array(kF32, {4}), 11), of});
    return count_collectives(text(1, "module") + text(3, entry) + number(6, 1), 1, devices).received.at(kind);
  };
  const std::string sum = instruction("all-reduce", array(kF32, {10}), 12, {11});
  EXPECT_EQ(received(sum, "all-reduce"), 2 * 40 * 7 / 8.0);
  EXPECT_EQ(received(sum, "all-reduce", 1), 0);
  // Four groups of two: a list of groups, the same in the newer field, and as an iota. A newer form counts as two.
  const std::string pair = text(1, varint(0) + varint(1));
  EXPECT_EQ(received(sum + text(49, pair) + text(49, pair), "all-reduce"), 40);
  EXPECT_EQ(received(sum + text(87, text(1, pair)), "all-reduce"), 40);
  EXPECT_EQ(received(sum + text(87, text(2, number(1, 2) + number(2, 4))), "all-reduce"), 2 * 40 * 3 / 4.0);
  EXPECT_EQ(received(sum + text(87, text(3, "?")), "all-reduce"), 40);
  // A gather's own part is known from its operand, whatever the groups are.
  EXPECT_EQ(received(instruction("all-gather", array(kF32, {8}), 12, {11}), "all-gather"), 16);
  EXPECT_EQ(received(instruction("all-to-all", array(kF32, {4}), 12, {11}) + text(49, pair), "all-to-all"), 8);
}

TEST(HloStats, AStartThatIsNoStartIsWaitedFor) {
  for (bool sync : {false, true}) {
    std::string entry =
        computation(1, {instruction("all-gather-start", tuple({array(kF32, {2}), array(kF32, {16})}), 11, {}, {},
                                    sync ? R"({"collective_backend_config":{"is_sync":true}})" : "{}")});
    EXPECT_EQ(count_collectives(text(1, "module") + text(3, entry) + number(6, 1), 1, 8).waited_for, sync ? 56 : 0);
  }
}

std::string on_channel(const std::string& instruction, uint64_t channel) {
  return instruction + number(26, channel);
}

TEST(HloStats, ATransferInSeveralFusionsIsOne) {
  // A loop whose body has one transfer spread over three fusions, and another one beside them; the same channel's twin in
  // a second loop is a transfer of its own, and so are two without a channel.
  std::string gather = on_channel(instruction("all-gather", array(kBF16, {8, 4}), 41), 7);
  std::string other = on_channel(instruction("all-gather", array(kBF16, {8, 4}), 42), 8);
  std::string fused = computation(4, {gather}), again = computation(5, {gather}), beside = computation(6, {other});
  std::string body = computation(
      2, {instruction("fusion", array(kF32, {1}), 21, {}, {4}), instruction("fusion", array(kF32, {1}), 22, {}, {5}),
          instruction("async-start", tuple({}), 23, {}, {6}), instruction("async-update", tuple({}), 24, {23}, {6}),
          instruction("async-done", array(kBF16, {8, 4}), 25, {24}, {6})});
  std::string second = computation(
      3, {instruction("fusion", array(kF32, {1}), 31, {}, {4}), instruction("all-gather", array(kBF16, {2}), 32),
          instruction("all-gather", array(kBF16, {2}), 33)});
  std::string trips = R"({"known_trip_count":{"n":"10"}})";
  std::string entry = computation(
      1, {instruction("while", tuple({}), 11, {}, {2}, trips), instruction("while", tuple({}), 12, {}, {3}, trips)});
  std::string module = text(1, "module");
  for (const std::string& part : {fused, again, beside, body, second, entry}) module += text(3, part);
  Collectives found = count_collectives(module + number(6, 1), 1, 8);
  EXPECT_EQ(found.calls.at("all-gather"), 10 * 2 + 10 * 3);
  EXPECT_EQ(found.bytes.at("all-gather"), 10 * (64 + 64) + 10 * (64 + 4 + 4));
  EXPECT_EQ(found.waited_for, 10 * (3.5 + 3.5));  // what fusions spread goes on beside them
}

TEST(HloStats, ReadersOfACallAreSeenThroughTuplesAndFusions) {
  const std::string shape = array(kBF16, {8});
  // Parameter 1 of the fusion is what the call gave.
  std::string fused =
      computation(2, {instruction("parameter", shape, 21), instruction("parameter", shape, 22) + number(9, 1),
                      instruction("transpose", shape, 23, {22}), instruction("negate", shape, 24, {21})});
  std::string entry =
      computation(1, {instruction("custom-call", tuple({shape, shape}), 11) + text(28, "one"),
                      instruction("custom-call", shape, 12) + text(28, "other"),
                      instruction("get-tuple-element", shape, 13, {11}), instruction("bitcast", shape, 14, {13}),
                      instruction("fusion", shape, 15, {12, 13}, {2}), instruction("copy", shape, 16, {14})});
  const std::string module = text(1, "module") + text(3, fused) + text(3, entry) + number(6, 1);
  using Counts = std::map<std::string, int64_t>;
  EXPECT_EQ(readers_of_calls(module, "one"), (Counts{{"bitcast", 1}, {"transpose", 1}}));
  EXPECT_EQ(readers_of_calls(module, "other"), (Counts{{"negate", 1}}));
  EXPECT_EQ(readers_of_calls(module, "neither"), Counts());
}

TEST(HloStats, WhatIsNoProgramIsRefused) {
  EXPECT_THROW(count_collectives("", 1, 1), Error);
  EXPECT_THROW(count_collectives("\xff\xff\xff", 1, 1), Error);
  EXPECT_THROW(count_collectives(text(1, "name"), 1, 1), Error);
  std::string whole = module_text();
  for (size_t size = 0; size < whole.size(); ++size) {
    // Cut anywhere: an error or fewer counts, never a crash.
    try {
      count_collectives(whole.substr(0, size), 1, 8);
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace gavel

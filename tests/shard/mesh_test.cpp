#include "shard/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace gavel {
namespace {

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(Mesh, MinusOneTakesTheRest) {
  EXPECT_EQ(resolve_mesh({1, -1, 1}, 8), (Mesh{1, 8, 1}));
  EXPECT_EQ(resolve_mesh({2, -1, 2}, 8), (Mesh{2, 2, 2}));
  EXPECT_EQ(resolve_mesh({-1, 2, 1}, 2), (Mesh{1, 2, 1}));
  EXPECT_EQ(resolve_mesh({2, 2, 2}, 8), (Mesh{2, 2, 2}));
}

TEST(Mesh, RefusesWhatDoesNotFitTheDevices) {
  EXPECT_THAT(error_of([] { resolve_mesh({3, -1, 1}, 8); }), testing::HasSubstr("divisor of 8"));
  EXPECT_THAT(error_of([] { resolve_mesh({1, 4, 1}, 8); }), testing::HasSubstr("there are 8"));
  EXPECT_THAT(error_of([] { resolve_mesh({-1, -1, 1}, 8); }), testing::HasSubstr("only one axis"));
  EXPECT_THAT(error_of([] { resolve_mesh({0, 1, 1}, 1); }), testing::HasSubstr("at least 1"));
  EXPECT_THAT(error_of([] { resolve_mesh({-2, 1, 1}, 1); }), testing::HasSubstr("at least 1"));
}

TEST(Mesh, IsParsedAndPrinted) {
  EXPECT_EQ(parse_mesh("1x8x1", "mesh"), (Mesh{1, 8, 1}));
  EXPECT_EQ(parse_mesh("2,-1,4", "mesh"), (Mesh{2, -1, 4}));
  EXPECT_EQ(to_string(Mesh{2, 3, 4}), "2x3x4");
  for (const char* wrong : {"", "8", "1x8", "1x8x1x1", "axbxc", "1x8x1 "})
    EXPECT_THAT(error_of([&] { parse_mesh(wrong, "mesh"); }), testing::HasSubstr("dp, fsdp, mp")) << wrong;
}

TEST(Mesh, ShardsCoverTheArrayOnceForEachCopy) {
  Mesh mesh{2, 2, 2};
  Shape shape = {8, 6};
  for (const DimensionAxes& axes :
       std::vector<DimensionAxes>{{{"dp", "fsdp"}, {"mp"}}, {{"mp"}, {"fsdp"}}, {{}, {}}, {{"fsdp", "mp"}, {}}}) {
    std::vector<int> times(48, 0);
    for (int64_t device = 0; device < mesh.devices(); ++device) {
      Shard shard = shard_of(mesh, axes, shape, device);
      for (int64_t i = 0; i < shard.shape[0]; ++i)
        for (int64_t j = 0; j < shard.shape[1]; ++j)
          ++times[static_cast<size_t>((shard.start[0] + i) * 6 + shard.start[1] + j)];
    }
    std::set<int> different(times.begin(), times.end());
    EXPECT_EQ(different.size(), 1u) << to_string(axes);
  }
}

TEST(Mesh, FirstAxisIsTheMajorOne) {
  Mesh mesh{2, 4, 1};
  // Device 5 is dp 1, fsdp 1: part 1 * 4 + 1.
  EXPECT_EQ(shard_of(mesh, {{"dp", "fsdp"}}, {16}, 5).start[0], 10);
  EXPECT_EQ(shard_of(mesh, {{"fsdp", "dp"}}, {16}, 5).start[0], 6);
}

TEST(Mesh, UnevenShardsAreRefused) {
  EXPECT_THAT(error_of([] { shard_of({1, 8, 1}, {{"fsdp"}}, {9}, 0); }), testing::HasSubstr("does not divide"));
  EXPECT_THAT(error_of([] { shard_of({1, 8, 1}, {{"fsdp"}}, {8, 8}, 0); }), testing::HasSubstr("dimensions"));
}

}  // namespace
}  // namespace gavel

#include "pjrt/topology.h"

#include "pjrt_test_util.h"

namespace gavel::pjrt {
namespace {

using ::testing::HasSubstr;

TEST(Topology, CompilesWithoutAClient) {
  auto plugin = cpu_plugin();
  if (!plugin) GTEST_SKIP() << "the CPU plugin was not fetched (tools/fetch_packages.py)";
  EXPECT_THAT(error_of([&] { Topology::create(plugin, "moon base"); }),
              HasSubstr("describing the hardware 'moon base'"));
  Topology topology = Topology::of(shared_client(plugin, 1));
  EXPECT_EQ(topology.platform_name(), "cpu");
  EXPECT_FALSE(topology.devices().empty());
  Program program = topology.compile(R"(module @m { func.func @main(%a: tensor<8xf32>) -> tensor<8xf32> {
    %0 = stablehlo.add %a, %a : tensor<8xf32>
    return %0 : tensor<8xf32> } })",
                                     {}, "absent");
  EXPECT_EQ(program.num_outputs(), 1u);
  EXPECT_EQ(program.memory().arguments, 32);
  EXPECT_THAT(error_of([&] { topology.compile("nonsense", {}, "absent"); }),
              HasSubstr("compiling absent for absent hardware"));
}

}  // namespace
}  // namespace gavel::pjrt

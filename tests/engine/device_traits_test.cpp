#include "engine/device_traits.h"

#include <gtest/gtest.h>

namespace gavel {
namespace {

TEST(DeviceTraits, WhatACudaDeviceCallsDependsOnItsComputeCapability) {
  EXPECT_TRUE(device_traits("cuda", true, 75).kernels.plain());  // T4
  EXPECT_TRUE(device_traits("cuda", true).kernels.plain());      // not known
  EXPECT_EQ(device_traits("cuda", true, 80).kernels, device_traits("cuda", false, 89).kernels);
  EXPECT_NE(device_traits("cuda", true, 89).kernels, device_traits("cuda", true, 90).kernels);
  EXPECT_NE(device_traits("cuda", true, 90).kernels, device_traits("cuda", true, 120).kernels);
  EXPECT_FALSE(device_traits("cuda", true, 120).kernels.plain());
  EXPECT_FALSE(device_traits("cpu", true).kernels.plain());
  EXPECT_TRUE(device_traits("cpu", false).kernels.plain());
  EXPECT_TRUE(device_traits("tpu", true).kernels.plain());
}

TEST(DeviceTraits, OnlyCudaHasToBeToldToBeDeterministic) {
  const pjrt::Options told = device_traits("cuda", true, 90).compile_overrides(true);
  EXPECT_EQ(told, (pjrt::Options{{"xla_gpu_exclude_nondeterministic_ops", true}}));
  EXPECT_TRUE(device_traits("cuda", true, 90).compile_overrides(false).empty());
  EXPECT_TRUE(device_traits("cpu", true).compile_overrides(true).empty());
}

}  // namespace
}  // namespace gavel

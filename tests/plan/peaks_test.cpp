#include "plan/peaks.h"

#include <gtest/gtest.h>

namespace gavel {
namespace {

TEST(Peaks, AreOfTheDeviceThatHasTheName) {
  EXPECT_EQ(device_peak_flops("NVIDIA L4", DType::kBF16), 121e12);
  EXPECT_EQ(device_peak_flops("NVIDIA L40S", DType::kBF16), 362e12);  // not an L4
  EXPECT_EQ(device_peak_flops("NVIDIA H200", DType::kBF16), 989e12);  // the table says more than the driver
  EXPECT_EQ(device_peak_flops("NVIDIA A100-SXM4-80GB", DType::kF32), 19.5e12);
  EXPECT_EQ(device_peak_flops("TPU v5 lite", DType::kBF16), 197e12);
  EXPECT_EQ(device_peak_flops("TPU v4", DType::kBF16), 275e12);
}

TEST(Peaks, WhatHasNoBfloat16ComputesItInFloat32) {
  EXPECT_EQ(device_peak_flops("Tesla T4", DType::kBF16), 8.1e12);
  EXPECT_EQ(device_peak_flops("Tesla T4", DType::kF16), 65e12);
}

TEST(Peaks, OfOtherDevicesAreNotKnown) {
  for (const char* kind : {"NVIDIA H100 PCIe", "NVIDIA L", "cpu", ""})
    EXPECT_EQ(device_peak_flops(kind, DType::kBF16), 0);
}

}  // namespace
}  // namespace gavel

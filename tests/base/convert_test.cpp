#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "base/tensor.h"

namespace gavel {
namespace {

TEST(Convert, EveryHalfToFloat) {
  std::vector<uint16_t> halves(0x10000);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(i);
  auto held = std::make_shared<std::vector<uint16_t>>(halves);
  for (DType dtype : {DType::kF16, DType::kBF16}) {
    HostTensor floats = HostTensor(dtype, {0x10000}, held->data(), held).to(DType::kF32);
    size_t different = 0;
    for (size_t i = 0; i < halves.size(); ++i) {
      float expected = dtype == DType::kF16 ? f16_to_f32(halves[i]) : bf16_to_f32(halves[i]);
      different += std::memcmp(&expected, &floats.as<float>()[i], 4) != 0 ? 1 : 0;
    }
    EXPECT_EQ(different, 0u) << dtype_name(dtype);
  }
}

TEST(Convert, FloatToHalf) {
  // Every half is itself again.
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = f16_to_f32(static_cast<uint16_t>(half));
    if (std::isnan(value))
      EXPECT_EQ(f32_to_f16(value) & 0x7e00u, 0x7e00u);
    else
      EXPECT_EQ(f32_to_f16(value), half);
  }
  // Between two neighbours the nearer is taken, and in the middle the even one.
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = f16_to_f32(half), high = f16_to_f32(static_cast<uint16_t>(half + 1)), middle = (low + high) / 2;
    ASSERT_EQ(f32_to_f16(middle), half % 2 == 0 ? half : half + 1) << middle;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), half) << middle;
    ASSERT_EQ(f32_to_f16(-std::nextafter(middle, high)), (half + 1) | 0x8000) << middle;
  }
  // Beyond the largest there is none, where rounding would give it too.
  EXPECT_EQ(f32_to_f16(65504), 0x7bff);
  EXPECT_EQ(f32_to_f16(65505), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(HostTensor::from<float>({1, -2}, {2}).to(DType::kF16).as<uint16_t>()[1], 0xc000);
}

TEST(Convert, FloatToBf16AndOverDouble) {
  std::vector<float> values;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 65521)  // a prime: all upper and lower halves mix
    values.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  auto count = static_cast<int64_t>(values.size());
  HostTensor floats = HostTensor::from(values, {count});
  HostTensor rounded = floats.to(DType::kBF16);
  size_t different = 0;
  for (size_t i = 0; i < values.size(); ++i) different += rounded.as<uint16_t>()[i] != f32_to_bf16(values[i]) ? 1 : 0;
  EXPECT_EQ(different, 0u);
  HostTensor exact = HostTensor::from<float>({1.5f, -0.0f, 1e-40f, 3e38f}, {4});
  HostTensor back = exact.to(DType::kF64).to(DType::kF32);
  EXPECT_EQ(std::memcmp(back.data(), exact.data(), exact.bytes()), 0);
}

}  // namespace
}  // namespace gavel

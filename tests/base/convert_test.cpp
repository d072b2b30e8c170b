#include <gtest/gtest.h>

#include <cstring>
#include <vector>

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

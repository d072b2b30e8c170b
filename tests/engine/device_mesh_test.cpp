#include "engine/device_mesh.h"

#include <gtest/gtest.h>

#include <numeric>

namespace gavel {
namespace {

HostTensor numbered(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(num_elements(shape)));
  std::iota(values.begin(), values.end(), 0.0f);
  return HostTensor::from(values, shape);
}

TEST(DeviceMesh, SlicesAreWhatTheirPlacesSay) {
  HostTensor whole = numbered({4, 3, 6});
  for (const Shard& shard : std::vector<Shard>{{{0, 0, 0}, {4, 3, 6}},
                                               {{1, 0, 0}, {2, 3, 6}},
                                               {{2, 1, 0}, {1, 2, 6}},
                                               {{1, 1, 2}, {3, 2, 3}},
                                               {{0, 0, 4}, {4, 3, 2}}}) {
    HostTensor part = slice_tensor(whole, shard);
    ASSERT_EQ(part.shape(), shard.shape);
    size_t at = 0;
    for (int64_t i = 0; i < shard.shape[0]; ++i)
      for (int64_t j = 0; j < shard.shape[1]; ++j)
        for (int64_t k = 0; k < shard.shape[2]; ++k)
          EXPECT_EQ(part.as<float>()[at++],
                    static_cast<float>(((shard.start[0] + i) * 3 + shard.start[1] + j) * 6 + shard.start[2] + k));
  }
}

TEST(DeviceMesh, PastedSlicesGiveTheWholeBack) {
  HostTensor whole = numbered({4, 6}), again(DType::kF32, {4, 6});
  Mesh mesh{1, 2, 3};
  for (int64_t device = 0; device < 6; ++device) {
    Shard shard = shard_of(mesh, {{"fsdp"}, {"mp"}}, whole.shape(), device);
    paste_tensor(again, shard, slice_tensor(whole, shard));
  }
  for (size_t i = 0; i < 24; ++i) EXPECT_EQ(again.as<float>()[i], whole.as<float>()[i]);
  EXPECT_THROW(paste_tensor(again, {{0, 0}, {2, 2}}, numbered({2, 3})), Error);
}

TEST(DeviceMesh, ScalarsAndWholeTensorsAreNotCopied) {
  HostTensor scalar = numbered({}), rows = numbered({4, 6});
  EXPECT_EQ(slice_tensor(scalar, {{}, {}}).data(), scalar.data());
  // Rows side by side are a view.
  EXPECT_EQ(slice_tensor(rows, {{1, 0}, {2, 6}}).data(), static_cast<const float*>(rows.data()) + 6);
}

}  // namespace
}  // namespace gavel

#include <gtest/gtest.h>

#include "io/expect_error.h"
#include "io/sample_files.h"

namespace gavel {
namespace {

// tools/gguf_goldens.py wrote the file.
TEST(Dequantize, EveryTypeEqualsTheGgufPackageBitForBit) {
  std::string bytes = read_text(std::filesystem::path(GAVEL_SOURCE_DIR) / "tests/io/data/gguf_blocks.bin");
  size_t at = 0, types = 0;
  auto number = [&] {
    uint32_t value = 0;
    std::memcpy(&value, bytes.data() + at, 4);
    at += 4;
    return value;
  };
  while (at < bytes.size()) {
    uint32_t type = number(), size = number(), count = number();
    ASSERT_LE(at + size + count * 4, bytes.size());
    auto block = ggml_block(type);
    ASSERT_TRUE(block) << type;
    EXPECT_EQ(size / block->bytes * static_cast<size_t>(block->elements), count);
    std::vector<float> found(count);
    dequantize(static_cast<GgmlType>(type), reinterpret_cast<const uint8_t*>(bytes.data()) + at, count, found.data());
    at += size;
    size_t different = 0;
    for (size_t i = 0; i < count; ++i) different += std::memcmp(&found[i], bytes.data() + at + i * 4, 4) != 0 ? 1 : 0;
    EXPECT_EQ(different, 0u) << block->name;
    at += count * 4;
    ++types;
  }
  EXPECT_EQ(types, 17u);
}

TEST(Dequantize, RefusesPartsOfBlocks) {
  std::vector<uint8_t> data(18);
  std::vector<float> out(32);
  expect_error([&] { dequantize(GgmlType::kQ4_0, data.data(), 31, out.data()); }, {"31 elements of Q4_0"});
}

}  // namespace
}  // namespace gavel

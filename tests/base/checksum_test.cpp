#include "base/checksum.h"

#include <gtest/gtest.h>

#include <string_view>

#include "base/error.h"
#include "base/file.h"

namespace gavel {
namespace {

std::span<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

TEST(Checksum, ValuesOfTheCatalogues) {
  EXPECT_EQ(crc64(bytes("123456789")), 0x995dc9bbdf1939faull);  // CRC-64/XZ
  EXPECT_EQ(crc32c(bytes("123456789")), 0xe3069283u);
  std::string zeros(32, '\0');
  EXPECT_EQ(crc32c(bytes(zeros)), 0x8a9136aau);  // RFC 3720, B.4
  EXPECT_EQ(crc64({}), 0u);
  EXPECT_EQ(crc32c({}), 0u);
}

TEST(Checksum, GoesOnFromAnEarlierPart) {
  EXPECT_EQ(crc64(bytes("56789"), crc64(bytes("1234"))), crc64(bytes("123456789")));
}

TEST(Checksum, OfAFile) {
  auto path = std::filesystem::temp_directory_path() / "gavel_checksum_test";
  write_file(path, "123456789");
  EXPECT_EQ(digest_file(path), (FileDigest{9, 0x995dc9bbdf1939faull}));
  write_file(path, "");
  EXPECT_EQ(digest_file(path), (FileDigest{0, 0}));
  std::filesystem::remove(path);
  EXPECT_THROW(digest_file(path), Error);
  EXPECT_EQ(to_hex(0x1a), "000000000000001a");
  EXPECT_EQ(from_hex("000000000000001a"), 0x1au);
  EXPECT_EQ(from_hex(to_hex(~uint64_t{0})), ~uint64_t{0});
  for (const char* text : {"", "1a", "000000000000001g", "0x0000000000001a", "-00000000000001a", "000000000000001a0"})
    EXPECT_EQ(from_hex(text), std::nullopt) << text;
}

}  // namespace
}  // namespace gavel

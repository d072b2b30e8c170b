#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace gavel {

/** CRC-64/XZ (ECMA-182, reflected), as Intel's ISA-L computes it at memory speed. `before` is the checksum of
 * what came before, to go on from. */
uint64_t crc64(std::span<const uint8_t> bytes, uint64_t before = 0);

/** CRC-32C (Castagnoli; RFC 3720). */
uint32_t crc32c(std::span<const uint8_t> bytes);

/** What tells one file's content from another's: its size and checksum. A single changed byte always shows; other
 * content of the same size passes for the same with a chance of 2^-64. */
struct FileDigest {
  uint64_t bytes = 0;
  uint64_t crc64 = 0;
  bool operator==(const FileDigest&) const = default;
};

/** Reads the whole file. Throws Error naming it. */
FileDigest digest_file(const std::filesystem::path& path);

/** 16 hexadecimal digits. */
std::string to_hex(uint64_t value);
/** The other way; nothing for anything but those digits. */
std::optional<uint64_t> from_hex(std::string_view text);

}  // namespace gavel

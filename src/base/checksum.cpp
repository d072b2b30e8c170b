#include "base/checksum.h"

#include <fmt/format.h>
#include <isa-l/crc.h>
#include <isa-l/crc64.h>

#include <algorithm>
#include <charconv>

#include "base/file.h"

namespace gavel {

namespace {

// Files larger than memory are read in parts whose pages are given back.
constexpr size_t kPart = size_t{64} << 20;

}  // namespace

uint64_t crc64(std::span<const uint8_t> bytes, uint64_t before) {
  return crc64_ecma_refl(before, bytes.data(), bytes.size());
}

uint32_t crc32c(std::span<const uint8_t> bytes) {
  // ISA-L takes an int for the length and leaves the inversions of the standard to the caller.
  uint32_t crc = ~0u;
  for (size_t at = 0; at < bytes.size();) {
    size_t count = std::min(bytes.size() - at, kPart);
    crc = crc32_iscsi(const_cast<unsigned char*>(bytes.data() + at), static_cast<int>(count), crc);
    at += count;
  }
  return ~crc;
}

FileDigest digest_file(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  FileDigest digest{file->bytes().size(), 0};
  for (size_t at = 0; at < file->bytes().size(); at += kPart) {
    size_t count = std::min(file->bytes().size() - at, kPart);
    digest.crc64 = crc64(file->bytes().subspan(at, count), digest.crc64);
    file->release(at, count);
  }
  return digest;
}

std::string to_hex(uint64_t value) {
  return fmt::format("{:016x}", value);
}

std::optional<uint64_t> from_hex(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc() || end != text.data() + text.size() || text.size() != 16) return {};
  return value;
}

}  // namespace gavel

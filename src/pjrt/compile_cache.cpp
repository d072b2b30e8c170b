#include "pjrt/compile_cache.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"

namespace gavel::pjrt {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMagic = "gavelxla";
constexpr std::string_view kSuffix = ".xla";

/** Starts an entry; then key and payload. Read on the machine that wrote it, so native byte order. */
struct Header {
  char magic[8];
  uint64_t key_size;
  uint64_t payload_size;
  uint64_t checksum;  // of the payload
};

/** Finds accidents (torn writes, bad disks), not attacks: mix64 folded over 8-byte words. */
uint64_t checksum(std::string_view bytes) {
  uint64_t sum = mix64(bytes.size());
  for (size_t i = 0; i < bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min<size_t>(8, bytes.size() - i));
    sum = mix64(sum ^ word);
  }
  return sum;
}

std::string make_key(const Client& client, std::string_view mlir, const CompileOptions& options,
                     const CacheOptions& cache) {
  std::string fingerprint = client.fingerprint();
  std::string encoded = encode(options);
  std::string key;
  for (std::string_view part :
       {std::string_view(fingerprint), std::string_view(cache.extra_key), std::string_view(encoded), mlir})
    key += fmt::format("{}:{}\n", part.size(), part);
  return key;
}

/** The payload of an entry with this key; nothing when there is no such entry or it is damaged. */
std::optional<std::string_view> find_payload(const MappedFile& file, std::string_view key) {
  std::string_view text = file.text();
  Header header;
  if (text.size() < sizeof(header)) return std::nullopt;
  std::memcpy(&header, text.data(), sizeof(header));
  text.remove_prefix(sizeof(header));
  if (std::string_view(header.magic, sizeof(header.magic)) != kMagic || header.key_size != key.size() ||
      header.key_size > text.size() || header.payload_size != text.size() - header.key_size)
    return std::nullopt;
  if (text.substr(0, key.size()) != key) return std::nullopt;
  std::string_view payload = text.substr(key.size());
  return checksum(payload) == header.checksum ? std::optional(payload) : std::nullopt;
}

void write_entry(const fs::path& path, std::string_view key, std::string_view payload) {
  Header header;
  std::memcpy(header.magic, kMagic.data(), sizeof(header.magic));
  header.key_size = key.size();
  header.payload_size = payload.size();
  header.checksum = checksum(payload);
  AtomicFile file(path);
  file.write(&header, sizeof(header));
  file.write(key);
  file.write(payload);
  file.commit();
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

CachedCompile compile_cached(Client& client, std::string_view mlir, const CompileOptions& options,
                             const CacheOptions& cache, std::string_view name) {
  auto start = std::chrono::steady_clock::now();
  if (cache.folder.empty()) {
    Executable executable = client.compile(mlir, options, name);
    return {std::move(executable), false, seconds_since(start)};
  }
  std::string key = make_key(client, mlir, options, cache);
  fs::path path = cache.folder / fmt::format("{:016x}{}", checksum(key), kSuffix);
  std::error_code error;
  if (fs::is_regular_file(path, error)) {
    try {
      auto file = MappedFile::open(path);
      if (auto payload = find_payload(*file, key)) {
        Executable executable = client.deserialize(*payload, mlir, name);
        mark_used(path);
        return {std::move(executable), true, seconds_since(start)};
      }
      spdlog::warn("{}: the compiled program there is damaged or of another program; compiling again", path.string());
    } catch (const Error& problem) {
      spdlog::warn("{}: the compiled program there was refused, compiling again: {}", path.string(), problem.what());
    }
  }
  Executable executable = client.compile(mlir, options, name);
  double seconds = seconds_since(start);
  try {
    std::string payload = executable.serialize();
    make_folder(cache.folder);
    if (sizeof(Header) + key.size() + payload.size() <= cache.max_bytes) {
      write_entry(path, key, payload);
      trim_folder(cache.folder, kSuffix, cache.max_bytes);
    }
  } catch (const Error& problem) {
    spdlog::warn("compiled {} is not kept for the next run: {}", name, problem.what());
  }
  return {std::move(executable), false, seconds};
}

}  // namespace gavel::pjrt

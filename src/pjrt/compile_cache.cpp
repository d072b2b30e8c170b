#include "pjrt/compile_cache.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"

namespace gavel::pjrt {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kMagic = "gavelxl2";
constexpr std::string_view kEarlierMagic = "gavelxla";  // without a digest; written over
constexpr std::string_view kSuffix = ".xla";
constexpr const char* kSecretName = ".key";

using Secret = std::array<uint8_t, 32>;
using Digest = std::array<uint8_t, 32>;

/** Starts an entry: what it is, and the digest of all that follows: the sizes, key and payload. Read on the machine that wrote
 * it, so native byte order. */
struct Seal {
  char magic[8];
  Digest digest;
};
struct Sizes {
  uint64_t key;
  uint64_t payload;
};

/** HMAC-SHA256, which nobody can make who does not know the secret: an entry is machine code that is run. The processor has
 * instructions for it (a gigabyte a second, twice what BLAKE2 takes here). Throws Error when the library can't. */
Digest digest_of(const Secret& secret, std::string_view bytes) {
  Digest digest;
  size_t size = 0;
  if (::EVP_Q_mac(nullptr, "HMAC", nullptr, "SHA256", nullptr, secret.data(), secret.size(),
                  reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data(), digest.size(),
                  &size) == nullptr ||
      size != digest.size())
    fail("libcrypto computes no HMAC-SHA256");
  return digest;
}

/** Puts a new secret there, unless another process was first. */
void make_secret(const fs::path& path) {
  Secret secret;
  if (::getentropy(secret.data(), secret.size()) != 0)
    fail("{}: no random bytes: {}", path.string(), std::strerror(errno));
  std::string name = path.string() + ".XXXXXX";
  const Descriptor file(::mkostemp(name.data(), O_CLOEXEC));  // for this user alone
  if (file.get() < 0) fail("{}: can't be written: {}", path.string(), std::strerror(errno));
  const bool written = ::write(file.get(), secret.data(), secret.size()) == static_cast<ssize_t>(secret.size()) &&
                       ::fsync(file.get()) == 0;
  const bool there = written && (::link(name.c_str(), path.c_str()) == 0 || errno == EEXIST);
  const int error = errno;
  ::unlink(name.c_str());
  if (!there) fail("{}: can't be written: {}", path.string(), std::strerror(error));
}

/** The secret that this folder's entries are sealed with, made where there is none. Throws Error where it is not one that
 * this user alone knows. */
Secret secret_of(const fs::path& folder) {
  const fs::path path = folder / kSecretName;
  for (const bool may_make : {true, false}) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (file.get() < 0) {
      if (errno != ENOENT || !may_make) fail("{}: can't be opened: {}", path.string(), std::strerror(errno));
      make_secret(path);
      continue;
    }
    struct stat status{};
    Secret secret;
    if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != ::geteuid() ||
        (status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
      fail("{}: others can read or write it, so what it seals can't be trusted: remove it", path.string());
    if (::read(file.get(), secret.data(), secret.size()) != static_cast<ssize_t>(secret.size()) ||
        status.st_size != static_cast<off_t>(secret.size()))
      fail("{}: expected {} bytes, found {}: remove it", path.string(), secret.size(), status.st_size);
    return secret;
  }
  fail("{}: can't be made", path.string());
}

/** Makes the folder, or takes from others what an earlier version left them, whatever umask says. */
void make_private(const fs::path& folder) {
  make_folder(folder.parent_path());
  struct stat status{};
  if (::mkdir(folder.c_str(), S_IRWXU) != 0 && errno != EEXIST)
    fail("{}: the folder can't be made: {}", folder.string(), std::strerror(errno));
  if (::stat(folder.c_str(), &status) == 0 && status.st_uid == ::geteuid() && (status.st_mode & 07777) != S_IRWXU)
    ::chmod(folder.c_str(), S_IRWXU);
}

/** For names of entries alone. */
uint64_t hash_of(std::string_view bytes) {
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

/** The payload of an entry with this key; nothing when there is no such entry, or it is not as this user's Gavel wrote it. */
std::optional<std::string_view> find_payload(const MappedFile& file, std::string_view key, const Secret& secret) {
  std::string_view text = file.text();
  Seal seal;
  Sizes sizes;
  if (text.size() < sizeof(seal) + sizeof(sizes)) return std::nullopt;
  std::memcpy(&seal, text.data(), sizeof(seal));
  text.remove_prefix(sizeof(seal));
  if (std::string_view(seal.magic, sizeof(seal.magic)) != kMagic) return std::nullopt;
  const std::string_view sealed = text;
  std::memcpy(&sizes, text.data(), sizeof(sizes));
  text.remove_prefix(sizeof(sizes));
  if (sizes.key != key.size() || sizes.key > text.size() || sizes.payload != text.size() - sizes.key)
    return std::nullopt;
  if (text.substr(0, key.size()) != key) return std::nullopt;
  const Digest digest = digest_of(secret, sealed);
  if (::CRYPTO_memcmp(digest.data(), seal.digest.data(), digest.size()) != 0) return std::nullopt;
  return text.substr(key.size());
}

size_t entry_bytes(std::string_view key, std::string_view payload) {
  return sizeof(Seal) + sizeof(Sizes) + key.size() + payload.size();
}

void write_entry(const fs::path& path, std::string_view key, std::string_view payload, const Secret& secret) {
  const Sizes sizes{key.size(), payload.size()};
  std::string sealed(reinterpret_cast<const char*>(&sizes), sizeof(sizes));
  sealed += key;
  sealed += payload;
  Seal seal;
  std::memcpy(seal.magic, kMagic.data(), sizeof(seal.magic));
  seal.digest = digest_of(secret, sealed);
  AtomicFile file(path);
  file.write(&seal, sizeof(seal));
  file.write(sealed);
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
  fs::path path = cache.folder / fmt::format("{:016x}{}", hash_of(key), kSuffix);
  std::optional<Secret> secret;
  try {
    make_private(cache.folder);
    secret = secret_of(cache.folder);
  } catch (const Error& problem) {
    spdlog::warn("compiled programs are not kept, nor taken from {}: {}", cache.folder.string(), problem.what());
  }
  std::error_code error;
  if (secret && fs::is_regular_file(path, error)) {
    try {
      auto file = MappedFile::open(path);
      if (auto payload = find_payload(*file, key, *secret)) {
        Executable executable = client.deserialize(*payload, mlir, name);
        mark_used(path);
        return {std::move(executable), true, seconds_since(start)};
      }
      if (!file->text().starts_with(kEarlierMagic))
        spdlog::warn(
            "{}: the compiled program there is damaged, of another program or not of this user's Gavel; compiling "
            "again",
            path.string());
    } catch (const Error& problem) {
      spdlog::warn("{}: the compiled program there was refused, compiling again: {}", path.string(), problem.what());
    }
  }
  Executable executable = client.compile(mlir, options, name);
  double seconds = seconds_since(start);
  if (!secret) return {std::move(executable), false, seconds};
  try {
    std::string payload = executable.serialize();
    if (entry_bytes(key, payload) <= cache.max_bytes) {
      write_entry(path, key, payload, *secret);
      trim_folder(cache.folder, kSuffix, cache.max_bytes);
    }
  } catch (const Error& problem) {
    spdlog::warn("compiled {} is not kept for the next run: {}", name, problem.what());
  }
  return {std::move(executable), false, seconds};
}

}  // namespace gavel::pjrt

#include "hub/content_hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/file.h"

namespace gavel {

std::string content_hash(const std::filesystem::path& path, bool lfs) {
  const auto file = MappedFile::open(path);
  const std::unique_ptr<EVP_MD_CTX, decltype(&::EVP_MD_CTX_free)> context(::EVP_MD_CTX_new(), &::EVP_MD_CTX_free);
  bool done = context && ::EVP_DigestInit_ex(context.get(), lfs ? ::EVP_sha256() : ::EVP_sha1(), nullptr) == 1;
  const std::string head = lfs ? "" : fmt::format("blob {}", file->bytes().size());
  if (!lfs) done = done && ::EVP_DigestUpdate(context.get(), head.c_str(), head.size() + 1) == 1;
  // Files larger than memory are read in parts whose pages are given back.
  constexpr size_t kPart = size_t{64} << 20;
  for (size_t at = 0; done && at < file->bytes().size(); at += kPart) {
    const auto part = file->bytes().subspan(at, std::min(kPart, file->bytes().size() - at));
    done = ::EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
    file->release(at, part.size());
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  if (!done || ::EVP_DigestFinal_ex(context.get(), digest.data(), &size) != 1)
    fail("{}: libcrypto computes no {}", path.string(), lfs ? "SHA-256" : "SHA-1");
  std::string text;
  for (unsigned char byte : std::span(digest).first(size)) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace gavel

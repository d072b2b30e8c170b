#pragma once
#include <filesystem>
#include <string>

namespace gavel {

/** The name of a file's content at the hub, in hexadecimal digits: SHA-256 for what lies in Git LFS (64 digits), else the SHA-1 that
 * git gives a blob (40). Throws Error naming the file. */
std::string content_hash(const std::filesystem::path& path, bool lfs);

}  // namespace gavel

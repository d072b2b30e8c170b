#pragma once
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace gavel {

/** Opens a file for writing, made when it is not there with the access bits `mode` less the umask; `flags` are open()'s. Throws
 * Error when that fails, and for a pipe, a device or a socket, without waiting for its other end. The caller closes it. */
int open_to_write(const std::filesystem::path& path, int flags, unsigned mode = 0666);

/** Whether `path` still names the open file: false once somebody has removed or replaced it. */
bool is_at(int descriptor, const std::filesystem::path& path);

/** Appends `text` whole or not at all to an open file of `size` bytes, and adds to `size` what was written. When
 * writing fails, the file is cut back to `size` and an Error that names `path` is thrown. */
void append_whole(int descriptor, const std::filesystem::path& path, std::string_view text, int64_t& size);

}  // namespace gavel

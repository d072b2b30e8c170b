#pragma once
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace gavel {

/** Whether the open file is the one that is found at `path` now (somebody may have removed or replaced it).
 */
bool is_at(int descriptor, const std::filesystem::path& path);

/** Appends to an open file of `size` bytes so that it never ends with a part: on failure the part is cut off
 * again, and Error names `path`. `size` grows with the file. */
void append_whole(int descriptor, const std::filesystem::path& path, std::string_view text, int64_t& size);

}  // namespace gavel

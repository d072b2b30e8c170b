#pragma once
#include <memory>
#include <string_view>

#include "base/file.h"

namespace gavel::detail {

enum class Packing : uint8_t { kNone, kGzip, kZstd, kXz };

/** How a file that begins so is packed. */
Packing packing_of(std::string_view text);

/** The content of a packed file (of all its members, frames or streams), in a temporary file without a name that is mapped in
 * its place; nullptr for another file. Holds a few MiB and what the decoder looks back on, at most 256 MiB. Throws Error naming
 * the file for one that is damaged or ends early, with the byte, and for one that becomes more than 200 times as long, which
 * text does not. */
std::shared_ptr<const MappedFile> unpack(const MappedFile& file);

}  // namespace gavel::detail

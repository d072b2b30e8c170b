#pragma once
#include <memory>

#include "base/file.h"

namespace gavel::detail {

/** The content of a gzip file (of all its members), in a temporary file without a name that is mapped in its place; nullptr
 * for another file. Throws Error naming the file for one that is damaged or ends early, with the byte, and for one that
 * becomes more than 200 times as long, which text does not. */
std::shared_ptr<const MappedFile> unpack(const MappedFile& file);

}  // namespace gavel::detail

#pragma once
#include <memory>

#include "rows/row_source.h"

namespace gavel::detail {

/** Opens a file of rows. What it is, is told by how it begins, but CSV and JSONL by the name's end (.csv, .jsonl, .ndjson;
 * .gz behind it is ignored), else by the first letter. A gzip file is unpacked into a temporary file that has no name. Throws
 * Error for what is neither, with the command that makes of it what is read. */
std::unique_ptr<RowSource> open_rows(const std::filesystem::path& path, const ReadOptions& options);

}  // namespace gavel::detail

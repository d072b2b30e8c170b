#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "base/file.h"

namespace gavel {

enum class TableKind : uint8_t { kCsv, kJson, kParquet };

/** A file of rows, unpacked, and how its rows are written. */
struct TableFile {
  std::shared_ptr<const MappedFile> file;
  TableKind kind = TableKind::kCsv;
};

/** Opens a file of rows. What it is, is told by how it begins, but CSV and JSON by the name's end (.csv, .jsonl, .ndjson;
 * .gz, .zst and .xz behind it are ignored), else by the first letter. A gzip, Zstandard or xz file, told by its first bytes, is
 * unpacked into a temporary file that has no name. Throws Error for what is neither, with the command that makes of it what is
 * read. */
TableFile open_table(const std::filesystem::path& path);

/** The name's end without that of a packed file: ".csv" of "a.csv.gz". */
std::string table_extension(const std::filesystem::path& path);
/** Whether the name says that the file is packed. */
bool is_packed_name(const std::filesystem::path& path);

}  // namespace gavel

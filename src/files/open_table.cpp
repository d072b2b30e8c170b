#include "files/open_table.h"

#include "base/error.h"
#include "files/unpack.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

bool is_json(const MappedFile& file) {
  const std::string extension = table_extension(file.path());
  if (extension == ".jsonl" || extension == ".ndjson") return true;
  std::string_view text = file.text();
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const std::string_view blanks = " \t\r\n";
  const size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return false;
  if (extension != ".csv") return text[first] == '{' || text[first] == '[' || text[first] == '\x1E';
  // JSON under the name of CSV: no header begins with an object's key, or with a list of objects.
  const size_t second = text.find_first_not_of(blanks, first + 1);
  return second != std::string_view::npos &&
         ((text[first] == '{' && text[second] == '"') || (text[first] == '[' && text[second] == '{'));
}

/** Refuses what is known and not read, by name. */
void refuse_others(std::string_view text, const fs::path& path) {
  auto refuse = [&](std::string_view what, std::string_view command) {
    fail("{}: expected CSV, JSON or Parquet, found {}: unpack it first ({} {})", path.string(), what, command,
         path.string());
  };
  refuse_lfs_pointer(text, path);
  if (text.starts_with("PK\x03\x04")) refuse("a zip file", "unzip");
  if (text.starts_with("BZh") && text.size() > 4 && text.substr(4).starts_with("\x31\x41\x59\x26\x53\x59"))
    refuse("a bzip2 file", "bunzip2 -k");
  // Without a byte-order mark UTF-16 shows by every second byte of a first word in Latin letters.
  auto zeros_at = [&](size_t first) {
    return text.size() >= 4 && text[first] == '\0' && text[first + 2] == '\0' && text[1 - first] != '\0';
  };
  const bool little = text.starts_with("\xFF\xFE") || zeros_at(1), big = text.starts_with("\xFE\xFF") || zeros_at(0);
  if (little || big)
    fail("{}: expected UTF-8, found UTF-16: convert it first (iconv -f UTF-16{} -t UTF-8 {} > NEW)", path.string(),
         text[0] == '\xFF' || text[0] == '\xFE' ? ""
         : little                               ? "LE"
                                                : "BE",
         path.string());
}

}  // namespace

std::string table_extension(const fs::path& path) {
  return (is_packed_name(path) ? path.stem() : path).extension().string();
}

bool is_packed_name(const fs::path& path) {
  return path.extension() == ".gz" || path.extension() == ".zst" || path.extension() == ".xz";
}

TableFile open_table(const fs::path& path) {
  auto file = MappedFile::open(path);
  if (file->text().starts_with("PAR1")) return {std::move(file), TableKind::kParquet};
  if (auto unpacked = detail::unpack(*file)) {
    const bool parquet = unpacked->text().starts_with("PAR1");
    if (parquet || detail::packing_of(unpacked->text()) != detail::Packing::kNone)
      fail("{}: expected CSV or JSON in the packed file, found {}: unpack it first", path.string(),
           parquet ? "Parquet" : "another packed file");
    file = std::move(unpacked);
  }
  refuse_others(file->text(), path);
  const TableKind kind = is_json(*file) ? TableKind::kJson : TableKind::kCsv;
  return {std::move(file), kind};
}

}  // namespace gavel

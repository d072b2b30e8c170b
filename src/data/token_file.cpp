#include "data/token_file.h"

#include <fmt/format.h>

#include <cstring>
#include <numeric>
#include <type_traits>

#include "base/error.h"

namespace gavel {

namespace {

constexpr uint64_t kMagic = 0x324b4f544c564147;  // "GAVLTOK2"
// The checksum goes over pieces of this size, so that writer and reader agree.
constexpr size_t kPiece = size_t{1} << 20;

struct Footer {
  uint64_t token_bytes = 0, meta_bytes = 0, key_high = 0, key_low = 0, checksum = 0, magic = kMagic;
};

uint64_t add_to_checksum(uint64_t checksum, const char* data, size_t size) {
  return hash_text({data, size}, checksum);
}

/** Rows' data as bytes, each array with its length before it. */
class MetaWriter {
 public:
  template <class T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  template <class T>
  void put(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put(static_cast<uint64_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  void put(const std::string& text) {
    put(static_cast<uint64_t>(text.size()));
    bytes_ += text;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class MetaReader {
 public:
  explicit MetaReader(std::string_view bytes) : bytes_(bytes) {}
  template <class T>
  void get(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    take(&value, sizeof(T));
  }
  template <class T>
  void get(std::vector<T>& values) {
    values.resize(count(sizeof(T)));
    take(values.data(), values.size() * sizeof(T));
  }
  void get(std::string& text) {
    text.resize(count(1));
    take(text.data(), text.size());
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  size_t count(size_t size) {
    uint64_t count = 0;
    get(count);
    if (count > bytes_.size() / size) throw Error("a count goes beyond the file");
    return static_cast<size_t>(count);
  }
  void take(void* out, size_t size) {
    if (size > bytes_.size()) throw Error("the rows' data end early");
    if (size > 0) std::memcpy(out, bytes_.data(), size);
    bytes_.remove_prefix(size);
  }
  std::string_view bytes_;
};

void put_report(MetaWriter& meta, const CleaningReport& report) {
  meta.put(report.rows_read);
  meta.put(report.rows_kept);
  for (const auto& entry : report.entries) {
    meta.put(entry.rows);
    meta.put(entry.occurrences);
    meta.put(entry.dropped);
    meta.put(entry.first_rows);
  }
  meta.put(static_cast<uint64_t>(report.unknown_labels.size()));
  for (const auto& [label, rows] : report.unknown_labels) {
    meta.put(label);
    meta.put(rows);
  }
  meta.put(static_cast<uint64_t>(report.unreadable.size()));
  for (const std::string& why : report.unreadable) meta.put(why);
}

void get_report(MetaReader& reader, CleaningReport& report) {
  reader.get(report.rows_read);
  reader.get(report.rows_kept);
  for (auto& entry : report.entries) {
    reader.get(entry.rows);
    reader.get(entry.occurrences);
    reader.get(entry.dropped);
    reader.get(entry.first_rows);
  }
  uint64_t num_labels = 0;
  reader.get(num_labels);
  for (uint64_t i = 0; i < num_labels; ++i) {
    std::string label;
    reader.get(label);
    reader.get(report.unknown_labels[label]);
  }
  uint64_t num_reasons = 0;
  reader.get(num_reasons);
  for (uint64_t i = 0; i < num_reasons; ++i) reader.get(report.unreadable.emplace_back());
}

LoadedDataset parse_meta(std::string_view meta, std::span<const int32_t> tokens,
                         std::shared_ptr<const MappedFile> file) {
  MetaReader reader(meta);
  DatasetParts parts;
  reader.get(parts.variants);
  reader.get(parts.pad_id);
  reader.get(parts.offsets);
  reader.get(parts.labels);
  for (auto* numbers : {&parts.weights, &parts.margins, &parts.scores}) reader.get(*numbers);
  reader.get(parts.teachers);
  reader.get(parts.auxiliary);
  uint64_t num_values = 0;
  reader.get(num_values);
  for (uint64_t i = 0; i < num_values; ++i) reader.get(parts.auxiliary_values.emplace_back());
  reader.get(parts.source_rows);
  reader.get(parts.full_lengths);
  reader.get(parts.rows_before);
  std::vector<RowKey> keys;
  reader.get(keys);
  std::vector<int32_t> turns;
  reader.get(turns);
  uint64_t num_ids = 0;
  reader.get(num_ids);
  const size_t rows = parts.labels.size();
  if ((parts.variants != 1 && parts.variants != 2) || num_ids != rows || keys.size() != rows || turns.size() != rows ||
      parts.weights.size() != rows || parts.margins.size() != rows || parts.scores.size() != rows ||
      parts.source_rows.size() != rows || parts.full_lengths.size() != rows || parts.teachers.size() > rows ||
      parts.auxiliary.size() > rows || parts.offsets.size() != rows * static_cast<size_t>(parts.variants) + 1)
    throw Error("the rows' data do not fit each other");
  for (const auto& answers : parts.auxiliary)
    for (int32_t value : answers)
      if (value < -1 || value >= static_cast<int64_t>(num_values)) throw Error("the rows' data do not fit each other");
  int64_t last = 0;
  for (int64_t offset : parts.offsets) {
    if (offset < last) throw Error("the texts' offsets fall");
    last = offset;
  }
  if (parts.offsets.front() != 0 || static_cast<size_t>(last) != tokens.size())
    throw Error("the texts' offsets do not fit the tokens");
  std::vector<std::string> ids(rows);
  for (auto& id : ids) reader.get(id);
  uint64_t num_files = 0;
  reader.get(num_files);
  if (num_files > rows) throw Error("the rows' data do not fit each other");
  std::vector<CleaningReport> reports(num_files);
  for (CleaningReport& report : reports) get_report(reader, report);
  std::vector<int64_t> file_rows;
  reader.get(file_rows);
  if (file_rows.size() != num_files ||
      std::accumulate(file_rows.begin(), file_rows.end(), int64_t{0}) != static_cast<int64_t>(rows))
    throw Error("the rows' data do not fit each other");
  bool has_labels = false;
  reader.get(has_labels);
  if (!reader.at_end()) throw Error("bytes are left over");
  parts.tokens = tokens;
  parts.tokens_owner = std::move(file);
  return {TokenizedDataset(std::move(parts)),
          std::move(keys),
          std::move(ids),
          std::move(turns),
          std::move(reports),
          std::move(file_rows),
          has_labels,
          true};
}

}  // namespace

std::string TokenKey::hex() const {
  return fmt::format("{:016x}{:016x}", high, low);
}

TokenFileWriter::TokenFileWriter(const std::filesystem::path& path, TokenKey key) : file_(path), key_(key) {
  buffer_.reserve(kPiece);
}

void TokenFileWriter::add(std::span<const int32_t> tokens) {
  write(tokens.data(), tokens.size_bytes());
}

void TokenFileWriter::write(const void* data, size_t size) {
  const char* next = static_cast<const char*>(data);
  bytes_ += size;
  while (size > 0) {
    size_t part = std::min(size, kPiece - buffer_.size());
    buffer_.insert(buffer_.end(), next, next + part);
    next += part;
    size -= part;
    if (buffer_.size() == kPiece) flush();
  }
}

void TokenFileWriter::flush() {
  if (buffer_.empty()) return;
  checksum_ = add_to_checksum(checksum_, buffer_.data(), buffer_.size());
  file_.write(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void TokenFileWriter::commit(const DatasetParts& parts, const LoadedDataset& rest) {
  MetaWriter meta;
  meta.put(parts.variants);
  meta.put(parts.pad_id);
  meta.put(parts.offsets);
  meta.put(parts.labels);
  for (const auto* numbers : {&parts.weights, &parts.margins, &parts.scores}) meta.put(*numbers);
  meta.put(parts.teachers);
  meta.put(parts.auxiliary);
  meta.put(static_cast<uint64_t>(parts.auxiliary_values.size()));
  for (const auto& value : parts.auxiliary_values) meta.put(value);
  meta.put(parts.source_rows);
  meta.put(parts.full_lengths);
  meta.put(parts.rows_before);
  meta.put(rest.keys);
  meta.put(rest.turns);
  meta.put(static_cast<uint64_t>(rest.ids.size()));
  for (const auto& id : rest.ids) meta.put(id);
  meta.put(static_cast<uint64_t>(rest.reports.size()));
  for (const CleaningReport& report : rest.reports) put_report(meta, report);
  meta.put(rest.file_rows);
  meta.put(rest.has_labels);
  Footer footer;
  footer.token_bytes = bytes_;
  footer.meta_bytes = meta.bytes().size();
  footer.key_high = key_.high;
  footer.key_low = key_.low;
  write(meta.bytes().data(), meta.bytes().size());
  flush();
  footer.checksum = checksum_;
  file_.write(&footer, sizeof(footer));
  file_.commit(/*sync=*/false);  // the checksum tells a torn file, and it can be made again
}

std::optional<LoadedDataset> open_token_file(const std::filesystem::path& path, TokenKey key, bool check,
                                             std::string* why) {
  auto give_up = [&](std::string_view reason) -> std::optional<LoadedDataset> {
    if (why != nullptr) *why = reason;
    return std::nullopt;
  };
  if (!std::filesystem::exists(path)) return give_up("there is none");
  try {
    auto file = MappedFile::open(path);
    std::string_view text = file->text();
    Footer footer;
    if (text.size() < sizeof(footer)) return give_up("the file is torn");
    std::memcpy(&footer, text.data() + text.size() - sizeof(footer), sizeof(footer));
    text.remove_suffix(sizeof(footer));
    if (footer.magic != kMagic || footer.token_bytes > text.size() ||
        footer.meta_bytes != text.size() - footer.token_bytes || footer.token_bytes % sizeof(int32_t) != 0)
      return give_up("the file is torn");
    if (TokenKey{footer.key_high, footer.key_low} != key) return give_up("it is of other data or settings");
    if (check) {
      uint64_t checksum = 0;
      for (size_t at = 0; at < text.size(); at += kPiece) {
        std::string_view piece = text.substr(at, kPiece);
        checksum = add_to_checksum(checksum, piece.data(), piece.size());
        file->release(at, piece.size());
      }
      if (checksum != footer.checksum) return give_up("its checksum is wrong");
    }
    std::span tokens(reinterpret_cast<const int32_t*>(text.data()), footer.token_bytes / sizeof(int32_t));
    return parse_meta(text.substr(footer.token_bytes), tokens, file);
  } catch (const Error& error) {
    return give_up(error.what());
  }
}

}  // namespace gavel

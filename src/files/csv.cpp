#include "files/csv.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace gavel {

namespace {

/** The first is taken where the header has it, else the one that it has most. */
constexpr std::string_view kSeparators = ",;\t|";

/** Those of a file of millions would take hundreds of bytes each. */
constexpr size_t kMostColumns = 100'000;

std::string_view separator_name(char separator) {
  return separator == ',' ? "a comma" : separator == ';' ? "a semicolon" : separator == '|' ? "a bar" : "a tab";
}

}  // namespace

std::string_view CsvField::text(std::string& scratch) const {
  if (!doubled) return raw;
  scratch.clear();
  scratch.reserve(raw.size());
  for (size_t i = 0; i < raw.size();) {
    const void* found = std::memchr(raw.data() + i, '"', raw.size() - i);
    size_t quote = found == nullptr ? raw.size() : static_cast<size_t>(static_cast<const char*>(found) - raw.data());
    size_t end = std::min(quote + 1, raw.size());
    scratch.append(raw, i, end - i);
    i = quote + 2;  // the scanner made sure that quotes come in pairs
  }
  return scratch;
}

CsvReader::CsvReader(std::string_view text, std::string name) : text_(text), name_(std::move(name)) {
  if (text_.starts_with("\xFF\xFE") || text_.starts_with("\xFE\xFF"))
    fail("{}: expected UTF-8, found UTF-16 (by its byte-order mark): save the file as UTF-8", name_);
  if (text_.starts_with("\xEF\xBB\xBF")) position_ = 3;
  find_separator();
  std::vector<CsvField> fields;
  if (!scan_record(fields)) fail("{}: the file is empty: expected a header line with column names", name_);
  std::string scratch;
  for (const auto& field : fields) header_.emplace_back(field.text(scratch));
}

void CsvReader::find_separator() {
  position_ = std::min(text_.find_first_not_of("\r\n", position_), text_.size());
  std::string_view line = text_.substr(position_);
  line = line.substr(0, line.find_first_of("\r\n"));
  if (line.size() == 5 && line.starts_with("sep=") && kSeparators.find(line[4]) != std::string_view::npos) {
    separator_ = line[4];
    position_ += line.size();
    return;
  }
  bool quoted = false;
  std::array<int64_t, kSeparators.size()> found{};
  for (char c : line) {
    quoted ^= c == '"';
    if (const size_t which = kSeparators.find(c); !quoted && which != std::string_view::npos) ++found[which];
  }
  if (found[0] == 0) {
    const auto most = std::max_element(found.begin() + 1, found.end());
    if (*most > 0) separator_ = kSeparators[static_cast<size_t>(most - found.begin())];
  }
}

bool CsvReader::next(std::vector<CsvField>& fields) {
  size_t start = position_;
  ++row_;
  if (!scan_record(fields)) {
    --row_;
    return false;
  }
  if (fields.size() == header_.size() + 1 && fields.back().raw.empty())
    fail(
        "{}: row {} (line {}): expected {} cells as in the header, found one more, which is empty: take the separator "
        "away "
        "from the ends of the rows, or add a name to the header",
        name_, row_, line_at(start), header_.size());
  if (fields.size() != header_.size())
    fail(
        "{}: row {} (line {}): expected {} cells as in the header, found {}: look for a missing or stray "
        "quote",
        name_, row_, line_at(start), header_.size(), fields.size());
  return true;
}

bool CsvReader::scan_record(std::vector<CsvField>& fields) {
  const char* data = text_.data();
  const size_t size = text_.size();
  fields.clear();
  while (position_ < size && (data[position_] == '\n' || data[position_] == '\r')) ++position_;
  if (position_ >= size) return false;
  size_t i = position_;
  for (;;) {
    CsvField field;
    if (i < size && data[i] == '"') {
      size_t begin = i + 1;
      size_t scan = begin;
      for (;;) {
        const void* found = scan < size ? std::memchr(data + scan, '"', size - scan) : nullptr;
        if (found == nullptr)
          fail("{}: row {} (line {}): a quoted cell is opened and never closed", name_, row_, line_at(i));
        scan = static_cast<size_t>(static_cast<const char*>(found) - data) + 1;
        if (scan >= size || data[scan] != '"') break;
        field.doubled = true;
        ++scan;
      }
      field.raw = text_.substr(begin, scan - 1 - begin);
      if (scan < size && data[scan] != separator_ && data[scan] != '\n' && data[scan] != '\r')
        fail(
            "{}: row {} (line {}): expected {} or the line's end after a closing quote, found '{}': quotes inside a "
            "cell are "
            "written twice, not behind a backslash",
            name_, row_, line_at(scan), separator_name(separator_), text_.substr(scan, 1));
      i = scan;
    } else {
      size_t begin = i;
      while (i < size && data[i] != separator_ && data[i] != '\n' && data[i] != '\r') ++i;
      field.raw = text_.substr(begin, i - begin);
    }
    if (fields.size() == kMostColumns)
      fail("{}: row {} (line {}): expected at most {} cells, found more", name_, row_, line_at(i), kMostColumns);
    fields.push_back(field);
    if (i < size && data[i] == separator_) {
      ++i;
      continue;
    }
    if (i < size) i += data[i] == '\r' && i + 1 < size && data[i + 1] == '\n' ? 2 : 1;
    position_ = i;
    return true;
  }
}

int64_t CsvReader::line_at(size_t offset) const {
  return 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(offset), '\n');
}

std::string csv_cell(std::string_view text) {
  if (text.find_first_of("\",\n\r") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (char c : text) {
    if (c == '"') out.push_back('"');
    out.push_back(c);
  }
  out.push_back('"');
  return out;
}

}  // namespace gavel

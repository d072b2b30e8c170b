#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gavel {

/** One cell: a view of the file's text without the cell's outer quotes. `doubled`: quotes inside are still doubled. */
struct CsvField {
  std::string_view raw;
  bool doubled = false;

  /** The cell's text; `scratch` holds it when quotes had to be undoubled. */
  std::string_view text(std::string& scratch) const;
};

/** Scans CSV text as RFC 4180 has it: quoted cells may hold commas, newlines and doubled quotes; records end
 * in LF, CRLF or CR; a byte-order mark is skipped; blank lines are skipped, as pandas does. A quote inside an
 * unquoted cell is a letter like any other. No copies are made: fields view the text. Cells may be separated by ; or
 * tabs, which is told by a header without a comma, or by a first line "sep=;" as Excel writes it.
 *
 * Throws Error naming file and row on: an empty file, UTF-16, a quote that never closes, text after a closing
 * quote, a record whose number of cells differs from the header's, or is above 100,000. */
class CsvReader {
 public:
  /** `text` must outlive the reader; `name` is for messages. */
  CsvReader(std::string_view text, std::string name);

  const std::vector<std::string>& header() const { return header_; }
  /** False at the end. `fields` has as many entries as the header. */
  bool next(std::vector<CsvField>& fields);
  /** Number of the record last read, 1 for the first after the header. */
  int64_t row() const { return row_; }
  /** Bytes of the file read so far. */
  size_t offset() const { return position_; }

 private:
  void find_separator();
  bool scan_record(std::vector<CsvField>& fields);
  int64_t line_at(size_t offset) const;

  std::string_view text_;
  std::string name_;
  char separator_ = ',';
  size_t position_ = 0;
  int64_t row_ = 0;
  std::vector<std::string> header_;
};

/** Quotes a cell for writing when it needs it. */
std::string csv_cell(std::string_view text);

}  // namespace gavel

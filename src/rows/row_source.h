#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "rows/csv.h"
#include "rows/preferences.h"

namespace gavel {

/** Columns by position, see Columns. */
enum class Column : uint8_t { kId, kPrompt, kResponseA, kResponseB, kLabelA, kLabelB, kLabelTie, kWinner };
inline constexpr size_t kNumColumns = 8;

/** A row as found in the file, not yet parsed: views of the mapped file. */
struct RawRow {
  int64_t row = 0;
  std::array<CsvField, kNumColumns> cells;  // CSV
  std::string_view line;                    // JSONL
};

/** A row after its cells were parsed, before cleaning. */
struct ParsedRow {
  PreferenceRow row;
  std::array<int64_t, kNumOddities> occurrences{};
  PairFingerprint pair;
  std::string not_json;  // why
  std::string broken;    // the file's structure is broken here: text of the Error
};

/** Yields raw rows in order, and turns any of them into a ParsedRow (from several threads at once). */
class RowSource {
 public:
  virtual ~RowSource() = default;
  /** Appends rows that span about `bytes` of the file; false when there are none left. */
  virtual bool next_rows(size_t bytes, std::vector<RawRow>& rows) = 0;
  virtual void parse(const RawRow& raw, ParsedRow& out) const = 0;
  /** Whether the file has label columns. */
  virtual bool has_labels() const = 0;
  /** Bytes of the file that are read. */
  virtual size_t offset() const = 0;
  /** The rows handed out before are no longer needed: lets the system have their pages. */
  virtual void release() = 0;
};

std::unique_ptr<RowSource> open_csv_rows(std::shared_ptr<const MappedFile> file, const ReadOptions& options);
std::unique_ptr<RowSource> open_jsonl_rows(std::shared_ptr<const MappedFile> file,
                                           const ReadOptions& options);
/** Throws, with what to do, where the program was built without Apache Arrow. */
std::unique_ptr<RowSource> open_parquet_rows(std::shared_ptr<const MappedFile> file,
                                             const ReadOptions& options);

namespace detail {

/** Names by Column; columns a file may lack are "" or found missing later. */
std::array<std::string, kNumColumns> column_names(const ReadOptions& options);

/** Place of each Column in a file's header, or -1. */
using ColumnIndex = std::array<std::ptrdiff_t, kNumColumns>;
/** Throws on a text column that is missing, a column that is there twice, and labels that are missing (some
 * of them, or in training). */
ColumnIndex find_columns(const std::string& path, const std::array<std::string, kNumColumns>& names,
                         const ReadOptions& options, const std::vector<std::string>& header);
bool labels_found(const ColumnIndex& index);

/** What remains after the cells are turns: oddities of texts that need no other row. */
void finish_texts(const Turns& prompt, const Turns& a, const Turns& b, ParsedRow& out);

/** A number, or true/false; NaN when it is neither. */
double parse_probability(std::string_view text);
/** Sets the label from three probabilities; counts what is odd. */
void set_label(double a, double b, double tie, ParsedRow& out);
/** "model_a", "A", "tie", … as one-hot probabilities; false when unknown. */
bool winner_label(std::string_view winner, std::array<double, 3>& label);

}  // namespace detail
}  // namespace gavel

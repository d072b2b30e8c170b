#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "files/csv.h"
#include "files/open_table.h"
#include "rows/preferences.h"

namespace gavel {

/** The columns of Columns, as indices. */
enum class Column : uint8_t {
  kId,
  kPrompt,
  kResponseA,
  kResponseB,
  kLabelA,
  kLabelB,
  kLabelTie,
  kWinner,
  kWeight,
  kMargin,
  kScoreA,
  kScoreB,
  kTeacherA,
  kTeacherB,
  kTeacherTie,
  kAuxiliaryA,
  kAuxiliaryB
};
inline constexpr size_t kNumColumns = 17;
/** Of a file that tells of labels; kWinner is whatever one column tells them. */
constexpr bool is_label(size_t column) {
  return column >= static_cast<size_t>(Column::kLabelA) && column <= static_cast<size_t>(Column::kWinner);
}

/** A row as found in the file, not yet parsed: views that stay valid until the RowSource's next next_rows() or
 * release(). */
struct RawRow {
  int64_t row = 0;
  std::array<CsvField, kNumColumns> cells;  // CSV
  std::string_view line;                    // JSONL and Parquet: the row as a JSON object
};

/** A row after its cells were parsed, before cleaning. */
struct ParsedRow {
  PreferenceRow row;
  std::array<int64_t, kNumOddities> occurrences{};
  PairFingerprint pair;
  std::string not_json;       // why a cell is no JSON list of strings; "" when all are
  std::string unknown_label;  // the label as the file has it when it is none that is known
  bool no_vote = false;       // the label's cells are empty
  std::string broken;         // text of the Error when the file's structure is broken here, else ""
  /** The file's row is several pairs: those after the first. */
  std::vector<ParsedRow> more;
};

/** Gives the rows of a file in order, unparsed, and parses any of them. */
class RowSource {
 public:
  virtual ~RowSource() = default;
  /** Appends rows that span about `bytes` of the file; false when there are none left. */
  virtual bool next_rows(size_t bytes, std::vector<RawRow>& rows) = 0;
  /** May be called from several threads at once. */
  virtual void parse(const RawRow& raw, ParsedRow& out) const = 0;
  /** Whether the file has label columns. */
  virtual bool has_labels() const = 0;
  /** Bytes of the file that have been read, and all of them. */
  virtual size_t offset() const = 0;
  virtual size_t size() const = 0;
  /** Tells that the rows given so far are no longer needed, so that the system can take their memory. */
  virtual void release() = 0;
};

/** Opens a file of rows (files/open_table.h). Throws Error as that does, and for a column that is missing or named twice. */
std::unique_ptr<RowSource> open_rows(const std::filesystem::path& path, const ReadOptions& options);
std::unique_ptr<RowSource> open_rows(const TableFile& table, const ReadOptions& options);
/** The names of the columns: the header, the keys of the first row. */
std::vector<std::string> columns_of(const TableFile& table);

// What it opens, by the kind of the file.
std::unique_ptr<RowSource> open_csv_rows(std::shared_ptr<const MappedFile> file, const ReadOptions& options);
std::unique_ptr<RowSource> open_jsonl_rows(std::shared_ptr<const MappedFile> file, const ReadOptions& options);
/** Throws Error with what to do where the program was built without Apache Arrow. */
std::unique_ptr<RowSource> open_parquet_rows(std::shared_ptr<const MappedFile> file, const ReadOptions& options);

std::vector<std::string> csv_columns(std::shared_ptr<const MappedFile> file);
std::vector<std::string> jsonl_columns(std::shared_ptr<const MappedFile> file);
std::vector<std::string> parquet_columns(std::shared_ptr<const MappedFile> file);

namespace detail {

using ColumnNames = std::array<std::string, kNumColumns>;
/** The file's names of the columns, in the order of Column; "" for one that is not asked for. `header`: the names that there are,
 * for layouts that have a choice. Throws Error when `options` do not name all texts, or name labels in part or in two ways. */
ColumnNames column_names(const ReadOptions& options, const std::vector<std::string>& header);
/** Whether the prompt may be in the answers' conversations. */
bool prompt_is_optional(Format format);

/** Place of each Column in a file's header, or -1. */
using ColumnIndex = std::array<std::ptrdiff_t, kNumColumns>;
/** Finds the names in a file's header. Throws Error for a text column that is missing, a column that is there twice,
 * and label columns that are there in part or, with Purpose::kTrain, not at all. */
ColumnIndex find_columns(const std::string& path, const ColumnNames& names, const ReadOptions& options,
                         const std::vector<std::string>& header);
/** The first of many names, for messages: a file may have millions. */
std::string list_names(const std::vector<std::string>& names);

/** Throws Error that names the row, and the column if it is not "", when `size` is more than ReadOptions::max_cell_bytes. */
void check_size(const std::string& path, int64_t row, const std::string& column, size_t size,
                const ReadOptions& options);

/** Whether the file has label columns. */
bool labels_found(const ColumnIndex& index);

/** Counts in `out` the oddities of a row's parsed texts, and puts them into its row. */
void take_texts(Turns prompt, Turns a, Turns b, ParsedRow& out);
/** The same for a row of one answer. */
void take_texts(Turns prompt, Turns answer, ParsedRow& out);

}  // namespace detail
}  // namespace gavel

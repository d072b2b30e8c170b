#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "rows/cells.h"
#include "rows/choices.h"
#include "rows/cleaning.h"

namespace gavel {

/** One judged pair of answers. */
struct PreferenceRow {
  std::string id;
  /** One entry per round of the conversation. */
  std::vector<std::string> prompt, response_a, response_b;
  /** Probabilities of A wins, B wins, tie; sums to 1 when has_label. */
  std::array<float, 3> label{};
  bool has_label = false;
  /** 1 for the first row after the header (CSV) or the first line that is not blank (JSONL). */
  int64_t source_row = 0;
};

/** The pair with A and B exchanged, label included. */
PreferenceRow swapped(const PreferenceRow& row);

/** Column names of a file; "" = there is none. Labels are either `winner` or the three probabilities. */
struct Columns {
  std::string id, prompt, response_a, response_b;
  std::string label_a, label_b, label_tie;
  std::string winner;
};

enum class Purpose : uint8_t {
  kTrain,    // labels are required, unusable rows are dropped
  kPredict,  // every row is kept (a result is owed for each); labels are taken where there are any
};

/** What becomes of a vote for neither. */
enum class Ties : uint8_t {
  kOutcome,   // a third outcome beside A and B
  kHalfEach,  // half a vote for A and half for B
};

struct ReadOptions {
  Format format = Format::kLmsys;
  /** For Format::kGeneric alone. */
  Columns columns;
  Ties ties = Ties::kOutcome;
  /** Format::kWsdm always reads plain text. */
  Cells cells = Cells::kJson;
  Purpose purpose = Purpose::kTrain;
  /** The first oddity that would be repaired or dropped is an error instead. */
  bool strict = false;
  /** Drop second and later copies of a row (same texts and label). */
  bool drop_duplicates = false;
  /** Look for rows that repeat or contradict earlier ones, which takes some tens of bytes a row. */
  bool find_repeats = true;
};

struct PreferenceData {
  std::vector<PreferenceRow> rows;
  CleaningReport report;
  bool has_labels = false;
};

/** The columns that lmsys and wsdm files have. */
Columns standard_columns(Format format);

/** Reads and cleans a CSV (RFC 4180) or JSONL file (told apart by the name's end, else by its first letter);
 * the file is memory-mapped and read in one pass, cells are parsed on all cores.
 *
 * Oddities of cells are repaired or their rows dropped, and counted in the report; a file whose structure is
 * broken (see CsvReader; a JSONL line that is not an object), that lacks a column, is empty, or of which no
 * row is left, is an Error that names file and row. */
PreferenceData read_preferences(const std::filesystem::path& path, const ReadOptions& options);

/** Writes rows with the LMSYS columns (labels when the rows have them; model_a and model_b are "gavel"). */
void write_lmsys_csv(const std::filesystem::path& path, const std::vector<PreferenceRow>& rows);

}  // namespace gavel

#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
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
  /** How much the row counts in training's loss; not negative. */
  float weight = 1;
  /** By how much the better answer's reward is to be ahead in training. */
  float margin = 0;
  /** Of Format::kScored, whose answer is response_a: what it was given. NaN: there is none. */
  float score = std::numeric_limits<float>::quiet_NaN();
  /** Counted from 1: the row after the header (CSV), the line that is not blank (JSONL), or the row (Parquet). */
  int64_t source_row = 0;
  /** The answers, one text each, are whole conversations as a reward reads them, written out by whoever sent them: no
   * template is put around them, and special tokens in them are read. */
  bool written_out = false;
  /** What a teacher says, as `label`; all 0: nothing. */
  std::array<float, 3> teacher{};
  /** What an auxiliary head is to tell of each answer (who wrote it); "": nothing. */
  std::array<std::string, 2> auxiliary;

  bool has_teacher() const { return teacher[0] + teacher[1] + teacher[2] > 0; }
};

/** The pair with A and B exchanged, label included. */
PreferenceRow swapped(const PreferenceRow& row);

/** Column names of a file; "" = there is none. Labels are either `winner` or the three probabilities. */
struct Columns {
  std::string id, prompt, response_a, response_b;
  std::string label_a, label_b, label_tie;
  std::string winner;
  std::string weight, margin;
  std::string score;
  std::string teacher_a, teacher_b, teacher_tie;
  std::string auxiliary_a, auxiliary_b;
};

enum class Purpose : uint8_t {
  kTrain,    // labels are required, unusable rows are dropped
  kPredict,  // every row is kept (a result is owed for each); labels are taken where there are any
};

/** How a tie counts as a label. */
enum class Ties : uint8_t {
  kOutcome,   // a third outcome beside A and B
  kHalfEach,  // half a vote for A and half for B
};

/** What a column `winner` says in a file of its own ways, beside the spellings that are known. */
struct Spellings {
  std::vector<std::string> a, b, tie;
};

struct ReadOptions {
  Format format = Format::kLmsys;
  /** For Format::kGeneric alone, but for `weight`, `margin`, the teacher's and the auxiliary ones, which files of any format can
   * have (the last two files of pairs) and only Purpose::kTrain reads, and `score`, which is for kScored ("" = score). */
  Columns columns;
  Spellings spellings;
  /** Above 0: a pair's margin is this times the difference of its answers' scores, which kChosen (score_chosen and
   * score_rejected), kRanked and kHelpSteer3 have. */
  double score_margin = 0;
  /** Scores must be from 0 to 1. */
  bool unit_scores = false;
  Ties ties = Ties::kOutcome;
  /** For kLmsys and kGeneric; the others hold plain text. */
  Cells cells = Cells::kJson;
  Purpose purpose = Purpose::kTrain;
  /** The first oddity that would be repaired or dropped is an error instead. */
  bool strict = false;
  /** Drop second and later copies of a row (same texts and label). */
  bool drop_duplicates = false;
  /** With Purpose::kTrain: the largest share of the rows that may be dropped for oddities (CleaningReport::unusable_rows()), and that may have invalid UTF-8, before it is an Error. */
  double max_dropped = 1;
  /** Most bytes of a text of CSV, or of a whole row of JSON or Parquet, so that one row can't take all memory. */
  int64_t max_cell_bytes = kMostCellBytes;
  /** Look for rows that repeat or contradict earlier ones, which takes some tens of bytes of memory a row. */
  bool find_repeats = true;
};

struct PreferenceData {
  std::vector<PreferenceRow> rows;
  CleaningReport report;
  bool has_labels = false;
};

/** The columns of lmsys and wsdm files; for kGeneric the text columns of the same names and no labels. */
Columns standard_columns(Format format);

/** Reads and cleans a CSV (RFC 4180), JSONL or Parquet file. Parquet is told by the file's first bytes, the other two
 * by the name's end (.csv, .jsonl, .ndjson), else by the first letter. The file is memory-mapped and read in one pass;
 * cells are parsed on all cores.
 *
 * Odd cells are repaired or their rows dropped, and counted in the report. Throws Error naming file and row when the
 * structure is broken (see CsvReader; a JSONL line that is not an object), a row is larger than
 * ReadOptions::max_cell_bytes, a column is missing, the file is empty, or no row is left. */
PreferenceData read_preferences(const std::filesystem::path& path, const ReadOptions& options);

/** Writes rows with the LMSYS columns (labels when the rows have them; model_a and model_b are "gavel"). */
void write_lmsys_csv(const std::filesystem::path& path, const std::vector<PreferenceRow>& rows);

}  // namespace gavel

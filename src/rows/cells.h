#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rows/choices.h"

namespace gavel {

/** The turns that one cell holds, and what was odd about them. */
struct Turns {
  std::vector<std::string> texts;
  int64_t null_turns = 0;
  int64_t lone_surrogates = 0;  // each became U+FFFD
  int64_t invalid_utf8 = 0;     // each became U+FFFD
  /** Every turn is null, and there is at least one (with Cells::kSplit: the cell's text is the word null). */
  bool all_null = false;

  /** Turns joined with a space, as the reference notebook does. */
  std::string joined() const;
  /** Whether all turns are empty, or there are none. */
  bool empty_text() const;
};

/** Parses a cell. Returns "" or why the cell is not what `kind` asks for (only kJson can fail); `out` then
 * holds the cell's text as one turn. Raw control characters inside JSON strings are accepted, and so are the lists of Python
 * and the arrays of NumPy that pandas writes. */
std::string parse_cell(std::string_view cell, Cells kind, Turns& out);

/** Copies JSON text with each lone surrogate escape replaced by \ufffd, which any JSON parser takes. Returns
 * their number; 0 leaves `out` untouched. */
int64_t replace_lone_surrogates(std::string_view json, std::string& out);

/** Appends the text as a string of JSON (non-ASCII kept as UTF-8). */
void append_json_text(std::string_view text, std::string& out);

/** A JSON list of the turns, as the LMSYS files have it (non-ASCII kept as UTF-8). */
std::string json_cell(const std::vector<std::string>& turns);

}  // namespace gavel

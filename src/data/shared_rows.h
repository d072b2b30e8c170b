#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/encode.h"

namespace gavel {

/** One process's share when several tokenize a file together: each encodes its part of every block of rows and gets the
 * rest from the others, so that all hold the same rows in the file's order. */
struct TokenizeShare {
  int64_t index = 0, count = 1;
  /** Gives this process's text to all, waits for theirs, and returns all of them in the order of the processes (see
   * Exchange). Needed when count is above 1. */
  std::function<std::vector<std::string>(const std::string&)> exchange;

  /** The first row of a process's part of a block of `rows` rows. */
  int64_t first(int64_t process, int64_t rows) const { return rows * process / count; }
};

/** A row and its A/B exchange (empty when not asked for). */
struct EncodedRow {
  EncodedText text, swapped;
};

/** Rows as bytes for another process: numbers of seven bits a byte, least first, the high bit saying that
 * more follow. */
std::string pack_rows(std::span<const EncodedRow> rows);
/** Reads what pack_rows() gave; `rows` must have as many entries as were packed. Throws Error when the bytes do not
 * fit. */
void unpack_rows(std::string_view bytes, std::span<EncodedRow> rows);

}  // namespace gavel

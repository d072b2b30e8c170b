#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/encode.h"

namespace gavel {

/** How several processes tokenize a file together: each encodes its part of every block of rows and gets the
 * rest from the others, so that all hold the same rows in the file's order. */
struct TokenizeShare {
  int64_t index = 0, count = 1;
  /** Gives this process's text to all and returns everybody's, in the order of the processes; blocks. Needed
   * when count is above 1. */
  std::function<std::vector<std::string>(const std::string&)> exchange;

  /** The first row of a process's part of a block. */
  int64_t first(int64_t process, int64_t rows) const { return rows * process / count; }
};

/** A row and its A/B exchange (empty when not asked for). */
struct EncodedRow {
  EncodedText text, swapped;
};

/** Rows as bytes for another process: numbers of seven bits a byte, least first, the high bit saying that
 * more follow. */
std::string pack_rows(std::span<const EncodedRow> rows);
/** The other way round; `rows` has as many as were packed. Throws Error when the bytes are not theirs. */
void unpack_rows(std::string_view bytes, std::span<EncodedRow> rows);

}  // namespace gavel

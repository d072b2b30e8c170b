#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"

namespace gavel {

/** Bits of a character's classes, as Hugging Face `tokenizers` sees them (tools/unicode_tables.py asks it).
 */
enum CharClass : uint8_t {
  kLetterClass = 1,   // \p{L} of its regular expressions
  kNumberClass = 2,   // \p{N}
  kSpaceClass = 4,    // \s
  kNumericClass = 8,  // char::is_numeric, which Digits uses: a newer Unicode version than \p{N}
  kWordClass = 16,    // \w, which added tokens with single_word use
};

/** First and last code point. */
struct CodeRange {
  uint32_t first;
  uint32_t last;
};

/** The ranges of one class, ascending. */
std::span<const CodeRange> unicode_ranges(CharClass kind);

/** Class bits of any code point by a two-stage table. */
class UnicodeTable {
 public:
  /** The one table, built at the first call and constant from then on. */
  static const UnicodeTable& get();

  uint8_t classes(uint32_t code_point) const {
    return code_point < 0x110000 ? blocks_[index_[code_point >> 7] * 128u + (code_point & 127)] : 0;
  }
  uint8_t ascii(uint8_t byte) const { return ascii_[byte & 127]; }

 private:
  UnicodeTable();
  std::array<uint16_t, 0x110000 / 128> index_{};
  std::array<uint8_t, 128> ascii_{};
  std::vector<uint8_t> blocks_;
};

/** A decoded character. */
struct Decoded {
  uint32_t code_point;
  uint32_t size;  // bytes
};

/** The character at p; p must point at the first byte of a character of valid UTF-8. */
inline Decoded decode_utf8(const uint8_t* p) {
  if (p[0] < 0x80) return {p[0], 1};
  if (p[0] < 0xe0) return {(p[0] & 0x1fu) << 6 | (p[1] & 0x3fu), 2};
  if (p[0] < 0xf0) return {(p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu), 3};
  return {(p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu), 4};
}

/** The first byte of the character that ends before p; valid UTF-8. */
inline const uint8_t* previous_char(const uint8_t* p) {
  do --p;
  while ((*p & 0xc0) == 0x80);
  return p;
}

}  // namespace gavel

#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <bit>

#include "pieces/unicode.h"

namespace gavel {

/** For 16 bytes, one bit each, the first byte lowest. */
struct AsciiMasks {
  uint32_t letters;  // A-Z, a-z
  uint32_t not_ascii;

  static AsciiMasks of(const uint8_t* p) {
#if defined(__SSE2__)
    __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    // 'a'..'z' moved to the lowest signed values, so that one comparison finds them.
    __m128i moved = _mm_add_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8(static_cast<char>(128 - 'a')));
    __m128i letter = _mm_cmplt_epi8(moved, _mm_set1_epi8(-128 + 26));
    return {static_cast<uint32_t>(_mm_movemask_epi8(letter)), static_cast<uint32_t>(_mm_movemask_epi8(v))};
#else
    AsciiMasks masks{0, 0};
    for (uint32_t i = 0; i < 16; ++i) {
      masks.letters |= static_cast<uint32_t>(static_cast<uint8_t>((p[i] | 0x20) - 'a') < 26) << i;
      masks.not_ascii |= static_cast<uint32_t>(p[i] >> 7) << i;
    }
    return masks;
#endif
  }
};

/** Hand-made scanners of the known pre-tokenizer patterns. next(p) returns the end of the piece that begins
 * at p, exactly as the regular expression would match it in the fragment [p, end); valid UTF-8, p < end. They
 * look at each character a bounded number of times, so a whole text takes linear time. */
class ScannerBase {
 public:
  ScannerBase(const UnicodeTable& table, const uint8_t* end) : table_(table), end_(end) {}

 protected:
  struct Char {
    uint8_t classes;  // kEnd past the end, so that no class test must ask for the end first
    uint8_t size;
  };
  static constexpr uint8_t kEnd = 0x80;
  static constexpr uint8_t kContent = kLetterClass | kNumberClass | kSpaceClass | kEnd;

  Char at(const uint8_t* p) const {
    if (p >= end_) return {kEnd, 0};
    if (*p < 0x80) return {table_.ascii(*p), 1};
    Decoded c = decode_utf8(p);
    return {table_.classes(c.code_point), static_cast<uint8_t>(c.size)};
  }
  /** The length of the piece at p when it is at most 15 bytes long and all ASCII letters but, where `prefix`,
   * for its first; 0 when the piece is none of these or 16 bytes do not tell. 16 bytes must be readable at p.
   */
  static uint32_t ascii_word(const uint8_t* p, bool prefix) {
    AsciiMasks masks = AsciiMasks::of(p);
    auto size = static_cast<uint32_t>(std::countr_zero(~(masks.letters | static_cast<uint32_t>(prefix)) | 0x10000u));
    if (size == 0 || size == 16) return 0;
    bool letter_last = (masks.letters >> (size - 1) & 1) != 0;  // not the prefix alone
    bool ends = (masks.not_ascii >> size & 1) == 0;             // not before a letter that is not ASCII
    return letter_last && ends ? size : 0;
  }
  static bool is(Char c, uint8_t mask) { return (c.classes & mask) != 0; }
  static bool is_other(Char c) { return (c.classes & kContent) == 0; }  // never at the end

  const uint8_t* skip(const uint8_t* p, uint8_t mask) const {
    for (Char c = at(p); is(c, mask); c = at(p)) p += c.size;
    return p;
  }
  const uint8_t* skip_other(const uint8_t* p) const {
    for (Char c = at(p); is_other(c); c = at(p)) p += c.size;
    return p;
  }
  static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? static_cast<uint8_t>(c + 32) : c; }

  const UnicodeTable& table_;
  const uint8_t* end_;
};

/** (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
 * \s+(?!\S)|\s+   with N = 3 (Llama-3) or 1 (Qwen2). */
class Llama3Scanner : ScannerBase {
 public:
  Llama3Scanner(const UnicodeTable& table, const uint8_t* end, int digits = 3)
      : ScannerBase(table, end), digits_(digits) {}

  /** The size of the piece at p for the most frequent kind, in one step; 0: ask next(). At least 16 bytes
   * must be left up to the end. */
  static uint32_t next_word(const uint8_t* p) { return ascii_word(p, kPrefix[*p]); }

  const uint8_t* next(const uint8_t* p) const {
    Char c = at(p);
    if (is(c, kLetterClass)) return skip(p + c.size, kLetterClass);
    if (is(c, kNumberClass)) {
      const uint8_t* q = p + c.size;
      for (int i = 1; i < digits_; ++i) {
        Char d = at(q);
        if (!is(d, kNumberClass)) break;
        q += d.size;
      }
      return q;
    }
    if (*p == '\'')
      if (const uint8_t* q = contraction(p + 1)) return q;
    Char d = at(p + c.size);
    if (*p != '\r' && *p != '\n' && is(d, kLetterClass)) return skip(p + c.size + d.size, kLetterClass);
    if (is_other(c)) return line_breaks(skip_other(p + c.size));
    if (*p == ' ' && is_other(d)) return line_breaks(skip_other(p + 1 + d.size));
    return spaces(p);
  }

 private:
  // ASCII that may stand before letters in their piece; an apostrophe is left to next().
  static constexpr std::array<bool, 256> kPrefix = [] {
    std::array<bool, 256> may{};
    for (int c = 0; c < 128; ++c)
      may[static_cast<size_t>(c)] = c != '\r' && c != '\n' && c != '\'' && !(c >= '0' && c <= '9');
    return may;
  }();

  const uint8_t* line_breaks(const uint8_t* p) const {
    while (p < end_ && (*p == '\r' || *p == '\n')) ++p;
    return p;
  }

  const uint8_t* contraction(const uint8_t* p) const {
    if (p >= end_) return nullptr;
    uint8_t a = lower(*p);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return p + 1;
    if (p + 1 >= end_) return nullptr;
    // Case folding takes U+017F (long s) for an s.
    if (p[0] == 0xc5 && p[1] == 0xbf) return p + 2;
    uint8_t b = lower(p[1]);
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return p + 2;
    return nullptr;
  }

  // \s*[\r\n]+ | \s+(?!\S) | \s+
  const uint8_t* spaces(const uint8_t* p) const {
    const uint8_t* q = p;
    const uint8_t* last = p;             // where the last character of the run begins
    const uint8_t* break_end = nullptr;  // behind the run's last line break
    for (Char c = at(q); is(c, kSpaceClass); c = at(q)) {
      last = q;
      q += c.size;
      if (*last == '\r' || *last == '\n') break_end = q;
    }
    if (break_end) return break_end;
    return q == end_ || last == p ? q : last;
  }

  int digits_;
};

/** GPT-2's 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ . With kDigits, each
 * numeric character is cut out first (the pre-tokenizer Digits, individual_digits), so fragments end there.
 */
template <bool kDigits>
class Gpt2Scanner : ScannerBase {
 public:
  using ScannerBase::ScannerBase;

  static uint32_t next_word(const uint8_t* p) { return ascii_word(p, *p == ' '); }

  const uint8_t* next(const uint8_t* p) const {
    Char c = at(p);
    if (kDigits && (c.classes & kNumericClass)) return p + c.size;
    if (is(c, kLetterClass)) return run(p + c.size, kLetterClass);
    if (*p == ' ') {
      Char d = look(p + 1);
      if (is(d, kLetterClass)) return run(p + 1 + d.size, kLetterClass);
      if (is(d, kNumberClass)) return run(p + 1 + d.size, kNumberClass);
      if (is_other(d)) return run_other(p + 1 + d.size);
      return spaces(p);
    }
    if (is(c, kNumberClass)) return run(p + c.size, kNumberClass);
    if (is(c, kSpaceClass)) return spaces(p);
    if (*p == '\'')
      if (const uint8_t* q = contraction(p + 1)) return q;
    return run_other(p + c.size);
  }

 private:
  Char look(const uint8_t* p) const {
    Char c = at(p);
    if (kDigits && (c.classes & kNumericClass)) return {kEnd, 0};
    return c;
  }
  const uint8_t* run(const uint8_t* p, uint8_t mask) const {
    for (Char c = look(p); is(c, mask); c = look(p)) p += c.size;
    return p;
  }
  const uint8_t* run_other(const uint8_t* p) const {
    for (Char c = look(p); is_other(c); c = look(p)) p += c.size;
    return p;
  }
  const uint8_t* contraction(const uint8_t* p) const {
    if (p >= end_) return nullptr;
    uint8_t a = *p;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return p + 1;
    if (p + 1 >= end_) return nullptr;
    uint8_t b = p[1];
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? p + 2 : nullptr;
  }
  const uint8_t* spaces(const uint8_t* p) const {
    const uint8_t* q = p;
    const uint8_t* last = p;
    Char c = look(q);
    for (; is(c, kSpaceClass); c = look(q)) {
      last = q;
      q += c.size;
    }
    return c.classes == kEnd || last == p ? q : last;
  }
};

}  // namespace gavel

#pragma once
#include <cstddef>
#include <cstdint>

#include "text/unicode.h"

namespace gavel {

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

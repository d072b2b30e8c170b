#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gavel {

/** Scratch memory of regular-expression matching: one a thread at a time. */
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(RegexScratch&&) noexcept;
  RegexScratch& operator=(RegexScratch&&) noexcept;

 private:
  friend class Regex;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/** A pattern run by PCRE2 with its just-in-time compiler, in UTF and UCP mode. \p{L}, \p{N}, \s and their
 * negations stand for the classes of pieces/unicode.h, whatever Unicode version PCRE2 was built with; other
 * properties are PCRE2's own. Immutable; may be used by several threads at once. */
class Regex {
 public:
  /** Throws Error naming `source` when the pattern is not one that PCRE2 knows. */
  Regex(const std::string& pattern, const std::string& source);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  const std::string& pattern() const { return pattern_; }

  /** Appends the byte ranges of all matches in `text` (valid UTF-8), left to right without overlaps; an empty
   * match is stepped over by one character and is not repeated at the end of the match before it. Throws
   * Error when the pattern needs more backtracking than PCRE2's limit. */
  void find_all(std::string_view text, RegexScratch& scratch, std::vector<std::pair<size_t, size_t>>& matches) const;

 private:
  struct Impl;
  std::string pattern_;
  std::string source_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gavel

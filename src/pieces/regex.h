#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gavel {

/** Scratch memory of regular-expression matching, and what is left of a text's allowance: one a thread at a time. */
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(RegexScratch&&) noexcept;
  RegexScratch& operator=(RegexScratch&&) noexcept;

  /** From here on until the next call, all searches belong to one text of so many bytes and share one allowance, however many
   * pieces it is cut into. Without a call each search has its own. */
  void begin_text(size_t bytes);
  /** Steps of backtracking that the searches since then were granted beyond those that every place of a text has. */
  uint64_t steps() const;

 private:
  friend class Regex;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/** Whose syntax a pattern is written in. */
enum class RegexSyntax : uint8_t {
  kOniguruma,  // tokenizer.json
  kPython,     // adapter_config.json
};

/** A pattern. One of Python's runs in PCRE2, whose syntax is a superset of what Python's `re` has. One of Oniguruma's runs
 * there too, with its just-in-time compiler, if it is made of what means the same in both, and else in Oniguruma itself. \p{L}, \p{N}, \s and their negations stand for the
 * classes of pieces/unicode.h, whatever Unicode version the engine was built with; other properties are Oniguruma's own.
 * Immutable; may be used by several threads at once. */
class Regex {
 public:
  /** Throws Error naming `source` when the pattern is not one that the engine knows. */
  Regex(const std::string& pattern, const std::string& source, RegexSyntax syntax = RegexSyntax::kOniguruma);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  const std::string& pattern() const { return pattern_; }

  /** Appends the byte ranges of all matches in `text` (valid UTF-8), left to right without overlaps; an empty
   * match is stepped over by one character and is not repeated at the end of the match before it. Throws
   * Error that names the pattern when it takes more backtracking, or time, than an allowance in proportion to the text. */
  void find_all(std::string_view text, RegexScratch& scratch, std::vector<std::pair<size_t, size_t>>& matches) const;

 private:
  struct Impl;
  std::string pattern_;
  std::string source_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gavel

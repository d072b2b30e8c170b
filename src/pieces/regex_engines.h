#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "pieces/unicode.h"

namespace gavel::detail {

// The two engines that Regex chooses from.

/** A match's first and last byte (one past it). */
using MatchRange = std::pair<size_t, size_t>;

/** What a search needs to write to; of one thread and one engine. */
class RegexSearch {
 public:
  virtual ~RegexSearch() = default;
};

/** A compiled pattern. Immutable. */
class RegexEngine {
 public:
  virtual ~RegexEngine() = default;
  virtual std::unique_ptr<RegexSearch> new_search() const = 0;
  /** The first match in `text` (valid UTF-8) from byte `at` on; false when there is none. `search` is from an engine of the
   * same kind. Throws std::runtime_error when the pattern needs more backtracking than a limit that grows with the text. */
  virtual bool find(std::string_view text, size_t at, RegexSearch& search, MatchRange& match) const = 0;
};

// Both throw std::runtime_error with the engine's name and its reason when it does not know the pattern.

/** PCRE2 with its just-in-time compiler, in UTF and UCP mode. */
std::unique_ptr<RegexEngine> pcre2_engine(const std::string& pattern);
/** Oniguruma in its own syntax. */
std::unique_ptr<RegexEngine> oniguruma_engine(const std::string& pattern);

/** The class as ranges for the inside of brackets, without surrogates. */
std::string class_ranges(CharClass kind, bool negated);

/** Whether the pattern is made of what means the same in both engines, and is therefore given to the faster one. */
bool same_in_both_engines(std::string_view pattern);

}  // namespace gavel::detail

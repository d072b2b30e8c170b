#pragma once
#include <cstdint>
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

/** The bytes of the character that begins at `at` of valid UTF-8. */
inline size_t character_size(std::string_view text, size_t at) {
  return decode_utf8(reinterpret_cast<const uint8_t*>(text.data()) + at).size;
}

enum class SearchEnd : uint8_t {
  kFound,
  kNone,
  kOutOfSteps,
};

/** A compiled pattern. Immutable. */
class RegexEngine {
 public:
  virtual ~RegexEngine() = default;
  virtual std::unique_ptr<RegexSearch> new_search() const = 0;
  /** The first match in `text` (valid UTF-8) that begins at one of the bytes from `at` to `last`; it may end anywhere.
   * kOutOfSteps: at one of these places more than `steps` of backtracking were needed. What a step is the engine knows; those
   * that only read on are none. `search` is from an engine of the same kind. Throws std::runtime_error for what else can go
   * wrong. */
  virtual SearchEnd find(std::string_view text, size_t at, size_t last, uint32_t steps, RegexSearch& search,
                         MatchRange& match) const = 0;
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

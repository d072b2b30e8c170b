// Any pattern of a tokenizer.json or an adapter_config.json, and any text (behind the first NUL): an Error, or matches that lie
// in the text, in order. Where a pattern means the same to both engines, both find the same.
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "base/utf8.h"
#include "fuzz_target.h"
#include "pieces/regex.h"
#include "pieces/regex_engines.h"

namespace {

using Matches = std::vector<std::pair<size_t, size_t>>;

Matches matches_of(const std::string& pattern, const std::string& text, gavel::RegexSyntax syntax) {
  Matches matches;
  gavel::RegexScratch scratch;
  scratch.begin_text(text.size());
  gavel::Regex(pattern, "fuzz", syntax).find_all(text, scratch, matches);
  size_t end = 0;
  for (const auto& [from, to] : matches) {
    if (from < end || to < from || to > text.size()) std::abort();
    end = to;
  }
  return matches;
}

/** The first match of one engine alone; nothing when it ran out of steps or does not know the pattern. */
std::optional<std::optional<gavel::detail::MatchRange>> first_of(
    std::unique_ptr<gavel::detail::RegexEngine> (*make)(const std::string&), const std::string& pattern,
    const std::string& text) {
  try {
    const auto engine = make(pattern);
    const auto search = engine->new_search();
    gavel::detail::MatchRange match;
    switch (engine->find(text, 0, text.size(), 100'000, *search, match)) {
      case gavel::detail::SearchEnd::kFound:
        return std::optional(match);
      case gavel::detail::SearchEnd::kNone:
        return std::optional<gavel::detail::MatchRange>();
      case gavel::detail::SearchEnd::kOutOfSteps:
        return std::nullopt;
    }
  } catch (const std::runtime_error&) {
  }
  return std::nullopt;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), std::min(size, size_t{4096}));
  const size_t cut = std::min(all.find('\0'), all.size());
  const std::string pattern(all.substr(0, cut));
  std::string text(all.substr(std::min(cut + 1, all.size())));
  if (text.empty()) text = "Don't 12 stop\n\n  caf\xC3\xA9s!";
  if (!gavel::is_valid_utf8(text)) return 0;
  for (auto syntax : {gavel::RegexSyntax::kOniguruma, gavel::RegexSyntax::kPython}) try {
      if (matches_of(pattern, text, syntax) != matches_of(pattern, text, syntax)) std::abort();
    } catch (const gavel::Error&) {
    }
  // Beyond ASCII their classes are of different years' Unicode, for which Regex puts our own.
  const bool ascii = std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii && gavel::is_valid_utf8(pattern) && gavel::detail::same_in_both_engines(pattern)) {
    const auto fast = first_of(gavel::detail::pcre2_engine, pattern, text),
               own = first_of(gavel::detail::oniguruma_engine, pattern, text);
    if (fast && own && *fast != *own) std::abort();
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {
      R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)",
      R"(.*\.(q|v)_proj$)",
      R"((a+)+b)" + std::string(1, '\0') + "aaaaaaaaaaaaaaaaaaaaaaaac",
      R"((?P<x>a)(?P=x)\Z)",
      R"([[:alpha:]&&[^aeiou]]+|\h\H\K|(?<n>x\g<n>?))",
      R"((?{a})|(*MAX{2})a)",
      R"(\p{^Greek}\x{10FFFF}\u00e9[\w-]{2,}?)"};
}

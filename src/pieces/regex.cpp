#include "pieces/regex.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <stdexcept>

#include "base/error.h"
#include "pieces/regex_engines.h"

namespace gavel {

namespace detail {

std::string class_ranges(CharClass kind, bool negated) {
  std::string out;
  auto put = [&](uint32_t first, uint32_t last) {
    if (first > last) return;
    // Surrogates can't stand in a UTF pattern.
    if (first >= 0xd800 && first <= 0xdfff) first = 0xe000;
    if (last >= 0xd800 && last <= 0xdfff) last = 0xd7ff;
    if (first <= last) out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", first, last);
  };
  uint32_t next = 0;
  for (CodeRange range : unicode_ranges(kind)) {
    if (!negated) put(range.first, range.last);
    if (negated && range.first > 0) put(next, range.first - 1);
    next = range.last + 1;
  }
  if (negated) put(next, 0x10ffff);
  return out;
}

bool same_in_both_engines(std::string_view pattern) {
  // What GPT-2's and its successors' patterns are made of. Without them letters under (?i), which may stand for several.
  constexpr std::string_view kEndings = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
  constexpr std::array<std::string_view, 13> kEscapes = {"\\p{L}", "\\p{N}", "\\P{L}", "\\P{N}", "\\s", "\\S", "\\r",
                                                         "\\n",    "\\t",    "\\\\",   "\\.",    "\\/", "\\-"};
  bool in_class = false;
  for (size_t i = 0; i < pattern.size();) {
    const std::string_view rest = pattern.substr(i);
    const auto starts_with = [&](std::string_view text) { return rest.starts_with(text); };
    if (rest.front() == '\\') {
      const auto* escape = std::ranges::find_if(kEscapes, starts_with);
      if (escape == kEscapes.end()) return false;
      i += escape->size();
    } else if (in_class) {
      if (rest.front() == '[' || rest.front() == '&') return false;  // nested classes, intersections, [:names:]
      in_class = rest.front() != ']';
      ++i;
    } else if (rest.front() == '[') {
      in_class = true;
      i += starts_with("[^") ? 2 : 1;
      if (i < pattern.size() && pattern[i] == ']') return false;  // a bracket in the class, or an empty class
    } else if (starts_with(kEndings)) {
      i += kEndings.size();
    } else if (starts_with("(?")) {
      if (!starts_with("(?:") && !starts_with("(?=") && !starts_with("(?!")) return false;
      i += 3;
    } else if (starts_with("(*")) {
      return false;  // a verb of one engine, such as PCRE2's (*LIMIT_MATCH=…) and (*NO_JIT), or a callout of the other
    } else if (rest.front() == '}') {
      // An interval with + or ? behind it is possessive or lazy in one engine, repeated in the other.
      if (i + 1 < pattern.size() && (pattern[i + 1] == '+' || pattern[i + 1] == '?')) return false;
      ++i;
    } else if (rest.front() == '{') {
      // Only as an interval that both know: {n}, {n,} or {n,m}.
      const size_t end = rest.find('}');
      const std::string_view inside = rest.substr(1, end == std::string_view::npos ? 0 : end - 1);
      const size_t comma = std::min(inside.find(','), inside.size());
      const auto digits = [](std::string_view text) {
        return std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
      };
      if (comma == 0 || !digits(inside.substr(0, comma)) ||
          (comma < inside.size() && !digits(inside.substr(comma + 1))))
        return false;
      i += end;
    } else {
      if (rest.front() == '^' || rest.front() == '$') return false;  // of a line, or of the text
      ++i;
    }
  }
  return true;
}

}  // namespace detail

namespace {

/** The pattern with \p{L}, \p{N}, \s, \P{..}, \S as explicit ranges. In brackets they stand in brackets of their own where
 * the engine `nests` such, as Oniguruma does. */
std::string with_own_classes(std::string_view pattern, bool nests) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    char c = pattern[i];
    if (!nests && c == '[') in_class = true;
    // The first letter of a class may be a bracket.
    if (!nests && c == ']' && !pattern.substr(0, i).ends_with('[') && !pattern.substr(0, i).ends_with("[^"))
      in_class = false;
    // Oniguruma counts symbols as punctuation there since 6.9.9, as `tokenizers` does.
    constexpr std::string_view kPunctuation = "[:punct:]", kNoPunctuation = "[:^punct:]";
    if (nests && pattern.substr(i).starts_with(kPunctuation)) {
      out += "\\p{P}\\p{S}";
      i += kPunctuation.size() - 1;
      continue;
    }
    if (nests && pattern.substr(i).starts_with(kNoPunctuation)) {
      out += "[^\\p{P}\\p{S}]";
      i += kNoPunctuation.size() - 1;
      continue;
    }
    if (c != '\\' || i + 1 >= pattern.size()) {
      out += c;
      continue;
    }
    std::string_view rest = pattern.substr(i);
    struct Name {
      std::string_view text;
      CharClass kind;
      bool negated;
    };
    static constexpr std::array<Name, 12> kNames{{{"\\p{L}", kLetterClass, false},
                                                  {"\\pL", kLetterClass, false},
                                                  {"\\p{Letter}", kLetterClass, false},
                                                  {"\\P{L}", kLetterClass, true},
                                                  {"\\PL", kLetterClass, true},
                                                  {"\\p{N}", kNumberClass, false},
                                                  {"\\pN", kNumberClass, false},
                                                  {"\\p{Number}", kNumberClass, false},
                                                  {"\\P{N}", kNumberClass, true},
                                                  {"\\PN", kNumberClass, true},
                                                  {"\\s", kSpaceClass, false},
                                                  {"\\S", kSpaceClass, true}}};
    auto name = std::find_if(kNames.begin(), kNames.end(), [&](const Name& n) { return rest.starts_with(n.text); });
    if (name == kNames.end()) {
      out += pattern.substr(i, 2);
      ++i;
      continue;
    }
    const std::string ranges = detail::class_ranges(name->kind, name->negated);
    out += in_class ? ranges : fmt::format("[{}]", ranges);
    i += name->text.size() - 1;
  }
  return out;
}

}  // namespace

namespace detail {

// What matching may cost, so that no pattern of a tokenizer.json, whatever it is run on, takes more than some time for each
// byte. Each place where a match may begin has kFreeSteps of backtracking; where that is not enough, the search is tried again
// with four times as many. Those that were used up in vain, and those that a match was found with, are taken from the text's
// allowance. Patterns of real tokenizers need a few steps for each byte of a long match.
constexpr uint32_t kFreeSteps = 256;
constexpr uint64_t kStepsOfAText = 1'000'000, kStepsOfAByte = 128;
// Steps that only read on are not counted by either engine, so a pattern that reads to the text's end from everywhere is found
// by the clock: processor time, which other programs do not take, and some hundred times what a slow pattern needs.
constexpr double kSecondsOfAText = 5, kSecondsOfAByte = 4e-6;
constexpr int kSearchesBetweenLooks = 256;
// Nothing can interrupt a call of an engine, so it is given as many places as it can be done with in a moment, by what it may
// read and by its steps. Where more steps were needed it begins with few, and gets more while that takes no time: PCRE2's
// compiler knows of places where it need not try again what has failed before them, but only within a call.
constexpr size_t kReadInACall = size_t{1} << 26, kFewPlaces = 64;
constexpr uint64_t kStepsInACall = uint64_t{1} << 32;
constexpr double kMoment = 0.02;

/** What is left of what a text may cost. */
struct Allowance {
  uint64_t bytes = 0;
  uint64_t steps = 0;  // spent so far
  int searches = 0;    // since the last look at the clock
  double first_look = -1, last_look = 0;

  explicit Allowance(size_t text_bytes = 0) : bytes(text_bytes) {}

  uint64_t most_steps() const { return kStepsOfAText + kStepsOfAByte * bytes; }
  void spend(uint64_t more) {
    steps += more;
    if (steps > most_steps()) throw std::runtime_error(fmt::format("more than {} steps of backtracking", most_steps()));
  }
  void count_search() {
    if (++searches >= kSearchesBetweenLooks) look_at_clock();
  }
  /** The seconds since the last look. */
  double look_at_clock() {
    searches = 0;
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    const double now = static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
    const double since = first_look < 0 ? 0 : now - last_look;
    if (first_look < 0) first_look = now;
    last_look = now;
    const double most = kSecondsOfAText + kSecondsOfAByte * static_cast<double>(bytes);
    if (now - first_look > most) throw std::runtime_error(fmt::format("more than {:.1f} s of processor time", most));
    return since;
  }
};

/** The first match from `at` on, within the allowance. */
bool find_within(const RegexEngine& engine, RegexSearch& search, std::string_view text, size_t at, Allowance& allowance,
                 MatchRange& range) {
  size_t places = std::max(kFewPlaces, kReadInACall / (text.size() + 1));
  uint32_t steps = kFreeSteps;
  allowance.count_search();
  for (;;) {
    // Up to the end of a character.
    size_t last = std::min(at + places - 1, text.size());
    while (last + 1 < text.size() && (static_cast<uint8_t>(text[last + 1]) & 0xc0) == 0x80) ++last;
    switch (engine.find(text, at, last, steps, search, range)) {
      case SearchEnd::kFound:
        if (steps > kFreeSteps) allowance.spend(steps);
        return true;
      case SearchEnd::kNone:
        if (last >= text.size()) return false;
        at = last + 1;
        if (allowance.look_at_clock() < kMoment && steps > kFreeSteps)
          places = std::min(2 * places, std::max<size_t>(1, kStepsInACall / steps));
        steps = std::max(kFreeSteps, steps / 4);
        break;
      case SearchEnd::kOutOfSteps:
        if (steps == kFreeSteps) places = std::min(places, kFewPlaces);
        allowance.spend(steps);
        allowance.look_at_clock();
        steps = static_cast<uint32_t>(std::min<uint64_t>({4 * uint64_t{steps}, allowance.most_steps(), UINT32_MAX}));
        places = std::clamp<size_t>(kStepsInACall / steps, 1, places);
        break;
    }
  }
}

}  // namespace detail

struct RegexScratch::Impl {
  std::unique_ptr<detail::RegexSearch> pcre2, oniguruma;
  detail::Allowance allowance;
  bool of_a_text = false;  // the allowance was set by begin_text()
};

void RegexScratch::begin_text(size_t bytes) {
  if (!impl_) impl_ = std::make_unique<Impl>();
  impl_->allowance = detail::Allowance(bytes);
  impl_->of_a_text = true;
}

uint64_t RegexScratch::steps() const {
  return impl_ ? impl_->allowance.steps : 0;
}

RegexScratch::RegexScratch() = default;
RegexScratch::~RegexScratch() = default;
RegexScratch::RegexScratch(RegexScratch&&) noexcept = default;
RegexScratch& RegexScratch::operator=(RegexScratch&&) noexcept = default;

struct Regex::Impl {
  bool in_pcre2 = false;
  std::unique_ptr<detail::RegexEngine> engine;
};

Regex::Regex(const std::string& pattern, const std::string& source, RegexSyntax syntax)
    : pattern_(pattern), source_(source), impl_(std::make_unique<Impl>()) {
  const bool python = syntax == RegexSyntax::kPython;
  try {
    if (python || detail::same_in_both_engines(pattern)) {
      impl_->engine = detail::pcre2_engine(with_own_classes(pattern, false));
      impl_->in_pcre2 = true;
    }
  } catch (const std::runtime_error& error) {
    if (python) fail("{}: the regular expression '{}' is not known to {}", source, pattern, error.what());
    // What PCRE2 refuses, such as a repeated repetition, Oniguruma may know.
  }
  try {
    if (!impl_->engine) impl_->engine = detail::oniguruma_engine(with_own_classes(pattern, true));
  } catch (const std::runtime_error& error) {
    fail("{}: the regular expression '{}' is not known to {}", source, pattern, error.what());
  }
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::find_all(std::string_view text, RegexScratch& scratch,
                     std::vector<std::pair<size_t, size_t>>& matches) const {
  if (!scratch.impl_) scratch.impl_ = std::make_unique<RegexScratch::Impl>();
  auto& search = impl_->in_pcre2 ? scratch.impl_->pcre2 : scratch.impl_->oniguruma;
  if (!search) search = impl_->engine->new_search();
  detail::Allowance& allowance = scratch.impl_->allowance;
  if (!scratch.impl_->of_a_text) allowance = detail::Allowance(text.size());
  size_t at = 0;
  size_t last_end = SIZE_MAX;
  while (at <= text.size()) {
    detail::MatchRange range;
    try {
      if (!detail::find_within(*impl_->engine, *search, text, at, allowance, range)) return;
    } catch (const std::runtime_error& error) {
      fail("{}: the regular expression '{}' costs too much, or failed, on a text of {} bytes: {}", source_, pattern_,
           std::max<size_t>(allowance.bytes, text.size()), error.what());
    }
    const auto [begin, end] = range;
    bool empty = end <= begin;
    if (!empty || last_end != begin) matches.emplace_back(begin, std::max(begin, end));
    last_end = std::max(begin, end);
    at = last_end;
    if (empty) {
      if (at >= text.size()) return;
      at += detail::character_size(text, at);
    }
  }
}

}  // namespace gavel

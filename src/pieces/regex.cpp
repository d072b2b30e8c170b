#define PCRE2_CODE_UNIT_WIDTH 8
#include "pieces/regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "pieces/unicode.h"

namespace gavel {
namespace {

constexpr size_t kJitStackBytes = 64 << 20;        // reserved, not used until needed
constexpr uint32_t kLeastMatchLimit = 10'000'000;  // PCRE2's own default

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

// Replaces \p{L}, \p{N}, \s, \P{..}, \S by explicit ranges, inside and outside of brackets.
std::string with_own_classes(std::string_view pattern) {
  std::string out;
  int depth = 0;  // inside [...]; Oniguruma nests classes, PCRE2 does not, and the error is then PCRE2's
  for (size_t i = 0; i < pattern.size(); ++i) {
    char c = pattern[i];
    if (c == '[' && depth == 0) {
      ++depth;
    } else if (c == ']' && depth > 0 && i > 0 && pattern[i - 1] != '[') {
      --depth;
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
    std::string ranges = class_ranges(name->kind, name->negated);
    out += depth > 0 ? ranges : "[" + ranges + "]";
    i += name->text.size() - 1;
  }
  return out;
}

std::string pcre2_text(int code) {
  PCRE2_UCHAR8 buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

/** Outside the unnamed namespace, since the members of Impl have it as a type. */
template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};

struct RegexScratch::Impl {
  std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>> context{pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Freed<pcre2_jit_stack_free>> stack{
      pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr)};
  std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>> data{pcre2_match_data_create(1, nullptr)};
  Impl() { pcre2_jit_stack_assign(context.get(), nullptr, stack.get()); }
};

RegexScratch::RegexScratch() = default;
RegexScratch::~RegexScratch() = default;
RegexScratch::RegexScratch(RegexScratch&&) noexcept = default;
RegexScratch& RegexScratch::operator=(RegexScratch&&) noexcept = default;

struct Regex::Impl {
  std::unique_ptr<pcre2_code, Freed<pcre2_code_free>> code;
};

Regex::Regex(const std::string& pattern, const std::string& source)
    : pattern_(pattern), source_(source), impl_(std::make_unique<Impl>()) {
  std::string own = with_own_classes(pattern);
  int error = 0;
  size_t offset = 0;
  impl_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(own.data()), own.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (!impl_->code)
    fail("{}: the regular expression '{}' is not known to PCRE2: {}", source, pattern, pcre2_text(error));
  // Without a just-in-time compiler for this machine the interpreter runs instead.
  pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

void Regex::find_all(std::string_view text, RegexScratch& scratch,
                     std::vector<std::pair<size_t, size_t>>& matches) const {
  if (!scratch.impl_) scratch.impl_ = std::make_unique<RegexScratch::Impl>();
  pcre2_match_data* data = scratch.impl_->data.get();
  pcre2_match_context* context = scratch.impl_->context.get();
  // Repeated groups take some steps a byte, so a long text may take more; patterns that need far more still
  // end.
  auto limit = static_cast<uint32_t>(std::clamp<size_t>(text.size() * 16, kLeastMatchLimit, UINT32_MAX));
  pcre2_set_match_limit(context, limit);
  pcre2_set_depth_limit(context, limit);
  size_t at = 0;
  size_t last_end = SIZE_MAX;
  while (at <= text.size()) {
    auto match = [&](uint32_t more) {
      return pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                         PCRE2_NO_UTF_CHECK | more, data, context);
    };
    int rc = match(0);
    // The interpreter keeps its backtracking points on the heap.
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0)
      fail("{}: the regular expression '{}' failed on a text of {} bytes: {}", source_, pattern_, text.size(),
           pcre2_text(rc));
    const size_t* range = pcre2_get_ovector_pointer(data);
    size_t begin = range[0], end = range[1];
    bool empty = end <= begin;
    if (!empty || last_end != begin) matches.emplace_back(begin, std::max(begin, end));
    last_end = std::max(begin, end);
    at = last_end;
    if (empty) {
      if (at >= text.size()) return;
      at += decode_utf8(reinterpret_cast<const uint8_t*>(text.data()) + at).size;
    }
  }
}

}  // namespace gavel

// Else its header makes a macro of UChar, which ICU has as a type.
#define ONIG_ESCAPE_UCHAR_COLLISION 1
#include <oniguruma.h>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <type_traits>

#include "pieces/regex_engines.h"

namespace gavel::detail {

namespace {

std::string oniguruma_text(int code, OnigErrorInfo* info = nullptr) {
  OnigUChar buffer[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int size = onig_error_code_to_str(buffer, code, info);
  return {reinterpret_cast<const char*>(buffer), static_cast<size_t>(size)};
}

const OnigUChar* bytes_of(std::string_view text) {
  return reinterpret_cast<const OnigUChar*>(text.data());
}

struct OnigurumaSearch : RegexSearch {
  OnigRegion* region = onig_region_new();
  OnigMatchParam* limits = onig_new_match_param();
  OnigurumaSearch() = default;
  OnigurumaSearch(const OnigurumaSearch&) = delete;
  OnigurumaSearch& operator=(const OnigurumaSearch&) = delete;
  ~OnigurumaSearch() override {
    onig_region_free(region, 1);
    onig_free_match_param(limits);
  }
};

/** Oniguruma's own, as tokenizers of the tokenizers library are written for, without callouts: what those would call is
 * not there, and 6.9.8 loses memory with some of them. */
OnigSyntaxType* syntax() {
  static OnigSyntaxType without_callouts = [] {
    OnigSyntaxType copy;
    onig_copy_syntax(&copy, ONIG_SYNTAX_ONIGURUMA);
    onig_set_syntax_op2(&copy, onig_get_syntax_op2(&copy) &
                                   ~(ONIG_SYN_OP2_QMARK_BRACE_CALLOUT_CONTENTS | ONIG_SYN_OP2_ASTERISK_CALLOUT_NAME));
    return copy;
  }();
  return &without_callouts;
}

class OnigurumaEngine : public RegexEngine {
 public:
  explicit OnigurumaEngine(const std::string& pattern) : from_start_(pattern.find("\\G") != std::string::npos) {
    static std::once_flag once;
    std::call_once(once, [] {
      OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
      onig_initialize(encodings, 1);
    });
    OnigErrorInfo info{};
    const int status = onig_new(&code_, bytes_of(pattern), bytes_of(pattern) + pattern.size(), ONIG_OPTION_NONE,
                                ONIG_ENCODING_UTF8, syntax(), &info);
    if (status != ONIG_NORMAL) throw std::runtime_error("Oniguruma: " + oniguruma_text(status, &info));
  }
  OnigurumaEngine(const OnigurumaEngine&) = delete;
  OnigurumaEngine& operator=(const OnigurumaEngine&) = delete;
  ~OnigurumaEngine() override { onig_free(code_); }

  std::unique_ptr<RegexSearch> new_search() const override { return std::make_unique<OnigurumaSearch>(); }

  SearchEnd find(std::string_view text, size_t at, size_t last, uint32_t steps, RegexSearch& search,
                 MatchRange& range) const override {
    auto& own = static_cast<OnigurumaSearch&>(search);
    onig_initialize_match_param(own.limits);
    onig_set_retry_limit_in_match_of_match_param(own.limits, steps);
    onig_set_retry_limit_in_search_of_match_param(own.limits, 0);  // all places together: whoever calls counts them
    const OnigUChar *begin = bytes_of(text), *end = begin + text.size();
    int found = ONIG_MISMATCH;
    if (last >= text.size() || from_start_) {
      found = onig_search_with_param(code_, begin, end, begin + at, end, own.region, ONIG_OPTION_NONE, own.limits);
    } else {
      // Place by place: a search that is told to end at `last` passes over matches that reach beyond it (6.9.8).
      for (size_t place = at; place <= last && found == ONIG_MISMATCH; place += character_size(text, place))
        found = onig_match_with_param(code_, begin, end, begin + place, own.region, ONIG_OPTION_NONE, own.limits);
    }
    if (found == ONIG_MISMATCH) return SearchEnd::kNone;
    if (found == ONIGERR_RETRY_LIMIT_IN_MATCH_OVER) return SearchEnd::kOutOfSteps;
    if (found < 0) throw std::runtime_error(oniguruma_text(found));
    range = {static_cast<size_t>(own.region->beg[0]), static_cast<size_t>(own.region->end[0])};
    return SearchEnd::kFound;
  }

 private:
  regex_t* code_ = nullptr;
  bool from_start_;  // the pattern has \G, which is where a search begins
};

}  // namespace

std::unique_ptr<RegexEngine> oniguruma_engine(const std::string& pattern) {
  return std::make_unique<OnigurumaEngine>(pattern);
}

}  // namespace gavel::detail

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <stdexcept>

#include "pieces/regex_engines.h"

namespace gavel::detail {

namespace {

constexpr size_t kJitStackBytes = 64 << 20;  // reserved, not used until needed
// The interpreter's, a kibibyte for a byte of the text and 64 MiB: PCRE2's own is 20 GB.
constexpr size_t kLeastHeapKibibytes = 64 << 10;

std::string pcre2_text(int code) {
  PCRE2_UCHAR8 buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

template <auto Free>
struct Pcre2Freed {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};

struct Pcre2Search : RegexSearch {
  std::unique_ptr<pcre2_match_context, Pcre2Freed<pcre2_match_context_free>> context{
      pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Pcre2Freed<pcre2_jit_stack_free>> stack{
      pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr)};
  std::unique_ptr<pcre2_match_data, Pcre2Freed<pcre2_match_data_free>> data{pcre2_match_data_create(1, nullptr)};
  Pcre2Search() { pcre2_jit_stack_assign(context.get(), nullptr, stack.get()); }
};

class Pcre2Engine : public RegexEngine {
 public:
  explicit Pcre2Engine(const std::string& pattern) {
    int error = 0;
    size_t offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT, &error, &offset,
                              nullptr));
    if (!code_) throw std::runtime_error("PCRE2: " + pcre2_text(error));
    // Without a just-in-time compiler for this machine the interpreter runs instead.
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
  }

  std::unique_ptr<RegexSearch> new_search() const override { return std::make_unique<Pcre2Search>(); }

  SearchEnd find(std::string_view text, size_t at, size_t last, uint32_t steps, RegexSearch& search,
                 MatchRange& range) const override {
    auto& own = static_cast<Pcre2Search&>(search);
    // PCRE2 begins to count anew at each place where a match may begin.
    pcre2_set_match_limit(own.context.get(), steps);
    pcre2_set_depth_limit(own.context.get(), steps);
    pcre2_set_heap_limit(own.context.get(),
                         static_cast<uint32_t>(std::min<size_t>(kLeastHeapKibibytes + text.size(), UINT32_MAX)));
    pcre2_set_offset_limit(own.context.get(), last);
    auto match = [&](uint32_t more) {
      return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                         PCRE2_NO_UTF_CHECK | more, own.data.get(), own.context.get());
    };
    int rc = match(0);
    // The interpreter keeps its backtracking points on the heap.
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);
    if (rc == PCRE2_ERROR_NOMATCH) return SearchEnd::kNone;
    if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT) return SearchEnd::kOutOfSteps;
    if (rc < 0) throw std::runtime_error(pcre2_text(rc));
    const size_t* found = pcre2_get_ovector_pointer(own.data.get());
    range = {found[0], found[1]};
    return SearchEnd::kFound;
  }

 private:
  std::unique_ptr<pcre2_code, Pcre2Freed<pcre2_code_free>> code_;
};

}  // namespace

std::unique_ptr<RegexEngine> pcre2_engine(const std::string& pattern) {
  return std::make_unique<Pcre2Engine>(pattern);
}

}  // namespace gavel::detail

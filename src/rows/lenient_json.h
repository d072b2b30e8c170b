#pragma once
#include <simdjson.h>

#include <string>
#include <string_view>

namespace gavel {

/** A parser of strangers' JSON that repairs what others refuse: invalid UTF-8 and lone surrogates become U+FFFD, NaN and the
 * infinities that Python writes null, and integers beyond 64 bits texts. */
class LenientJson {
 public:
  /** `out` and what is taken from it, and text(), are valid until the next call, and as long as `text`. */
  simdjson::error_code parse(std::string_view text, simdjson::dom::element& out);
  /** The text that was parsed, repaired. */
  std::string_view text() const { return text_; }
  /** How many were replaced. */
  int64_t invalid_utf8() const { return invalid_utf8_; }
  int64_t lone_surrogates() const { return lone_surrogates_; }

 private:
  simdjson::dom::parser parser_;
  std::string valid_, repaired_, numbers_;
  std::string_view text_;
  int64_t invalid_utf8_ = 0, lone_surrogates_ = 0;
};

}  // namespace gavel

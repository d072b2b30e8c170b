#include "rows/lenient_json.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.h"
#include "rows/cells.h"

namespace gavel {

namespace {

/** A copy with what Python writes and JSON parsers refuse: NaN and infinities become null, and integers beyond 64 bits texts.
 * False when there are none. */
bool replace_unknown_numbers(std::string_view json, std::string& out) {
  constexpr size_t kDigits = 19;  // as many as 2^63 - 1 has
  bool any = false, in_string = false;
  out.clear();
  for (size_t i = 0; i < json.size();) {
    const std::string_view rest = json.substr(i);
    if (!in_string) {
      size_t skip = 0;
      for (std::string_view word : {"NaN", "-Infinity", "Infinity"})
        if (rest.starts_with(word)) skip = word.size();
      const size_t number = skip > 0 ? 0 : std::min(rest.find_first_not_of("+-.0123456789eE"), rest.size());
      const std::string_view text = rest.substr(0, number);
      const bool large = text.size() >= kDigits && text.find_first_of(".eE") == std::string_view::npos;
      if (skip > 0) out += "null";
      if (large) out += fmt::format("\"{}\"", text);
      if (!large) out += text;
      any = any || skip > 0 || large;
      i += std::max(skip, number);
      if (skip + number > 0) continue;
    }
    if (in_string && json[i] == '\\' && i + 1 < json.size())
      out.push_back(json[i++]);
    else if (json[i] == '"')
      in_string = !in_string;
    out.push_back(json[i++]);
  }
  return any;
}

}  // namespace

simdjson::error_code LenientJson::parse(std::string_view text, simdjson::dom::element& out) {
  invalid_utf8_ = lone_surrogates_ = 0;
  text_ = text;
  if (!is_valid_utf8(text_)) {
    valid_.clear();
    invalid_utf8_ = static_cast<int64_t>(append_lossy(valid_, text_));
    text_ = valid_;
  }
  if (lone_surrogates_ = replace_lone_surrogates(text_, repaired_); lone_surrogates_ > 0) text_ = repaired_;
  simdjson::error_code error = parser_.parse(text_.data(), text_.size()).get(out);
  if (error && replace_unknown_numbers(text_, numbers_)) {
    text_ = numbers_;
    error = parser_.parse(text_.data(), text_.size()).get(out);
  }
  return error;
}

}  // namespace gavel

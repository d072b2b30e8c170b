#pragma once
#include <string_view>

namespace gavel {

/** Without those of `letters` that it begins and ends with. */
inline std::string_view trimmed(std::string_view text, std::string_view letters = " \t\r\n") {
  const size_t begin = text.find_first_not_of(letters);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(letters) + 1 - begin);
}

}  // namespace gavel

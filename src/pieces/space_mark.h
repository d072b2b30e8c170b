#pragma once
#include <string>
#include <string_view>

namespace gavel {

/** U+2581, which stands for a space in vocabularies made by SentencePiece. */
inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";

/** Appends `text` with ' ' for each mark. */
inline void append_marked(std::string& out, std::string_view text) {
  size_t at = 0;
  for (size_t found = text.find(kSpaceMark); found != std::string_view::npos; found = text.find(kSpaceMark, at)) {
    out.append(text, at, found - at);
    out += ' ';
    at = found + kSpaceMark.size();
  }
  out.append(text, at);
}

}  // namespace gavel

#include "base/python_json.h"

#include <fmt/format.h>

namespace gavel {

std::string quote_python_numbers(std::string_view text) {
  std::string out;
  bool quoted = false;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '"') quoted = !quoted;
    bool found = false;
    for (std::string_view word : {"NaN", "-Infinity", "Infinity"}) {
      if (quoted || !text.substr(at).starts_with(word)) continue;
      out += fmt::format("\"{}\"", word);
      at += word.size() - 1;
      found = true;
      break;
    }
    if (found) continue;
    out += text[at];
    if (quoted && text[at] == '\\' && at + 1 < text.size()) out += text[++at];
  }
  return out;
}

}  // namespace gavel

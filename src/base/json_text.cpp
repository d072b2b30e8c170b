#include "base/json_text.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"

namespace gavel {

bool json_is_deeper(std::string_view text, int levels) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > levels) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

std::string_view within_json_depth(std::string_view text, std::string_view place) {
  if (json_is_deeper(text, kDeepestJson))
    fail("{}: expected JSON of at most {} levels, found lists or objects nested deeper than that", place, kDeepestJson);
  return text;
}

std::string read_json_text(const std::filesystem::path& path) {
  std::string text = read_text(path);
  within_json_depth(text, path.string());
  return text;
}

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

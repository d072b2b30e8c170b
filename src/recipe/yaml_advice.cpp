#include "recipe/yaml_advice.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace gavel::detail {

namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    at = end + 1;
  }
  return lines;
}

/** Without the spaces and tabs before it. */
std::string_view content_of(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t");
  return first == std::string_view::npos ? "" : line.substr(first);
}

size_t indent_of(std::string_view line) {
  return line.size() - content_of(line).size();
}

bool says_something(std::string_view line) {
  const std::string_view content = content_of(line);
  return !content.empty() && content[0] != '#';
}

bool is_key_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

/** "seed:1" at the text's beginning, else "". A path such as C:\x or a URL is none. */
std::string_view key_without_space(std::string_view text) {
  size_t colon = 0;
  while (colon < text.size() && is_key_letter(text[colon])) ++colon;
  if (colon < 2 || colon + 1 >= text.size() || text[colon] != ':') return "";
  const char next = text[colon + 1];
  if (next == ' ' || next == '\t' || next == '/' || next == '\\' || next == ':') return "";
  return text.substr(0, text.find_first_of(" \t"));
}

std::string excerpt(std::string_view text) {
  constexpr size_t kMost = 60;
  size_t end = std::min(text.size(), kMost);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return fmt::format("{}{}", text.substr(0, end), end < text.size() ? "…" : "");
}

/** The value of "key: value", or "". */
std::string_view value_of(std::string_view line) {
  const size_t colon = line.find(": ");
  return colon == std::string_view::npos ? "" : content_of(line.substr(colon + 1));
}

bool needs_quotes(std::string_view value) {
  if (value.empty() || value[0] == '"' || value[0] == '\'') return false;
  const bool braces = value[0] == '{' || value[0] == '[';
  // A mapping or a list may hold colons.
  if (braces) return value.find_last_of("}]") != std::string_view::npos && value.back() != '}' && value.back() != ']';
  return std::string_view("@%`*&!|>").find(value[0]) != std::string_view::npos ||
         value.find(": ") != std::string_view::npos;
}

std::string indented_by(size_t spaces) {
  return spaces == 0 ? "not indented" : fmt::format("indented by {} space{}", spaces, spaces == 1 ? "" : "s");
}

}  // namespace

std::string yaml_advice(std::string_view text, size_t line, const std::string& refusal) {
  const std::vector<std::string_view> lines = lines_of(text);
  line = std::min(line, lines.size() - 1);
  for (size_t i = 0; i <= line; ++i)
    if (says_something(lines[i]) && lines[i].substr(0, indent_of(lines[i])).find('\t') != std::string_view::npos)
      return fmt::format(
          "line {} begins with a tab, and YAML is indented with spaces alone: put two spaces in its place", i + 1);
  const std::string_view here = lines[line];
  size_t before = line;
  while (before > 0 && !says_something(lines[before - 1])) --before;
  const std::string_view above = before > 0 ? lines[before - 1] : "";
  for (const auto& [number, text_of_line] : {std::pair{before, above}, std::pair{line + 1, here}})
    if (const std::string_view key = key_without_space(content_of(text_of_line)); !key.empty())
      return fmt::format("line {}: put a space behind the colon of '{}'", number, excerpt(key));
  if (refusal.find("flow") != std::string::npos)
    return fmt::format("a bracket or brace that is opened in line {} or above is not closed by the right one",
                       line + 1);
  if (needs_quotes(value_of(here)))
    return fmt::format("line {}: put the value in quotes: \"{}\"", line + 1, excerpt(value_of(here)));
  if (!above.empty() && above.find(':') == std::string_view::npos && !content_of(above).starts_with('-'))
    return fmt::format("line {}: put a colon behind '{}'", before, excerpt(content_of(above)));
  if (!above.empty() && indent_of(here) != indent_of(above))
    return fmt::format(
        "line {} is {}, and the line above it is {}: the settings of a section stand one below the other, indented by "
        "the same number of spaces, and a section's name is not indented",
        line + 1, indented_by(indent_of(here)), indented_by(indent_of(above)));
  return refusal;
}

std::string missing_space_hint(std::string_view value) {
  for (size_t at = 0; at < value.size();) {
    const std::string_view rest = value.substr(at);
    if (const std::string_view key = key_without_space(rest); !key.empty())
      return fmt::format(" (a space is missing behind the colon of '{}')", excerpt(key));
    const size_t next = rest.find(' ');
    if (next == std::string_view::npos) break;
    at += next + 1;
  }
  return "";
}

}  // namespace gavel::detail

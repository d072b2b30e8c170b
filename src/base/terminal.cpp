#include "base/terminal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "base/utf8.h"

namespace gavel {

namespace {

std::string_view variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/** The bytes at the beginning of `rest` that must not reach a terminal; 0: its first byte may. */
size_t acted_on(std::string_view rest) {
  const auto byte = static_cast<unsigned char>(rest[0]);
  if (byte < 0x20 || byte == 0x7f) return rest[0] == '\n' || rest[0] == '\t' ? 0 : 1;
  if (rest.size() >= 2 && byte == 0xc2 && static_cast<unsigned char>(rest[1]) < 0xa0) return 2;  // U+0080 to U+009F
  // Overrides and isolates, which make a text look as if it were another.
  constexpr std::array<std::string_view, 9> kTurning = {"\u202a", "\u202b", "\u202c", "\u202d", "\u202e",
                                                        "\u2066", "\u2067", "\u2068", "\u2069"};
  for (std::string_view turning : kTurning)
    if (rest.starts_with(turning)) return turning.size();
  return 0;
}

/** Whether a character of UTF-8 begins, or the text ends, at this byte. */
bool is_boundary(std::string_view text, size_t at) {
  return at >= text.size() || (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
}

}  // namespace

std::string printable(std::string_view text, size_t most) {
  std::string shortened;
  if (text.size() > most) {
    size_t head = most * 3 / 4, tail = text.size() - most / 4;
    // At most three bytes, also in what is no UTF-8.
    for (int i = 0; i < 3 && !is_boundary(text, head); ++i) --head;
    for (int i = 0; i < 3 && !is_boundary(text, tail); ++i) ++tail;
    shortened = fmt::format("{} … ({} more bytes) … {}", text.substr(0, head), tail - head, text.substr(tail));
    text = shortened;
  }
  std::string valid, out;
  append_lossy(valid, text);
  for (size_t i = 0; i < valid.size();) {
    const size_t bytes = acted_on(std::string_view(valid).substr(i));
    for (size_t b = 0; b < bytes; ++b) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(valid[i + b]));
    if (bytes == 0) out += valid[i];
    i += std::max<size_t>(bytes, 1);
  }
  return out;
}

bool shows_colours(bool terminal) {
  if (!variable("NO_COLOR").empty()) return false;
  if (const std::string_view force = variable("CLICOLOR_FORCE"); !force.empty() && force != "0") return true;
  if (variable("CLICOLOR") == "0") return false;
  return terminal && !variable("TERM").empty() && variable("TERM") != "dumb";
}

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) != 0 && variable("TERM") != "dumb";
}

}  // namespace gavel

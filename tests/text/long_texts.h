#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/utf8.h"

namespace gavel {

struct Kind {
  const char* name;
  std::string text;
};

/** Texts of `size` bytes or a little more, each without a place where it falls apart by itself. */
inline std::vector<Kind> kinds(size_t size) {
  auto repeated = [&](std::string_view part, std::string out = {}) {
    while (out.size() < size) out += part;
    return out;
  };
  auto random = [&](uint32_t first, uint32_t count, std::string out = {}) {
    Random draw(first);
    while (out.size() < size) append_utf8(out, first + static_cast<uint32_t>(draw.below(count)));
    return out;
  };
  return {
      {"random letters", random('a', 26)},
      {"one letter", repeated("e")},
      {"capital letters", random('A', 26)},
      {"accented letters", random(0xe0, 22)},
      {"spaces", repeated(" ")},
      {"spaces and a letter", repeated(" ") + "a"},
      {"tabs and line breaks", repeated("\t\n")},
      {"line breaks", repeated("\n")},
      {"CRLF", repeated("\r\n")},
      {"a line break and spaces", repeated(" ", "\n")},
      {"no-break spaces", repeated("\u00a0")},
      {"equals signs", repeated("=")},
      {"apostrophes", repeated("'")},
      {"contractions", repeated("'ll's")},
      {"one digit", repeated("7")},
      {"digits of many scripts", random(0x660, 10) + random(0x1d7ce, 50)},
      {"Chinese", random(0x4e00, 0x5000)},
      {"one Chinese character", repeated("的")},
      {"Hangul", random(0xac00, 11172)},
      {"emoji joined", repeated("👩🏽‍👩‍👧‍👦")},
      {"flags", repeated("🇨🇭")},
      {"combining marks", random(0x300, 0x70, "e")},
      {"one combining mark", repeated("\u0301", "e")},
      {"letters with marks", repeated("e\u0301")},
      {"almost special tokens", repeated("<|end_of_tex")},
      {"beginnings of special tokens", repeated("<|")},
      {"special tokens", repeated("<|end_of_text|>")},
      {"brackets", repeated("<")},
      {"any characters", random(0x20, 0xd000)},
      {"not UTF-8", repeated("\xff\xe2\x82")},
  };
}

}  // namespace gavel

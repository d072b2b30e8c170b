#pragma once
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "pieces/unicode.h"
#include "text/tokenizer.h"

namespace gavel {

inline std::filesystem::path data_folder() {
  return std::filesystem::path(GAVEL_SOURCE_DIR) / "tests" / "text" / "data";
}

inline std::filesystem::path shared_folder() {
  const char* set = std::getenv("GAVEL_SHARED");
  return set ? std::filesystem::path(set) : std::filesystem::path(GAVEL_SOURCE_DIR) / ".." / "shared";
}

/** The content of a .gz file, unpacked by the program gzip. */
inline std::string read_gzip(const std::filesystem::path& path) {
  std::string out;
  FILE* pipe = popen(("gzip -dc '" + path.string() + "'").c_str(), "r");
  if (!pipe) return out;
  char buffer[1 << 16];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
  EXPECT_EQ(pclose(pipe), 0) << path;
  return out;
}

struct Case {
  std::string text;
  std::vector<int32_t> ids;
  std::string decoded;  // "" in files without it
};

inline std::vector<Case> parse_cases(const std::string& lines) {
  std::vector<Case> cases;
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) {
    auto json = nlohmann::json::parse(line);
    cases.push_back({json["text"], json["ids"], json.value("decoded", "")});
  }
  return cases;
}

inline std::vector<int32_t> encode(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<int32_t> ids;
  tokenizer.encode(text, ids);
  return ids;
}

/** Text with every kind of character that the patterns tell apart; valid UTF-8. */
inline std::string random_text(Random& random, size_t chars) {
  static const char32_t kSpaces[] = {9, 10, 13, 32, 32, 32, 0x85, 0xa0, 0x2003, 0x2028, 0x3000};
  std::string out;
  while (chars-- > 0) {
    uint32_t c = 0;
    switch (random.below(12)) {
      case 0:
        c = kSpaces[random.below(std::size(kSpaces))];
        break;
      case 1:
        c = '\n';
        break;
      case 2:
        c = static_cast<uint32_t>('0' + random.below(10));
        break;
      case 3:
        c = static_cast<uint32_t>(random.below(128));
        break;
      case 4:
        c = static_cast<unsigned char>("'sStTmMdDlLrReEvV"[random.below(17)]);
        break;
      case 5:
        c = '\'';
        break;
      case 6:
        c = static_cast<uint32_t>(random.below(0x110000));
        break;
      case 7:
        c = static_cast<uint32_t>(0x80 + random.below(0x800));
        break;
      case 8:
        c = static_cast<uint32_t>(0x4e00 + random.below(0x5000));
        break;
      case 9:
        c = ' ';
        break;
      case 10:
        c = random.below(2) ? 0x17f : 0x661;
        break;
      default:
        c = static_cast<uint32_t>('a' + random.below(26));
        break;
    }
    if (c >= 0xd800 && c < 0xe000) c = 0x11f50;  // numeric in new versions only
    append_utf8(out, c);
  }
  return out;
}

}  // namespace gavel

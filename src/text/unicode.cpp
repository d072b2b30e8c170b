#include "text/unicode.h"

#include <simdjson.h>

#include <algorithm>
#include <map>

namespace gavel {

UnicodeTable::UnicodeTable() {
  std::vector<uint8_t> flat(0x110000);
  for (CharClass kind : {kLetterClass, kNumberClass, kSpaceClass, kNumericClass, kWordClass})
    for (CodeRange range : unicode_ranges(kind))
      for (uint32_t c = range.first; c <= range.last; ++c) flat[c] |= kind;
  std::copy_n(flat.begin(), ascii_.size(), ascii_.begin());
  std::map<std::string_view, uint16_t> known;
  for (size_t block = 0; block < index_.size(); ++block) {
    std::string_view bytes(reinterpret_cast<const char*>(flat.data()) + block * 128, 128);
    auto [it, fresh] = known.try_emplace(bytes, static_cast<uint16_t>(known.size()));
    if (fresh) blocks_.insert(blocks_.end(), bytes.begin(), bytes.end());
    index_[block] = it->second;
  }
}

const UnicodeTable& UnicodeTable::get() {
  static const UnicodeTable table;
  return table;
}

void append_utf8(std::string& out, uint32_t c) {
  auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

bool is_valid_utf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

namespace {

// Length of the character or of the maximal bad part at `at`; `ok` says which.
size_t step(std::string_view text, size_t at, bool& ok) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  uint8_t lead = byte(at);
  ok = true;
  if (lead < 0x80) return 1;
  size_t length = 0;
  uint8_t low = 0x80, high = 0xbf;  // what the second byte may be
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  }
  ok = false;
  if (length == 0 || byte(at + 1) < low || byte(at + 1) > high) return 1;
  for (size_t i = 2; i < length; ++i)
    if ((byte(at + i) & 0xc0) != 0x80) return i;
  ok = true;
  return length;
}

}  // namespace

size_t append_lossy(std::string& out, std::string_view text) {
  if (is_valid_utf8(text)) {
    out += text;
    return 0;
  }
  size_t replaced = 0;
  for (size_t at = 0; at < text.size();) {
    bool ok = true;
    size_t size = step(text, at, ok);
    if (ok) {
      out.append(text, at, size);
    } else {
      out += "\xef\xbf\xbd";
      ++replaced;
    }
    at += size;
  }
  return replaced;
}

}  // namespace gavel

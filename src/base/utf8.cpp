#include "base/utf8.h"

#include <simdjson.h>

namespace gavel {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/** Bytes of the well-formed character at `at`, or minus the bytes of the maximal bad part. */
int character_length(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  uint8_t lead = byte(at);
  if (lead < 0x80) return 1;
  int length = lead >= 0xC2 && lead <= 0xDF ? 2 : (lead & 0xF0) == 0xE0 ? 3 : lead >= 0xF0 && lead <= 0xF4 ? 4 : 0;
  if (length == 0) return -1;
  // The second byte's range rules out overlong forms, surrogates and values above U+10FFFF.
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(at + 1) < low || byte(at + 1) > high) return -1;
  for (int k = 2; k < length; ++k)
    if ((byte(at + static_cast<size_t>(k)) & 0xC0) != 0x80) return -k;
  return length;
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

size_t append_lossy(std::string& out, std::string_view text) {
  if (is_valid_utf8(text)) {
    out += text;
    return 0;
  }
  size_t replaced = 0;
  size_t run = 0;  // start of the good bytes not yet copied
  for (size_t at = 0; at < text.size();) {
    int length = character_length(text, at);
    if (length > 0) {
      at += static_cast<size_t>(length);
      continue;
    }
    out.append(text, run, at - run);
    out += kReplacement;
    ++replaced;
    at += static_cast<size_t>(-length);
    run = at;
  }
  out.append(text, run);
  return replaced;
}

void append_utf8(std::string& out, uint32_t c) {
  auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
    out += kReplacement;
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

}  // namespace gavel

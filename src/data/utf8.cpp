#include "data/utf8.h"

#include <simdjson.h>

namespace gavel {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/** Bytes of the well-formed sequence at `i`, or minus the bytes of the maximal invalid part. */
int sequence_length(std::string_view text, size_t i) {
  auto byte = [&](size_t at) { return at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0}; };
  uint8_t lead = byte(i);
  if (lead < 0x80) return 1;
  int length = lead >= 0xC2 && lead <= 0xDF   ? 2
               : (lead & 0xF0) == 0xE0        ? 3
               : lead >= 0xF0 && lead <= 0xF4 ? 4
                                              : 0;
  if (length == 0) return -1;
  // The second byte's range rules out overlong forms, surrogates and values above U+10FFFF.
  uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(i + 1) < low || byte(i + 1) > high) return -1;
  for (int k = 2; k < length; ++k)
    if ((byte(i + k) & 0xC0) != 0x80) return -k;
  return length;
}

}  // namespace

bool valid_utf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

int64_t append_repaired_utf8(std::string_view text, std::string& out) {
  if (valid_utf8(text)) {
    out.append(text);
    return 0;
  }
  int64_t replaced = 0;
  size_t run = 0;  // start of the valid bytes not yet copied
  for (size_t i = 0; i < text.size();) {
    int length = sequence_length(text, i);
    if (length > 0) {
      i += static_cast<size_t>(length);
      continue;
    }
    out.append(text.substr(run, i - run));
    out.append(kReplacement);
    ++replaced;
    i += static_cast<size_t>(-length);
    run = i;
  }
  out.append(text.substr(run));
  return replaced;
}

void append_code_point(uint32_t c, std::string& out) {
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (c >> 6)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
    out.append(kReplacement);
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (c >> 12)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out.push_back(static_cast<char>(0xF0 | (c >> 18)));
    out.push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out.push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

}  // namespace gavel

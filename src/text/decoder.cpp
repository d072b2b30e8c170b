#include "text/decoder.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "pieces/unicode.h"
#include "text/bpe.h"

namespace gavel {
namespace {

using Tokens = std::vector<std::string>;

std::string replaced(const std::string& token, std::string_view pattern, std::string_view content) {
  std::string out;
  size_t at = 0;
  for (size_t found = token.find(pattern); found != std::string::npos; found = token.find(pattern, at)) {
    out.append(token, at, found - at);
    out += content;
    at = found + pattern.size();
  }
  return out.append(token, at);
}

// The byte of "<0x0A>", in digits of either case; a sign before one digit counts too, as Rust reads numbers.
std::optional<uint8_t> fallback_byte(const std::string& token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  const char* first = token.data() + 3 + (token[3] == '+');
  unsigned value = 0;
  auto [end, error] = std::from_chars(first, token.data() + 5, value, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return static_cast<uint8_t>(value);
}

Tokens with_bytes(const Tokens& tokens) {
  Tokens out;
  std::string bytes;
  auto flush = [&] {
    if (bytes.empty()) return;
    if (is_valid_utf8(bytes)) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xef\xbf\xbd");
    }
    bytes.clear();
  };
  for (const std::string& token : tokens) {
    if (auto byte = fallback_byte(token)) {
      bytes += static_cast<char>(*byte);
    } else {
      flush();
      out.push_back(token);
    }
  }
  flush();
  return out;
}

std::string stripped(std::string_view token, const Decoder::Step& step) {
  for (size_t i = 0; i < step.start && token.starts_with(step.pattern); ++i) token.remove_prefix(step.pattern.size());
  for (size_t i = 0; i < step.stop && token.ends_with(step.pattern); ++i) token.remove_suffix(step.pattern.size());
  return std::string(token);
}

std::string from_byte_level(const Tokens& tokens) {
  std::string raw, out;
  for (const std::string& token : tokens)
    if (!ByteAlphabet::get().append_bytes(raw, token)) raw += token;
  append_lossy(out, raw);
  return out;
}

}  // namespace

std::string Decoder::run(Tokens tokens) const {
  auto joined = [&] {
    std::string out;
    for (const std::string& token : tokens) out += token;
    return out;
  };
  for (const Step& step : steps_) {
    switch (step.type) {
      case Step::Type::kReplace:
        for (std::string& token : tokens) token = replaced(token, step.pattern, step.content);
        break;
      case Step::Type::kByteFallback:
        tokens = with_bytes(tokens);
        break;
      case Step::Type::kFuse:
        tokens = {joined()};
        break;
      case Step::Type::kStrip:
        for (std::string& token : tokens) token = stripped(token, step);
        break;
      case Step::Type::kMetaspace:
        for (size_t i = 0; i < tokens.size(); ++i)
          tokens[i] = replaced(tokens[i], step.pattern, i == 0 && step.drop_first ? "" : " ");
        break;
      case Step::Type::kByteLevel:
        tokens = {from_byte_level(tokens)};
        break;
    }
  }
  return joined();
}

}  // namespace gavel

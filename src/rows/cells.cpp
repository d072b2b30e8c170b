#include "rows/cells.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "base/trimmed.h"
#include "base/utf8.h"
#include "rows/python_list.h"

namespace gavel {

namespace {

/** Value of four hexadecimal digits at `at`, or -1. */
int hex4(std::string_view text, size_t at) {
  if (at + 4 > text.size()) return -1;
  int value = 0;
  for (size_t i = at; i < at + 4; ++i) {
    char c = text[i];
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

bool is_high_surrogate(int c) {
  return c >= 0xD800 && c <= 0xDBFF;
}
bool is_low_surrogate(int c) {
  return c >= 0xDC00 && c <= 0xDFFF;
}

/** Position of the next quote or backslash from `at`, or the text's size; eight bytes at a time. */
size_t find_quote_or_backslash(std::string_view text, size_t at) {
  constexpr uint64_t kOnes = 0x0101010101010101ull, kHigh = 0x8080808080808080ull;
  for (; at + 8 <= text.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    uint64_t quote = word ^ (kOnes * '"'), backslash = word ^ (kOnes * '\\');
    // A byte's high bit is set where the byte is zero (and perhaps above such a byte: the lowest is exact).
    uint64_t found = (((quote - kOnes) & ~quote) | ((backslash - kOnes) & ~backslash)) & kHigh;
    if (found != 0) return at + static_cast<size_t>(std::countr_zero(found)) / 8;
  }
  while (at < text.size() && text[at] != '"' && text[at] != '\\') ++at;
  return at;
}

/** A parser for lists of strings and nulls alone: it replaces lone surrogates on the way, which the JSON
 * libraries at hand refuse. */
class TurnsParser {
 public:
  TurnsParser(std::string_view text, Turns& out) : text_(text), out_(out), valid_(is_valid_utf8(text)) {}

  std::string parse() {
    skip_space();
    if (!take('[')) return found("a list of turns, [\"…\"]");
    skip_space();
    if (!take(']')) {
      for (;;) {
        skip_space();
        if (take('"')) {
          std::string why = parse_string(out_.texts.emplace_back());
          if (!why.empty()) return why;
        } else if (text_.substr(at_, 4) == "null") {
          at_ += 4;
          out_.texts.emplace_back();
          ++out_.null_turns;
        } else {
          return found("a string or null");
        }
        skip_space();
        if (take(']')) break;
        if (!take(',')) return found("a comma or ]");
      }
    }
    skip_space();
    if (at_ != text_.size()) return found("the end after the list");
    return "";
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      ++at_;
  }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string found(std::string_view expected) const {
    if (at_ >= text_.size()) return fmt::format("expected {}, found the cell's end", expected);
    std::string near;
    append_lossy(near, text_.substr(at_, 20));
    return fmt::format("expected {}, found '{}' at byte {}", expected, near, at_);
  }

  std::string parse_string(std::string& out) {
    for (;;) {
      size_t stop = find_quote_or_backslash(text_, at_);
      if (stop == text_.size()) {
        at_ = stop;
        return found("a closing quote");
      }
      if (valid_)
        out.append(text_, at_, stop - at_);
      else
        out_.invalid_utf8 += static_cast<int64_t>(append_lossy(out, text_.substr(at_, stop - at_)));
      at_ = stop + 1;
      if (text_[stop] == '"') return "";
      if (at_ >= text_.size()) return found("an escape");
      char c = text_[at_++];
      switch (c) {
        case '"':
        case '\\':
        case '/':
          out.push_back(c);
          break;
        case 'b':
          out.push_back('\b');
          break;
        case 'f':
          out.push_back('\f');
          break;
        case 'n':
          out.push_back('\n');
          break;
        case 'r':
          out.push_back('\r');
          break;
        case 't':
          out.push_back('\t');
          break;
        case 'u': {
          int value = hex4(text_, at_);
          if (value < 0) return found("four hexadecimal digits");
          at_ += 4;
          uint32_t code_point = static_cast<uint32_t>(value);
          if (is_high_surrogate(value) && text_.substr(at_, 2) == "\\u" && is_low_surrogate(hex4(text_, at_ + 2))) {
            code_point =
                0x10000 + ((code_point - 0xD800) << 10) + (static_cast<uint32_t>(hex4(text_, at_ + 2)) - 0xDC00);
            at_ += 6;
          } else if (is_high_surrogate(value) || is_low_surrogate(value)) {
            ++out_.lone_surrogates;
          }
          append_utf8(out, code_point);
          break;
        }
        default:
          --at_;
          return found("an escape known to JSON");
      }
    }
  }

  std::string_view text_;
  Turns& out_;
  const bool valid_;  // else each piece is checked
  size_t at_ = 0;
};

void split_origin(std::string_view cell, Turns& out) {
  std::string clean;
  out.invalid_utf8 += static_cast<int64_t>(append_lossy(clean, cell));
  std::string_view rest = trimmed(clean, "[]");
  for (;;) {
    size_t end = rest.find("\",\"");
    out.texts.emplace_back(trimmed(rest.substr(0, end), "\""));
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 3);
  }
  out.all_null = out.texts.size() == 1 && out.texts[0] == "null";
}

void take_as_text(std::string_view cell, Turns& out) {
  out = Turns();
  out.invalid_utf8 = static_cast<int64_t>(append_lossy(out.texts.emplace_back(), cell));
}

}  // namespace

std::string Turns::joined() const {
  std::string out;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) out.push_back(' ');
    out += texts[i];
  }
  return out;
}

bool Turns::empty_text() const {
  for (const auto& text : texts)
    if (!text.empty()) return false;
  return true;
}

std::string parse_cell(std::string_view cell, Cells kind, Turns& out) {
  out = Turns();
  switch (kind) {
    case Cells::kSplit:
      split_origin(cell, out);
      return "";
    case Cells::kText:
      take_as_text(cell, out);
      return "";
    case Cells::kJson:
      break;
  }
  std::string why = TurnsParser(cell, out).parse();
  if (!why.empty() && cell.find('[') != std::string_view::npos) {
    out = Turns();
    std::string python = detail::parse_python_list(cell, out);
    if (python.empty() || detail::begins_as_python_list(cell)) why = python;
  }
  if (!why.empty()) take_as_text(cell, out);
  out.all_null = out.null_turns > 0 && out.null_turns == static_cast<int64_t>(out.texts.size());
  return why;
}

int64_t replace_lone_surrogates(std::string_view json, std::string& out) {
  int64_t replaced = 0;
  size_t copied = 0;
  for (size_t i = json.find('\\'); i != std::string_view::npos && i + 1 < json.size(); i = json.find('\\', i)) {
    int value = json[i + 1] == 'u' ? hex4(json, i + 2) : -1;
    if (is_high_surrogate(value) && json.substr(i + 6, 2) == "\\u" && is_low_surrogate(hex4(json, i + 8))) {
      i += 12;
    } else if (is_high_surrogate(value) || is_low_surrogate(value)) {
      if (replaced++ == 0) out.clear();
      out.append(json.substr(copied, i - copied));
      out.append("\\ufffd");
      i += 6;
      copied = i;
    } else {
      i += 2;
    }
  }
  if (replaced > 0) out.append(json.substr(copied));
  return replaced;
}

void append_json_text(std::string_view text, std::string& out) {
  out.push_back('"');
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<uint8_t>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
}

std::string json_cell(const std::vector<std::string>& turns) {
  std::string out = "[";
  for (size_t i = 0; i < turns.size(); ++i) {
    if (i > 0) out.push_back(',');
    append_json_text(turns[i], out);
  }
  out.push_back(']');
  return out;
}

}  // namespace gavel

#include "rows/python_list.h"

#include <fmt/format.h>

#include "base/utf8.h"

namespace gavel::detail {

namespace {

constexpr std::string_view kPythonSpace = " \t\r\n";

class PythonList {
 public:
  PythonList(std::string_view text, Turns& out) : text_(text), out_(out) {}

  std::string parse() {
    skip_space();
    if (!take("[")) return expected("a list of turns, ['…']");
    skip_space();
    while (!take("]")) {
      if (std::string why = parse_item(); !why.empty()) return why;
      const size_t before = at_;
      skip_space();
      if (rest().starts_with(']')) continue;
      // Commas stand in a list, blanks in an array; none has both.
      const bool comma = take(",");
      if (!comma && before == at_) return expected("a comma, a blank or ]");
      if (separator_ == 0) separator_ = comma ? ',' : ' ';
      if (comma != (separator_ == ',')) return expected("the separator that stands between the first two turns");
      skip_space();
      if (rest().starts_with(']')) return expected("a turn after the comma");
    }
    skip_space();
    return at_ == text_.size() ? "" : expected("the end after the list");
  }

 private:
  std::string_view rest() const { return text_.substr(at_); }
  bool take(std::string_view word) {
    if (!rest().starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void skip_space() {
    while (at_ < text_.size() && kPythonSpace.find(text_[at_]) != std::string_view::npos) ++at_;
  }
  std::string expected(std::string_view what) const {
    if (at_ >= text_.size()) return fmt::format("expected {}, found the cell's end", what);
    std::string near;
    append_lossy(near, text_.substr(at_, 20));
    return fmt::format("expected {}, found '{}' at byte {}", what, near, at_);
  }

  std::string parse_item() {
    if (take("None") || take("nan")) {
      out_.texts.emplace_back();
      ++out_.null_turns;
      return "";
    }
    if (rest().starts_with("...")) return "NumPy left turns out ('...'): write the file from lists, not from arrays";
    if (take("'")) return parse_text('\'', out_.texts.emplace_back());
    if (take("\"")) return parse_text('"', out_.texts.emplace_back());
    return expected("a text in quotes or None");
  }

  std::string parse_text(char quote, std::string& out) {
    const char stops[] = {quote, '\\', '\n', '\0'};
    for (;;) {
      const size_t stop = text_.find_first_of(stops, at_);
      if (stop == std::string_view::npos || text_[stop] == '\n') {
        at_ = std::min(stop, text_.size());
        return expected("a closing quote");
      }
      out_.invalid_utf8 += static_cast<int64_t>(append_lossy(out, text_.substr(at_, stop - at_)));
      at_ = stop + 1;
      if (text_[stop] == quote) return "";
      if (!parse_escape(out)) return expected("an escape known to Python");
    }
  }

  /** A number of `digits` digits, which are passed by; -1 when they are not there. */
  int64_t take_number(size_t digits, int base) {
    if (at_ + digits > text_.size()) return -1;
    int64_t value = 0;
    for (char c : text_.substr(at_, digits)) {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : base;
      if (digit >= base) return -1;
      value = value * base + digit;
    }
    at_ += digits;
    return value;
  }

  bool parse_escape(std::string& out) {
    if (at_ >= text_.size()) return false;
    static constexpr std::string_view kLetters = "\\'\"nrtabfv", kMeanings = "\\'\"\n\r\t\a\b\f\v";
    const char c = text_[at_];
    if (const size_t known = kLetters.find(c); known != std::string_view::npos) {
      out.push_back(kMeanings[known]);
      ++at_;
      return true;
    }
    const size_t start = at_++;
    int64_t value = c == 'x' ? take_number(2, 16) : c == 'u' ? take_number(4, 16) : c == 'U' ? take_number(8, 16) : -1;
    if (value < 0 || value > 0x10FFFF) {
      at_ = start;
      return false;
    }
    const size_t after = at_;
    if (value >= 0xD800 && value < 0xDC00 && take("\\u")) {
      const int64_t low = take_number(4, 16);
      if (low >= 0xDC00 && low < 0xE000) {
        append_utf8(out, static_cast<uint32_t>(0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00)));
        return true;
      }
      at_ = after;
    }
    if (value >= 0xD800 && value < 0xE000) ++out_.lone_surrogates;
    append_utf8(out, static_cast<uint32_t>(value));
    return true;
  }

  std::string_view text_;
  Turns& out_;
  size_t at_ = 0;
  char separator_ = 0;
};

}  // namespace

std::string parse_python_list(std::string_view text, Turns& out) {
  return PythonList(text, out).parse();
}

bool begins_as_python_list(std::string_view text) {
  size_t at = text.find_first_not_of(kPythonSpace);
  if (at == std::string_view::npos || text[at] != '[') return false;
  at = text.find_first_not_of(kPythonSpace, at + 1);
  return at != std::string_view::npos && (text[at] == '\'' || text.substr(at, 4) == "None");
}

}  // namespace gavel::detail

#include "chat/jinja_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/utf8.h"
#include "chat/jinja_value.h"
#include "chat/python_text.h"

namespace gavel::jinja {

namespace {

constexpr std::array<std::string_view, 6> kLongOperators = {"==", "!=", ">=", "<=", "//", "**"};
constexpr std::string_view kOperators = "+-/*%~[](){}<>=.:|,;";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

// All line ends as \n, and without the last one, as Jinja does before it looks at anything else.
std::string with_plain_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  Lexer(std::string_view source, int& line) : text_(with_plain_lines(source)), line_(line) {}

  std::vector<Token> run() {
    line_ = 1;
    while (at_ < text_.size()) {
      size_t tag = next_tag();
      if (tag == std::string::npos) {
        add_data(text_.substr(at_));
        break;
      }
      char kind = text_[tag + 1];
      char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
      std::string_view before = std::string_view(text_).substr(at_, tag - at_);
      int line_behind = line_ + static_cast<int>(std::count(before.begin(), before.end(), '\n'));
      if (sign == '-')
        before = python::strip(before, false, true);
      else if (sign != '+' && kind != '{')
        before = without_indent(before);
      add_data(std::string(before));
      line_ = line_behind;
      at_ = tag + 2 + (sign == '-' || sign == '+' ? 1 : 0);
      if (kind == '#')
        skip_comment();
      else
        read_tag(kind == '%' ? Token::Kind::kStatement : Token::Kind::kExpression);
    }
    tokens_.push_back({Token::Kind::kEnd, "", line_});
    return std::move(tokens_);
  }

 private:
  size_t next_tag() const {
    for (size_t i = text_.find('{', at_); i != std::string::npos; i = text_.find('{', i + 1))
      if (i + 1 < text_.size() && (text_[i + 1] == '%' || text_[i + 1] == '{' || text_[i + 1] == '#')) return i;
    return std::string::npos;
  }

  // lstrip_blocks: the spaces of a line that stand before its first tag.
  std::string_view without_indent(std::string_view before) const {
    size_t start = before.rfind('\n') + 1;  // 0 when there is none
    if (start == 0 && !at_line_start_) return before;
    if (!python::strip(before.substr(start)).empty()) return before;
    return before.substr(0, start);
  }

  void add_data(std::string text) {
    if (text.empty()) return;
    tokens_.push_back({Token::Kind::kData, std::move(text), line_});
  }

  // Behind a tag's end: -%} takes all white space with it, and %} (trim_blocks) one line end.
  void skip_behind(bool all, bool line_end) {
    size_t begin = at_;
    if (all) {
      while (at_ < text_.size()) {
        size_t next = at_;
        if (!python::is_space(python::next_character(text_, next))) break;
        at_ = next;
      }
    } else if (line_end && at_ < text_.size() && text_[at_] == '\n') {
      ++at_;
    }
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(begin),
                                         text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n'));
    at_line_start_ = at_ > begin && text_[at_ - 1] == '\n';
  }

  void skip_comment() {
    // The sign before #} belongs to the end, also where it is the one behind {#.
    size_t end = text_.find("#}", at_);
    if (end == std::string::npos) throw Problem("a comment, {#, has no end");
    char sign = end > at_ ? text_[end - 1] : '\0';
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
    at_ = end + 2;
    skip_behind(sign == '-', sign != '+');
  }

  // Whether a tag's end stands here, which then is left behind.
  bool ends(char mark) {
    std::string_view rest = std::string_view(text_).substr(at_);
    bool sign = rest.starts_with('-') || (mark == '%' && rest.starts_with('+'));
    std::string_view behind = rest.substr(sign ? 1 : 0);
    if (behind.size() < 2 || behind[0] != mark || behind[1] != '}') return false;
    at_ += 2 + (sign ? 1 : 0);
    skip_behind(sign && rest[0] == '-', mark == '%' && !sign);
    return true;
  }

  void read_tag(Token::Kind kind) {
    const char mark = kind == Token::Kind::kStatement ? '%' : '}';
    tokens_.push_back({kind, "", line_});
    std::string open;
    while (true) {
      if (at_ >= text_.size()) throw Problem(fmt::format("a tag, {{{}, has no end", mark == '%' ? '%' : '{'));
      int line = line_;
      if (open.empty() && ends(mark)) {
        tokens_.push_back({mark == '%' ? Token::Kind::kStatementEnd : Token::Kind::kExpressionEnd, "", line});
        return;
      }
      size_t next = at_;
      char32_t c = python::next_character(text_, next);
      if (python::is_space(c)) {
        if (c == '\n') ++line_;
        at_ = next;
      } else if (is_letter(text_[at_])) {
        size_t end = at_;
        while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
        add(Token::Kind::kName, end);
      } else if (is_digit(text_[at_])) {
        read_number();
      } else if (text_[at_] == '"' || text_[at_] == '\'') {
        read_text();
      } else {
        read_operator(open, next);
      }
    }
  }

  void add(Token::Kind kind, size_t end) {
    tokens_.push_back({kind, text_.substr(at_, end - at_), line_});
    at_ = end;
  }

  void read_operator(std::string& open, size_t next) {
    std::string_view rest = std::string_view(text_).substr(at_);
    for (std::string_view longer : kLongOperators)
      if (rest.starts_with(longer)) return add(Token::Kind::kOperator, at_ + longer.size());
    char c = rest[0];
    if (kOperators.find(c) == std::string_view::npos)
      throw Problem(fmt::format("unexpected '{}' in a tag", text_.substr(at_, next - at_)));
    if (c == '(' || c == '[' || c == '{') {
      open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) throw Problem(fmt::format("unexpected '{}'", c));
      open.pop_back();
    }
    add(Token::Kind::kOperator, at_ + 1);
  }

  void read_number() {
    auto digits = [&](size_t i) {
      while (i < text_.size() && is_digit(text_[i])) ++i;
      return i;
    };
    size_t end = digits(at_);
    bool real = false;
    // messages.0.1 is no float
    bool behind_dot = at_ > 0 && text_[at_ - 1] == '.';
    if (!behind_dot && end + 1 < text_.size() && text_[end] == '.' && is_digit(text_[end + 1])) {
      real = true;
      end = digits(end + 1);
    }
    if (!behind_dot && end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      size_t power = end + 1;
      if (power < text_.size() && (text_[power] == '+' || text_[power] == '-')) ++power;
      if (power < text_.size() && is_digit(text_[power])) {
        real = true;
        end = digits(power);
      }
    }
    if (end < text_.size() && is_letter(text_[end]))
      throw Problem(fmt::format("the number {}{}… is written in a way that is not supported",
                                text_.substr(at_, end - at_), text_[end]));
    if (!real && end > at_ + 1 && text_[at_] == '0' && text_.find_first_not_of('0', at_) < end)
      throw Problem("a number begins with 0");
    add(real ? Token::Kind::kFloat : Token::Kind::kInt, end);
  }

  void read_text() {
    const char quote = text_[at_];
    Token token{Token::Kind::kText, "", line_};
    size_t i = at_ + 1;
    while (true) {
      if (i >= text_.size()) throw Problem("a text in quotes has no end");
      char c = text_[i];
      if (c == quote) break;
      if (c == '\n') ++line_;
      ++i;
      if (c != '\\') {
        token.text += c;
        continue;
      }
      if (i >= text_.size()) throw Problem("a text in quotes has no end");
      i = read_escape(i, token.text);
    }
    at_ = i + 1;
    tokens_.push_back(std::move(token));
  }

  // Python's escapes; `i` is behind the backslash. Returns where to go on.
  size_t read_escape(size_t i, std::string& out) {
    constexpr std::string_view kSigns = "\\'\"abfnrtv", kMeanings = "\\'\"\a\b\f\n\r\t\v";
    char c = text_[i];
    if (static_cast<unsigned char>(c) >= 0x80) throw Problem("a backslash before a letter that is not ASCII");
    if (c == '\n') {
      ++line_;
      return i + 1;
    }
    if (size_t sign = kSigns.find(c); sign != std::string_view::npos) {
      out += kMeanings[sign];
      return i + 1;
    }
    auto number = [&](size_t begin, size_t most, uint32_t base) {
      uint32_t value = 0;
      size_t end = begin;
      for (; end < text_.size() && end < begin + most; ++end) {
        char d = text_[end];
        uint32_t digit = is_digit(d)            ? static_cast<uint32_t>(d - '0')
                         : d >= 'a' && d <= 'f' ? static_cast<uint32_t>(d - 'a') + 10
                         : d >= 'A' && d <= 'F' ? static_cast<uint32_t>(d - 'A') + 10
                                                : 99;
        if (digit >= base) break;
        value = value * base + digit;
      }
      if (base == 16 && end != begin + most) throw Problem(fmt::format("\\{} is not followed by {} digits", c, most));
      if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
        throw Problem(fmt::format("\\{} with {:x}, which is no character", c, value));
      append_utf8(out, value);
      return end;
    };
    if (c == 'x' || c == 'u' || c == 'U') return number(i + 1, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
    if (c >= '0' && c <= '7') return number(i, 3, 8);
    if (c == 'N') throw Problem("\\N{…} in a text is not supported");
    out += {'\\', c};
    return i + 1;
  }

  const std::string text_;
  int& line_;
  size_t at_ = 0;
  bool at_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string Token::described() const {
  switch (kind) {
    case Kind::kEnd:
      return "the end of the template";
    case Kind::kStatementEnd:
      return "%}";
    case Kind::kExpressionEnd:
      return "}}";
    case Kind::kData:
      return "text";
    default:
      return fmt::format("'{}'", text);
  }
}

std::vector<Token> tokenize(std::string_view source, int& line) {
  return Lexer(source, line).run();
}

}  // namespace gavel::jinja

#include "recipe/codec.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <set>

#include "base/error.h"

namespace gavel::detail {

namespace {

using Kind = RawValue::Kind;

/** from_chars takes no plus sign, YAML does. */
std::string_view without_plus(std::string_view text) {
  return text.size() > 1 && text[0] == '+' && text[1] != '-' ? text.substr(1) : text;
}

template <class T>
bool parse_number(std::string_view text, T& out) {
  text = without_plus(text);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool looks_like_number(std::string_view text) {
  double value;
  if (parse_number(text, value)) return true;
  std::string_view rest = !text.empty() && (text[0] == '+' || text[0] == '-') ? text.substr(1) : text;
  // What other YAML readers take for numbers: 0x1f, 0o17, 1_000, .inf.
  return (!rest.empty() && rest[0] >= '0' && rest[0] <= '9' &&
          std::all_of(rest.begin(), rest.end(),
                      [](unsigned char c) { return std::isxdigit(c) || c == '_' || c == 'x' || c == 'o'; })) ||
         rest == ".inf" || rest == ".nan";
}

bool looks_like_word_of_yaml(const std::string& text) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (std::string_view word : {"true", "false", "null", "~", "yes", "no", "on", "off"})
    if (lower == word) return true;
  return false;
}

std::string shortened(const std::string& text) {
  constexpr size_t kLongest = 60;
  if (text.size() <= kLongest) return text;
  size_t cut = kLongest;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0) == 0x80) --cut;
  return text.substr(0, cut) + "…";
}

std::string list_names(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text;
}

std::string expected(std::string_view what, const Limits& limits, const RawValue& raw) {
  std::string range = limits.text();
  return fmt::format("expected {}{}{}, found {}", what, range.empty() ? "" : " ", range, describe(raw));
}

/** The items of a list, which may also be written without brackets: "q_proj, v_proj", or one item alone. */
std::vector<RawValue> items_of(const RawValue& raw) {
  if (raw.kind == Kind::kList) return raw.items;
  std::vector<RawValue> items;
  if (raw.kind != Kind::kPlain && raw.kind != Kind::kQuoted) return items;
  for (size_t at = 0; at <= raw.text.size();) {
    const size_t end = std::min(raw.text.find(',', at), raw.text.size());
    std::string text = raw.text.substr(at, end - at);
    const size_t first = text.find_first_not_of(' ');
    text = first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') + 1 - first);
    RawValue& item = items.emplace_back(raw);
    item.text = std::move(text);
    at = end + 1;
  }
  return items;
}

/** A list of any texts, or one text; what looks like a number is a text too. */
std::string read_words(const RawValue& raw, std::vector<std::string>& out) {
  std::vector<std::string> words;
  for (const RawValue& item : raw.kind == Kind::kList ? raw.items : std::vector<RawValue>{raw}) {
    if ((item.kind != Kind::kPlain && item.kind != Kind::kQuoted) || item.text.empty())
      return fmt::format("expected a list of texts, found {}", describe(item));
    words.push_back(item.text);
  }
  out = std::move(words);
  return "";
}

}  // namespace

std::string describe(const RawValue& value) {
  switch (value.kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a mapping";
    case Kind::kQuoted:
      return value.text.empty() ? "an empty text" : fmt::format("the text '{}'", shortened(value.text));
    case Kind::kPlain:
      break;
  }
  if (looks_like_number(value.text)) return shortened(value.text);
  if (looks_like_word_of_yaml(value.text)) return value.text;
  return fmt::format("'{}'", shortened(value.text));
}

bool Limits::allow(double value) const {
  if (std::isnan(value)) return false;
  return (above_min ? value > min : value >= min) && (below_max ? value < max : value <= max);
}

std::string Limits::text() const {
  bool has_min = std::isfinite(min), has_max = std::isfinite(max);
  if (has_min && has_max) {
    std::string text = fmt::format("from {} to {}", min, max);
    if (above_min && below_max) return text + " (both excluded)";
    if (above_min) return fmt::format("{} ({} excluded)", text, min);
    return below_max ? fmt::format("{} ({} excluded)", text, max) : text;
  }
  if (has_min) return above_min ? fmt::format("above {}", min) : fmt::format("of {} or more", min);
  return "";
}

std::string read_value(const RawValue& raw, const Limits&, bool& out) {
  if (raw.kind == Kind::kPlain && raw.text == "true") {
    out = true;
  } else if (raw.kind == Kind::kPlain && raw.text == "false") {
    out = false;
  } else {
    return fmt::format("expected true or false, found {}", describe(raw));
  }
  return "";
}

std::string read_value(const RawValue& raw, const Limits& limits, int64_t& out) {
  int64_t value;
  if (raw.kind != Kind::kPlain || !parse_number(raw.text, value) || !limits.allow(static_cast<double>(value)))
    return expected("an integer", limits, raw);
  out = value;
  return "";
}

std::string read_value(const RawValue& raw, const Limits& limits, double& out) {
  double value;
  if (raw.kind != Kind::kPlain || !parse_number(raw.text, value) || !std::isfinite(value) || !limits.allow(value))
    return expected("a number", limits, raw);
  out = value;
  return "";
}

std::string read_value(const RawValue& raw, const Limits&, std::string& out) {
  bool plain = raw.kind == Kind::kPlain;
  bool ambiguous =
      plain && !raw.from_command_line && (looks_like_number(raw.text) || looks_like_word_of_yaml(raw.text));
  if (ambiguous) return fmt::format("expected a text, found {}; write \"{}\" when this is meant", raw.text, raw.text);
  if ((!plain && raw.kind != Kind::kQuoted) || raw.text.empty())
    return fmt::format("expected a text, found {}", describe(raw));
  if (raw.text.find('\0') != std::string::npos) return "expected a text, found one with a zero byte";
  out = raw.text;
  return "";
}

std::string read_value(const RawValue& raw, const Limits& limits, std::variant<double, std::string>& out) {
  if (raw.kind == Kind::kPlain && looks_like_number(raw.text)) {
    double number;
    if (!read_value(raw, limits, number).empty())
      return fmt::format("expected a share {}, or a file; found {}", limits.text(), describe(raw));
    out = number;
    return "";
  }
  std::string text;
  if (!read_value(raw, limits, text).empty())
    return fmt::format("expected a share {}, or a file; found {}", limits.text(), describe(raw));
  out = std::move(text);
  return "";
}

std::string read_value(const RawValue& raw, const Limits& limits, std::vector<std::string>& out) {
  if (limits.names.empty()) return read_words(raw, out);
  // PEFT's shorthand.
  if (raw.kind == Kind::kPlain && raw.text == "all-linear") {
    out = limits.names;
    return "";
  }
  const std::vector<RawValue> items = items_of(raw);
  if (items.empty())
    return fmt::format("expected a list of {} (or all-linear), found {}", list_names(limits.names),
                       raw.kind == Kind::kList ? "an empty list" : describe(raw));
  std::vector<std::string> values;
  for (const RawValue& item : items) {
    std::string text;
    if (std::string problem = read_value(item, limits, text); !problem.empty()) return "in the list: " + problem;
    if (std::find(limits.names.begin(), limits.names.end(), text) == limits.names.end())
      return fmt::format("expected names among {}; found '{}'{}", list_names(limits.names), shortened(text),
                         did_you_mean(shortened(text), limits.names));
    if (std::find(values.begin(), values.end(), text) != values.end()) return fmt::format("'{}' is there twice", text);
    values.push_back(std::move(text));
  }
  out = std::move(values);
  return "";
}

std::string read_value(const RawValue& raw, const Limits& limits, std::array<double, 3>& out) {
  const std::vector<RawValue> items = items_of(raw);
  if (items.size() != out.size())
    return fmt::format("expected a list of {} numbers, found {}", out.size(),
                       raw.kind == Kind::kList ? fmt::format("{}", items.size()) : describe(raw));
  std::array<double, 3> values{};
  for (size_t i = 0; i < values.size(); ++i)
    if (std::string problem = read_value(items[i], limits, values[i]); !problem.empty())
      return "in the list: " + problem;
  double sum = values[0] + values[1] + values[2];
  if (std::abs(sum - 1) > 1e-6) return fmt::format("expected shares that sum to 1, found a sum of {}", sum);
  out = values;
  return "";
}

std::string read_value(const RawValue& raw, const Limits& limits, std::vector<int64_t>& out) {
  const std::vector<RawValue> items = items_of(raw);
  if (items.empty())
    return fmt::format("expected a list of whole numbers and ranges such as [8, 10-29], found {}",
                       raw.kind == Kind::kList ? "an empty list" : describe(raw));
  std::set<int64_t> values;
  for (const RawValue& item : items) {
    const size_t dash = item.text.find('-', 1);
    RawValue first = item, last = item;
    if (item.kind == Kind::kPlain && dash != std::string::npos) {
      first.text = item.text.substr(0, dash);
      last.text = item.text.substr(dash + 1);
    }
    int64_t from = 0, to = 0;
    if (!read_value(first, limits, from).empty() || !read_value(last, limits, to).empty() || from > to)
      return "in the list: " + expected("whole numbers or a range of them", limits, item);
    for (int64_t value = from; value <= to; ++value) values.insert(value);
  }
  out.assign(values.begin(), values.end());
  return "";
}

std::string read_choice(const RawValue& raw, const std::vector<std::string>& names, size_t& index) {
  bool scalar = raw.kind == Kind::kPlain || raw.kind == Kind::kQuoted;
  auto found = scalar ? std::find(names.begin(), names.end(), raw.text) : names.end();
  if (found == names.end())
    return fmt::format("expected {}; found {}{}", list_names(names), describe(raw),
                       scalar ? did_you_mean(shortened(raw.text), names) : "");
  index = static_cast<size_t>(found - names.begin());
  return "";
}

std::string write_value(bool value) {
  return value ? "true" : "false";
}

std::string write_value(int64_t value) {
  return fmt::format("{}", value);
}

std::string write_value(double value) {
  return fmt::format("{}", value);
}

std::string write_value(const std::string& value) {
  auto safe = [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '.' || c == '/' || c == '-'; };
  bool plain = !value.empty() && (std::isalpha(static_cast<unsigned char>(value[0])) || value[0] == '/') &&
               std::all_of(value.begin(), value.end(), safe) && !looks_like_number(value) &&
               !looks_like_word_of_yaml(value);
  if (plain) return value;
  std::string text = "\"";
  for (unsigned char c : value) {
    if (c == '"' || c == '\\') {
      text += '\\';
      text += static_cast<char>(c);
    } else if (c == '\n') {
      text += "\\n";
    } else if (c < 0x20 || c == 0x7f) {
      text += fmt::format("\\x{:02x}", c);
    } else {
      text += static_cast<char>(c);
    }
  }
  return text + '"';
}

std::string write_value(const std::variant<double, std::string>& value) {
  return std::visit([](const auto& v) { return write_value(v); }, value);
}

std::string write_value(const std::vector<std::string>& value) {
  std::string text;
  for (const std::string& item : value) text += (text.empty() ? "" : ", ") + write_value(item);
  return "[" + text + "]";
}

std::string write_value(const std::array<double, 3>& value) {
  return fmt::format("[{}, {}, {}]", value[0], value[1], value[2]);
}

std::string write_value(const std::vector<int64_t>& value) {
  return fmt::format("[{}]", fmt::join(value, ", "));
}

}  // namespace gavel::detail

// The methods of Python's types.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "chat/jinja_renderer.h"
#include "chat/python_text.h"

namespace gavel::jinja {

namespace {

using Names = std::vector<std::string_view>;

// All that the types have: what is not done here must not be taken for an attribute that is not there.
const Names& method_names(Kind kind) {
  static const Names text = {"capitalize",   "casefold",    "center",    "count",      "encode",     "endswith",
                             "expandtabs",   "find",        "format",    "format_map", "index",      "isalnum",
                             "isalpha",      "isascii",     "isdecimal", "isdigit",    "islower",    "isidentifier",
                             "isnumeric",    "isprintable", "isspace",   "istitle",    "isupper",    "join",
                             "ljust",        "lower",       "lstrip",    "maketrans",  "partition",  "removeprefix",
                             "removesuffix", "replace",     "rfind",     "rindex",     "rjust",      "rpartition",
                             "rsplit",       "rstrip",      "split",     "splitlines", "startswith", "strip",
                             "swapcase",     "title",       "translate", "upper",      "zfill"};
  static const Names row = {"append", "clear", "copy",   "count",   "extend", "index",
                            "insert", "pop",   "remove", "reverse", "sort"};
  static const Names tuple = {"count", "index"};
  static const Names dict = {"clear", "copy",    "fromkeys",   "get",    "items", "keys",
                             "pop",   "popitem", "setdefault", "update", "values"};
  static const Names number = {"as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator",
                               "from_bytes",       "fromhex",   "hex",        "imag",      "is_integer",
                               "numerator",        "real",      "to_bytes"};
  static const Names range = {"count", "index", "start", "step", "stop"};
  static const Names view = {"isdisjoint", "mapping"};
  static const Names none;
  switch (kind) {
    case Kind::kText:
      return text;
    case Kind::kList:
      return row;
    case Kind::kTuple:
      return tuple;
    case Kind::kDict:
      return dict;
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
      return number;
    case Kind::kRange:
      return range;
    case Kind::kView:
      return view;
    default:
      return none;
  }
}

bool holds(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void need_ascii(std::string_view text, std::string_view name) {
  if (!python::is_ascii(text)) throw Problem(fmt::format("{}() of a text that is not ASCII is not supported", name));
}

bool is_upper_letter(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_lower_letter(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_any_letter(char c) {
  return is_upper_letter(c) || is_lower_letter(c);
}

std::vector<std::string_view> split_at_spaces(std::string_view text, int64_t most) {
  std::vector<std::string_view> parts;
  while (!(text = python::strip(text, true, false)).empty()) {
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.push_back(text);
      break;
    }
    size_t end = text.size();
    for (size_t at = 0; at < text.size();) {
      size_t begin = at;
      if (!python::is_space(python::next_character(text, at))) continue;
      end = begin;
      break;
    }
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view mark, int64_t most, bool from_right) {
  if (mark.empty()) throw Problem("split: the separator is empty");
  std::vector<std::string_view> parts;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    size_t found = from_right ? text.rfind(mark) : text.find(mark);
    if (found == std::string_view::npos) break;
    parts.push_back(from_right ? text.substr(found + mark.size()) : text.substr(0, found));
    text = from_right ? text.substr(0, found) : text.substr(found + mark.size());
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

// isdigit() and its like, and islower() and isupper(), which look at letters alone.
bool has_nature(std::string_view text, std::string_view name) {
  auto all = [&](auto is) { return !text.empty() && std::all_of(text.begin(), text.end(), is); };
  auto is_digit_letter = [](char c) { return c >= '0' && c <= '9'; };
  if (name == "isalpha") return all(is_any_letter);
  if (name == "isalnum") return all([&](char c) { return is_any_letter(c) || is_digit_letter(c); });
  if (name == "isspace") return all([](char c) { return python::is_space(static_cast<unsigned char>(c)); });
  if (name == "islower" || name == "isupper") {
    auto wrong = name == "islower" ? is_upper_letter : is_lower_letter;
    return std::any_of(text.begin(), text.end(), is_any_letter) && std::none_of(text.begin(), text.end(), wrong);
  }
  return all(is_digit_letter);
}

}  // namespace

bool has_method(const Value& value, std::string_view name) {
  return holds(method_names(value.kind), name);
}

bool is_hidden_method(const Value& value, std::string_view name) {
  static const Names row = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
  static const Names dict = {"clear", "pop", "popitem", "setdefault", "update"};
  return value.is(Kind::kList) ? holds(row, name) : value.is(Kind::kDict) && holds(dict, name);
}

Value Renderer::list_of(const std::vector<std::string_view>& texts) {
  heap_.work(texts.size());
  std::vector<Value> values;
  values.reserve(texts.size());
  for (std::string_view text : texts) values.push_back(Value::of(text));
  return Value::of(Kind::kList, heap_.items(std::move(values)));
}

Value Renderer::call_method(const Method& method, CallArguments& arguments) {
  const Value& self = method.self;
  const std::string_view name = method.name;
  if (self.is(Kind::kText)) {
    Value out = call_text_method(self.text, name, arguments);
    arguments.done();
    return out;
  }
  if (self.is(Kind::kLoop)) {  // cycle
    if (arguments.positional.empty() || !arguments.named.empty()) throw Problem("loop.cycle: expected values");
    return arguments.positional[self.loop->index % arguments.positional.size()];
  }
  if (self.is(Kind::kDict)) {
    const auto& entries = self.pairs->entries;
    if (name == "get") {
      const Value& key = arguments.need("key");
      const Value* fallback = arguments.take("default");
      if (!arguments.named.empty()) throw Problem("get: an argument with a name");
      arguments.done();
      if (const Value* found = find(heap_, self, key)) return *found;
      return fallback ? *fallback : Value::none();
    }
    if (name == "copy") {
      arguments.done();
      return self;
    }
    if (name == "items" || name == "keys" || name == "values") {
      arguments.done();
      heap_.work(entries.size());
      std::vector<Value> values;
      for (const auto& [key, value] : entries)
        values.push_back(name == "keys"     ? key
                         : name == "values" ? value
                                            : Value::of(Kind::kTuple, heap_.items({key, value})));
      return Value::of(Kind::kView, heap_.items(std::move(values)));
    }
  }
  if (self.is(Kind::kList) || self.is(Kind::kTuple)) {
    if (name == "copy") {
      arguments.done();
      return self;
    }
    if (name == "count" || name == "index") {
      const Value& wanted = arguments.need("value");
      arguments.done();
      const auto& values = self.items->values;
      auto is_wanted = [&](const Value& value) { return equals(heap_, value, wanted); };
      if (name == "count")
        return Value::number(static_cast<int64_t>(std::count_if(values.begin(), values.end(), is_wanted)));
      auto found = std::find_if(values.begin(), values.end(), is_wanted);
      if (found == values.end()) throw Problem("index: the value is not in the list");
      return Value::number(static_cast<int64_t>(found - values.begin()));
    }
  }
  throw Problem(fmt::format("the method {} of {} is not supported", name, self.kind_name()));
}

Value Renderer::call_text_method(std::string_view text, std::string_view name, CallArguments& arguments) {
  heap_.work(text.size() / 8);
  auto needed_text = [&](std::string_view argument) {
    const Value* found = arguments.text(argument);
    if (!found) throw Problem(fmt::format("{}: {}: expected a text", name, argument));
    return found->text;
  };
  auto changed = [&](std::string out) {
    heap_.claim(out.size());
    return Value::of(heap_.keep(std::move(out)));
  };
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Value* chars = arguments.text("chars");
    if (!chars) return Value::of(python::strip(text, name != "rstrip", name != "lstrip"));
    heap_.work((text.size() + 1) * chars->text.size() / 16);
    return Value::of(python::strip(text, chars->text, name != "rstrip", name != "lstrip"));
  }
  if (name == "startswith" || name == "endswith") {
    const Value& wanted = arguments.need("prefix");
    auto fits = [&](const Value& value) {
      if (!value.is(Kind::kText)) throw Problem(fmt::format("{}: expected a text, found {}", name, value.kind_name()));
      return name == "startswith" ? text.starts_with(value.text) : text.ends_with(value.text);
    };
    if (!wanted.is(Kind::kTuple)) return Value::boolean(fits(wanted));
    const auto& values = wanted.items->values;
    heap_.work(values.size());
    return Value::boolean(std::any_of(values.begin(), values.end(), fits));
  }
  if (name == "split" || name == "rsplit") {
    const Value* mark = arguments.text("sep");
    int64_t most = arguments.number("maxsplit", -1);
    heap_.work(text.size());
    heap_.claim(text.size());
    if (mark) return list_of(split_at(text, mark->text, most, name == "rsplit"));
    if (name == "rsplit" && most >= 0) throw Problem("rsplit: maxsplit without a separator is not supported");
    return list_of(split_at_spaces(text, most));
  }
  if (name == "splitlines") return list_of(python::split_lines(text));
  if (name == "replace") {
    std::string_view old = needed_text("old"), fresh = needed_text("new");
    int64_t most = arguments.number("count", -1);
    Writer out(heap_);
    heap_.work(text.size());
    while (most != 0) {
      size_t found = text.find(old);
      if (found == std::string_view::npos) break;
      if (most > 0) --most;
      out.add(text.substr(0, found));
      out.add(fresh);
      text.remove_prefix(found + old.size());
      if (!old.empty()) continue;
      if (text.empty()) break;
      size_t end = 0;  // an empty text is found before each character and at the end
      python::next_character(text, end);
      out.add(text.substr(0, end));
      text.remove_prefix(end);
    }
    out.add(text);
    return Value::of(out.kept());
  }
  if (name == "upper" || name == "lower") {
    heap_.claim(text.size() * 3);
    return changed(name == "upper" ? python::upper(text) : python::lower(text));
  }
  if (name == "title" || name == "capitalize") {
    need_ascii(text, name);
    heap_.claim(text.size());
    std::string out(text);
    bool begins = true;
    for (char& c : out) {
      if (begins && is_lower_letter(c))
        c = static_cast<char>(c - 'a' + 'A');
      else if (!begins && is_upper_letter(c))
        c = static_cast<char>(c - 'A' + 'a');
      begins = name == "title" && !is_any_letter(c);
    }
    return changed(std::move(out));
  }
  if (name == "removeprefix" || name == "removesuffix") {
    std::string_view part = needed_text("part");
    if (name == "removeprefix" && text.starts_with(part)) text.remove_prefix(part.size());
    if (name == "removesuffix" && text.ends_with(part)) text.remove_suffix(part.size());
    return Value::of(text);
  }
  if (name == "find" || name == "rfind") {
    std::string_view part = needed_text("sub");
    size_t found = name == "find" ? text.find(part) : text.rfind(part);
    if (found == std::string_view::npos) return Value::number(int64_t{-1});
    return Value::number(static_cast<int64_t>(python::length(text.substr(0, found))));
  }
  if (name == "count") {
    std::string_view part = needed_text("sub");
    if (part.empty()) return Value::number(static_cast<int64_t>(python::length(text)) + 1);
    int64_t count = 0;
    for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
    return Value::number(count);
  }
  if (name == "partition" || name == "rpartition") {
    std::string_view mark = needed_text("sep");
    if (mark.empty()) throw Problem(fmt::format("{}: the separator is empty", name));
    size_t found = name == "partition" ? text.find(mark) : text.rfind(mark);
    Value whole = Value::of(text), nothing = Value::of(std::string_view());
    std::vector<Value> parts;
    if (found != std::string_view::npos)
      parts = {Value::of(text.substr(0, found)), Value::of(mark), Value::of(text.substr(found + mark.size()))};
    else if (name == "partition")
      parts = {whole, nothing, nothing};
    else
      parts = {nothing, nothing, whole};
    return Value::of(Kind::kTuple, heap_.items(std::move(parts)));
  }
  if (name == "join") {
    Writer out(heap_);
    bool first = true;
    for (const Value& value : walk(heap_, arguments.need("iterable"))) {
      if (!value.is(Kind::kText)) throw Problem(fmt::format("join: expected texts, found {}", value.kind_name()));
      if (!first) out.add(text);
      first = false;
      out.add(value.text);
    }
    return Value::of(out.kept());
  }
  for (std::string_view nature :
       {"isdigit", "isdecimal", "isnumeric", "isalpha", "isalnum", "isspace", "islower", "isupper"}) {
    if (name != nature) continue;
    need_ascii(text, name);
    return Value::boolean(has_nature(text, name));
  }
  throw Problem(fmt::format("the method {} of a text is not supported", name));
}

}  // namespace gavel::jinja

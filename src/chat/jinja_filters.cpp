// Jinja's filters and tests.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "chat/jinja_renderer.h"
#include "chat/python_text.h"

namespace gavel::jinja {

namespace {

constexpr std::array<std::string_view, 29> kOtherFilters = {
    "attr",      "batch",   "center",   "e",      "escape",    "filesizeformat", "forceescape", "format",
    "groupby",   "max",     "min",      "pprint", "random",    "round",          "safe",        "slice",
    "striptags", "sum",     "truncate", "unique", "urlencode", "urlize",         "float",       "wordcount",
    "wordwrap",  "xmlattr", "dictsort", "select", "map"};

Value reversed(Heap& heap, const Value& value) {
  if (value.is(Kind::kText)) {
    std::vector<Value> characters = walk(heap, value);
    Writer out(heap);
    for (auto i = characters.rbegin(); i != characters.rend(); ++i) out.add(i->text);
    return Value::of(out.kept());
  }
  std::vector<Value> values = walk(heap, value);
  std::reverse(values.begin(), values.end());
  return Value::of(value.is(Kind::kGenerator) ? Kind::kList : Kind::kGenerator, heap.items(std::move(values)));
}

// Jinja's title filter: words are what stands between blanks, hyphens and opening brackets.
std::string titled(std::string_view text) {
  std::string out(text);
  bool begins = true;
  for (char& c : out) {
    const bool is_mark =
        python::is_space(static_cast<unsigned char>(c)) || std::string_view("-({[<").find(c) != std::string_view::npos;
    if (begins && c >= 'a' && c <= 'z')
      c = static_cast<char>(c - 'a' + 'A');
    else if (!begins && c >= 'A' && c <= 'Z')
      c = static_cast<char>(c - 'A' + 'a');
    begins = is_mark;
  }
  return out;
}

std::string indented(std::string_view text, std::string_view indent, bool first, bool blank) {
  std::string whole = std::string(text) + "\n";
  std::string out;
  bool begins = true;
  for (std::string_view line : python::split_lines(whole)) {
    if (!begins) out += '\n';
    if (begins ? first : blank || !line.empty()) out += indent;
    begins = false;
    out += line;
  }
  return out;
}

// int() of a number's or a text's value, and the fallback where Python has none.
Value as_integer(const Value& value, const Value& fallback) {
  if (value.is_integer()) return Value::number(value.integer);
  double real = value.real;
  if (value.is(Kind::kText)) {
    std::string_view text = python::strip(value.text);
    if (text.starts_with('+')) text.remove_prefix(1);
    int64_t integer = 0;
    const char *begin = text.data(), *end = begin + text.size();
    auto whole = std::from_chars(begin, end, integer);
    if (!text.empty() && whole.ptr == end) {
      if (whole.ec != std::errc()) throw Problem("int: a number is too large");
      return Value::number(integer);
    }
    if (text.find_first_not_of("0123456789+-.eE") != std::string_view::npos) {
      // What Python reads as a number and this does not.
      if (text.find_first_of("0123456789") != std::string_view::npos || !python::is_ascii(text))
        if (text.find('_') != std::string_view::npos || !python::is_ascii(text))
          throw Problem("int of such a text is not supported");
      return fallback;
    }
    auto part = std::from_chars(begin, end, real);
    if (text.empty() || part.ptr != end || part.ec != std::errc()) return fallback;
  } else if (!value.is(Kind::kFloat)) {
    return fallback;
  }
  if (!(std::abs(real) < 9e18)) throw Problem("int: a number is too large");
  return Value::number(static_cast<int64_t>(real));
}

}  // namespace

Value Renderer::by_path(const Value& value, const Value& path) {
  if (path.is_integer()) return item(value, path);
  if (!path.is(Kind::kText)) throw Problem(fmt::format("an attribute: expected a name, found {}", path.kind_name()));
  Value out = value;
  std::string_view rest = path.text;
  while (true) {
    heap_.work();
    size_t dot = rest.find('.');
    std::string_view part = rest.substr(0, dot);
    int64_t index = 0;
    auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    bool is_index = !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    if (is_index && error != std::errc()) throw Problem("an attribute's number is too large");
    out = item(out, is_index ? Value::number(index) : Value::of(part));
    if (dot == std::string_view::npos) return out;
    rest.remove_prefix(dot + 1);
  }
}

Value Renderer::select(std::string_view name, const Value& value, CallArguments& arguments) {
  const bool by_attribute = name.ends_with("attr"), wanted = name.starts_with("select");
  Value path;
  if (by_attribute) path = arguments.need("attribute");
  const Value* test_name = arguments.take("test");
  if (test_name && !test_name->is(Kind::kText)) throw Problem(fmt::format("{}: expected the name of a test", name));
  CallArguments rest;
  if (test_name) {
    rest.callee = test_name->text;
    size_t taken = by_attribute ? 2 : 1;
    rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(taken),
                           arguments.positional.end());
    rest.named = arguments.named;
  } else {
    arguments.done();
  }
  std::vector<Value> chosen;
  // Jinja does not look into what is false, so that None is as good as no list.
  for (const Value& one : value.is_truthy() ? walk(heap_, value) : heap_.items()->values) {
    Value looked_at = by_attribute ? by_path(one, path) : one;
    bool holds = test_name ? test(test_name->text, looked_at, rest) : looked_at.is_truthy();
    if (holds == wanted) chosen.push_back(one);
  }
  return Value::of(Kind::kGenerator, heap_.items(std::move(chosen)));
}

Value Renderer::map(const Value& value, CallArguments& arguments) {
  std::vector<Value> out;
  const std::vector<Value>& values = value.is_truthy() ? walk(heap_, value) : heap_.items()->values;
  if (arguments.positional.empty()) {
    const Value path = arguments.need("attribute");
    const Value* fallback = arguments.take("default");
    arguments.done();
    for (const Value& one : values) {
      Value found = by_path(one, path);
      out.push_back(fallback && found.is(Kind::kUndefined) ? *fallback : found);
    }
  } else {
    const Value& filter_name = arguments.positional[0];
    if (!filter_name.is(Kind::kText)) throw Problem("map: expected the name of a filter");
    CallArguments rest;
    rest.callee = filter_name.text;
    rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    rest.named = arguments.named;
    for (const Value& one : values) out.push_back(filter(filter_name.text, one, rest));
  }
  return Value::of(Kind::kGenerator, heap_.items(std::move(out)));
}

Value Renderer::sorted(const Value& value, CallArguments& arguments) {
  const bool backwards = arguments.flag("reverse", false), exact = arguments.flag("case_sensitive", false);
  const Value* path = arguments.take("attribute");
  arguments.done();
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& one : walk(heap_, value)) {
    Value key = path && !path->is(Kind::kNone) ? by_path(one, *path) : one;
    if (key.is(Kind::kText) && !exact) {
      heap_.claim(key.text.size() * 3);
      key = Value::of(heap_.keep(python::lower(key.text)));
    }
    keyed.emplace_back(key, one);
  }
  // Python keeps the order of equals backwards too.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return backwards ? is_less(heap_, b.first, a.first) : is_less(heap_, a.first, b.first);
  });
  std::vector<Value> out;
  for (const auto& one : keyed) out.push_back(one.second);
  return Value::of(Kind::kList, heap_.items(std::move(out)));
}

Value Renderer::filter(std::string_view name, const Value& value, CallArguments arguments) {
  heap_.work();
  arguments.callee = name;
  if (name == "default" || name == "d") {
    const Value* given = arguments.take("default_value");
    Value fallback = given ? *given : Value::of(std::string_view());
    bool also_false = arguments.flag("boolean", false);
    arguments.done();
    return value.is(Kind::kUndefined) || (also_false && !value.is_truthy()) ? fallback : value;
  }
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr")
    return select(name, value, arguments);
  if (name == "map") return map(value, arguments);
  if (name == "sort") return sorted(value, arguments);
  if (name == "abs") {
    arguments.done();
    if (value.is(Kind::kFloat)) return Value::number(std::abs(value.real));
    if (value.is_integer())
      return value.integer < 0 ? arithmetic("-", Value::number(int64_t{0}), value) : Value::number(value.integer);
    throw Problem(fmt::format("abs of {}", value.kind_name()));
  }
  if (name == "int") {
    const Value* given = arguments.take("default");
    if (arguments.number("base", 10) != 10) throw Problem("int with a base is not supported");
    arguments.done();
    if (value.is(Kind::kUndefined)) throw Problem(fmt::format("'{}' is undefined", value.text));
    return as_integer(value, given ? *given : Value::number(int64_t{0}));
  }
  for (std::string_view of_items : {"length", "count", "first", "last", "list", "items", "join", "reverse"})
    if (name == of_items) return filter_items(name, value, arguments);
  return filter_text(name, value, arguments);
}

Value Renderer::filter_items(std::string_view name, const Value& value, CallArguments& arguments) {
  if (name == "join") {
    const Value* between = arguments.take("d");
    const Value* path = arguments.take("attribute");
    arguments.done();
    std::string_view mark = between ? text_of(heap_, *between) : std::string_view();
    Writer out(heap_);
    bool first = true;
    for (const Value& one : walk(heap_, value)) {
      if (!first) out.add(mark);
      first = false;
      out.add_str(path && !path->is(Kind::kNone) ? by_path(one, *path) : one);
    }
    return Value::of(out.kept());
  }
  arguments.done();
  if (name == "length" || name == "count") {
    switch (value.kind) {
      case Kind::kUndefined:
        return Value::number(int64_t{0});
      case Kind::kText:
        heap_.work(value.text.size() / 16);
        return Value::number(static_cast<int64_t>(python::length(value.text)));
      case Kind::kDict:
        return Value::number(static_cast<int64_t>(value.pairs->entries.size()));
      case Kind::kList:
      case Kind::kTuple:
      case Kind::kView:
      case Kind::kRange:
        return Value::number(static_cast<int64_t>(value.items->values.size()));
      case Kind::kLoop:
        return Value::number(static_cast<int64_t>(value.loop->values->size()));
      default:
        throw Problem(fmt::format("{} has no length", value.kind_name()));
    }
  }
  if (name == "items") {
    std::vector<Value> values;
    if (!value.is(Kind::kUndefined)) {
      if (!value.is(Kind::kDict)) throw Problem(fmt::format("items of {}: expected a dict", value.kind_name()));
      for (const auto& [key, held] : value.pairs->entries)
        values.push_back(Value::of(Kind::kTuple, heap_.items({key, held})));
    }
    return Value::of(Kind::kGenerator, heap_.items(std::move(values)));
  }
  if (name == "reverse") return reversed(heap_, value);
  if (name == "last" && value.is(Kind::kGenerator)) throw Problem("last of a generator: write `| list` before it");
  const std::vector<Value>& values = walk(heap_, value);
  if (name == "list") return Value::of(Kind::kList, heap_.items(values));
  if (values.empty()) return Value::undefined(name == "first" ? "the first of nothing" : "the last of nothing");
  if (value.is(Kind::kGenerator)) value.items->begun = true;
  return name == "first" ? values.front() : values.back();
}

Value Renderer::filter_text(std::string_view name, const Value& value, CallArguments& arguments) {
  if (name == "tojson") {
    Writer::JsonForm form;
    bool ascii = arguments.flag("ensure_ascii", false);
    const Value* indent = arguments.take("indent");
    const Value* separators = arguments.take("separators");
    form.sort_keys = arguments.flag("sort_keys", false);
    arguments.done();
    if (ascii) throw Problem("tojson: ensure_ascii is not supported");
    if (indent && !indent->is(Kind::kNone)) {
      if (!indent->is_integer() || indent->integer > 64) throw Problem("tojson: indent: expected a small int");
      form.indent = std::max<int64_t>(indent->integer, 0);
      form.between = ",";
    }
    if (separators && !separators->is(Kind::kNone)) {
      const std::vector<Value>& two = walk(heap_, *separators);
      if (two.size() != 2 || !two[0].is(Kind::kText) || !two[1].is(Kind::kText))
        throw Problem("tojson: separators: expected two texts");
      form.between = two[0].text;
      form.colon = two[1].text;
    }
    Writer out(heap_);
    out.add_json(value, form);
    return Value::of(out.kept());
  }
  const bool known = [&] {
    for (std::string_view one : {"string", "trim", "upper", "lower", "capitalize", "title", "replace", "indent"})
      if (name == one) return true;
    return false;
  }();
  if (!known) {
    for (std::string_view other : kOtherFilters)
      if (name == other) throw Problem(fmt::format("the filter {} is not supported", name));
    throw Problem(fmt::format("there is no filter {}", name));
  }
  const std::string_view text = text_of(heap_, value);
  heap_.work(text.size() / 8);
  if (name == "string") {
    arguments.done();
    return Value::of(text);
  }
  if (name == "title") {
    arguments.done();
    if (!python::is_ascii(text)) throw Problem("title of a text that is not ASCII is not supported");
    heap_.claim(text.size());
    return Value::of(heap_.keep(titled(text)));
  }
  if (name == "indent") {
    if (!value.is(Kind::kText)) throw Problem(fmt::format("indent of {}: expected a text", value.kind_name()));
    const Value* width = arguments.take("width");
    bool first = arguments.flag("first", false), blank = arguments.flag("blank", false);
    arguments.done();
    std::string indent(4, ' ');
    if (width && width->is(Kind::kText))
      indent = width->text;
    else if (width && width->is_integer() && width->integer <= 1000)
      indent.assign(static_cast<size_t>(std::max<int64_t>(width->integer, 0)), ' ');
    else if (width)
      throw Problem("indent: expected a small int or a text");
    heap_.claim(text.size() + 1);
    heap_.claim((python::split_lines(text).size() + 1) * indent.size());
    return Value::of(heap_.keep(indented(text, indent, first, blank)));
  }
  if (name == "replace") {
    // Texts are made of all that is given, which the method of a text does not do.
    for (size_t i = 0; i < std::min<size_t>(arguments.positional.size(), 2); ++i)
      arguments.positional[i] = Value::of(text_of(heap_, arguments.positional[i]));
    if (arguments.positional.size() == 3 && arguments.positional[2].is(Kind::kNone)) arguments.positional.pop_back();
  }
  Value out = call_text_method(text, name == "trim" ? "strip" : name, arguments);
  arguments.done();
  return out;
}

bool Renderer::test(std::string_view name, const Value& value, CallArguments arguments) {
  heap_.work();
  arguments.callee = name;
  auto with = [&](auto compare) {
    const Value& other = arguments.need("other");
    arguments.done();
    return compare(other);
  };
  if (name == "eq" || name == "equalto" || name == "==")
    return with([&](const Value& other) { return equals(heap_, value, other); });
  if (name == "ne" || name == "!=") return with([&](const Value& other) { return !equals(heap_, value, other); });
  if (name == "lt" || name == "lessthan" || name == "<")
    return with([&](const Value& other) { return is_less(heap_, value, other); });
  if (name == "gt" || name == "greaterthan" || name == ">")
    return with([&](const Value& other) { return is_less(heap_, other, value); });
  if (name == "le" || name == "<=")
    return with([&](const Value& o) { return is_less(heap_, value, o) || equals(heap_, value, o); });
  if (name == "ge" || name == ">=")
    return with([&](const Value& o) { return is_less(heap_, o, value) || equals(heap_, value, o); });
  if (name == "in") return with([&](const Value& other) { return contains(heap_, other, value); });
  if (name == "sameas")
    return with([&](const Value& other) {
      if (!other.is(Kind::kBool) && !other.is(Kind::kNone)) throw Problem("sameas is supported with true, false, none");
      return value.kind == other.kind && value.integer == other.integer;
    });
  if (name == "divisibleby")
    return with([&](const Value& other) { return !arithmetic("%", value, other).is_truthy(); });
  arguments.done();
  const bool is_row = value.is(Kind::kList) || value.is(Kind::kTuple) || value.is(Kind::kRange);
  const bool is_undefined = value.is(Kind::kUndefined);
  if (name == "defined") return !is_undefined;
  if (name == "undefined") return is_undefined;
  if (name == "none") return value.is(Kind::kNone);
  if (name == "boolean") return value.is(Kind::kBool);
  if (name == "true" || name == "false") return value.is(Kind::kBool) && (value.integer != 0) == (name == "true");
  if (name == "integer") return value.is(Kind::kInt);
  if (name == "float") return value.is(Kind::kFloat);
  if (name == "number") return value.is_number();
  if (name == "string") return value.is(Kind::kText);
  if (name == "mapping") return value.is(Kind::kDict);
  if (name == "sequence") return is_row || is_undefined || value.is(Kind::kText) || value.is(Kind::kDict);
  if (name == "iterable")
    return is_row || is_undefined || value.is(Kind::kText) || value.is(Kind::kDict) || value.is(Kind::kView) ||
           value.is(Kind::kGenerator) || value.is(Kind::kLoop);
  if (name == "callable")
    return is_undefined || value.is(Kind::kFunction) || value.is(Kind::kMacro) || value.is(Kind::kMethod) ||
           value.is(Kind::kLoop);
  if (name == "even" || name == "odd") {
    Value rest = arithmetic("%", value, Value::number(int64_t{2}));
    return equals(heap_, rest, Value::number(int64_t{name == "odd"}));
  }
  if (name == "lower" || name == "upper") {
    Value text = Value::of(text_of(heap_, value));
    CallArguments none;
    return call_text_method(text.text, name == "lower" ? "islower" : "isupper", none).is_truthy();
  }
  if (name == "escaped" || name == "filter" || name == "test")
    throw Problem(fmt::format("the test {} is not supported", name));
  throw Problem(fmt::format("there is no test {}", name));
}

}  // namespace gavel::jinja

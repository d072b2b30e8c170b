// What Python does with values: attributes, items, slices, arithmetic; and the functions of a template.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "chat/jinja_renderer.h"
#include "chat/python_text.h"

namespace gavel::jinja {

namespace {

// As in Jinja's sandbox.
constexpr int64_t kMaxRange = 100000;

Value loop_attribute(const Loop& loop, std::string_view name) {
  auto index = static_cast<int64_t>(loop.index), length = static_cast<int64_t>(loop.values->size());
  if (name == "index") return Value::number(index + 1);
  if (name == "index0" || name == "depth0") return Value::number(name == "index0" ? index : int64_t{0});
  if (name == "depth") return Value::number(int64_t{1});
  if (name == "revindex") return Value::number(length - index);
  if (name == "revindex0") return Value::number(length - index - 1);
  if (name == "length") return Value::number(length);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == length);
  if (name == "previtem") return index > 0 ? (*loop.values)[loop.index - 1] : Value::undefined("loop.previtem");
  if (name == "nextitem")
    return index + 1 < length ? (*loop.values)[loop.index + 1] : Value::undefined("loop.nextitem");
  throw Problem(fmt::format("loop.{} is not supported", name));
}

[[noreturn]] void fail_undefined(const Value& value) {
  throw Problem(fmt::format("'{}' is undefined", value.text));
}

[[noreturn]] void fail_too_large() {
  throw Problem("a number is too large");
}

double checked(double value) {
  if (!std::isfinite(value)) throw Problem("a number is out of range");
  return value;
}

int64_t floor_divide(int64_t a, int64_t b, bool want_rest) {
  if (b == 0) throw Problem("a division by zero");
  if (b == -1) {
    if (want_rest) return 0;
    if (a == INT64_MIN) fail_too_large();
    return -a;
  }
  int64_t quotient = a / b, rest = a % b;
  if (rest != 0 && (rest < 0) != (b < 0)) {
    --quotient;
    rest += b;
  }
  return want_rest ? rest : quotient;
}

double floor_divide(double a, double b, bool want_rest) {
  if (b == 0) throw Problem("a division by zero");
  double rest = std::fmod(a, b);
  double quotient = (a - rest) / b;
  if (rest == 0) {
    rest = std::copysign(0.0, b);
  } else if ((b < 0) != (rest < 0)) {
    rest += b;
    quotient -= 1;
  }
  if (want_rest) return rest;
  if (quotient == 0) return std::copysign(0.0, a / b);
  double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}

Value power_of_integers(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) throw Problem("a division by zero");
    return Value::number(checked(std::pow(static_cast<double>(base), static_cast<double>(exponent))));
  }
  if (base == 0 || base == 1) return Value::number(exponent == 0 ? int64_t{1} : base);
  if (base == -1) return Value::number(exponent % 2 == 0 ? int64_t{1} : int64_t{-1});
  int64_t out = 1;
  for (int64_t i = 0; i < exponent; ++i)
    if (__builtin_mul_overflow(out, base, &out)) fail_too_large();
  return Value::number(out);
}

Value of_integers(std::string_view op, int64_t a, int64_t b) {
  int64_t out = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &out);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &out);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &out);
  } else if (op == "/") {
    constexpr int64_t kExact = int64_t{1} << 53;
    if (b == 0) throw Problem("a division by zero");
    if (a > kExact || a < -kExact || b > kExact || b < -kExact) fail_too_large();
    return Value::number(static_cast<double>(a) / static_cast<double>(b));
  } else if (op == "**") {
    return power_of_integers(a, b);
  } else {
    out = floor_divide(a, b, op == "%");
  }
  if (overflow) fail_too_large();
  return Value::number(out);
}

Value of_reals(std::string_view op, double a, double b) {
  if (op == "+") return Value::number(a + b);
  if (op == "-") return Value::number(a - b);
  if (op == "*") return Value::number(a * b);
  if (op == "**") return Value::number(checked(std::pow(a, b)));
  if (op != "/") return Value::number(floor_divide(a, b, op == "%"));
  if (b == 0) throw Problem("a division by zero");
  return Value::number(a / b);
}

bool is_row(const Value& value) {
  return value.is(Kind::kList) || value.is(Kind::kTuple);
}

}  // namespace

Value Renderer::attribute(const Value& base, std::string_view name) {
  if (base.is(Kind::kUndefined)) fail_undefined(base);
  if (name.starts_with("__")) throw Problem(fmt::format("the attribute {} is not supported", name));
  switch (base.kind) {
    case Kind::kNone:
      return Value::undefined(name);
    case Kind::kNamespace: {
      const Value* found = find(heap_, base, Value::of(name));
      return found ? *found : Value::undefined(name);
    }
    case Kind::kLoop:
      if (name != "cycle") return loop_attribute(*base.loop, name);
      break;
    case Kind::kGenerator:
    case Kind::kFunction:
    case Kind::kMacro:
    case Kind::kMethod:
      throw Problem(fmt::format("the attribute {} of {} is not supported", name, base.kind_name()));
    default:
      if (is_hidden_method(base, name)) return Value::undefined(name);
      if (has_method(base, name)) break;
      if (base.is(Kind::kDict))
        if (const Value* found = find(heap_, base, Value::of(name))) return *found;
      return Value::undefined(name);
  }
  Value out;
  out.kind = Kind::kMethod;
  out.method = heap_.method(base, name);
  return out;
}

Value Renderer::item(const Value& base, const Value& key) {
  if (base.is(Kind::kUndefined)) fail_undefined(base);
  if (base.is(Kind::kDict)) {
    // A list as a key is a TypeError, which Jinja takes as "not there".
    if (key.is(Kind::kText) || key.is_number() || key.is(Kind::kNone))
      if (const Value* found = find(heap_, base, key)) return *found;
  } else if (key.is_integer()) {
    int64_t index = key.integer;
    if (base.is(Kind::kText)) {
      heap_.work(base.text.size() / 16);
      auto length = static_cast<int64_t>(python::length(base.text));
      if (index < 0) index += length;
      if (index < 0 || index >= length) return Value::undefined("a character behind the end");
      size_t begin = python::byte_of(base.text, static_cast<size_t>(index)), end = begin;
      python::next_character(base.text, end);
      return Value::of(base.text.substr(begin, end - begin));
    }
    if (is_row(base) || base.is(Kind::kRange)) {
      const auto& values = base.items->values;
      if (index < 0) index += static_cast<int64_t>(values.size());
      if (index < 0 || index >= static_cast<int64_t>(values.size())) return Value::undefined("an item behind the end");
      return values[static_cast<size_t>(index)];
    }
  }
  if (!key.is(Kind::kText)) return Value::undefined("an item");
  // Jinja looks for an attribute of that name; a dict's keys have been looked at.
  if (base.is(Kind::kDict) && !has_method(base, key.text)) return Value::undefined(key.text);
  return attribute(base, key.text);
}

Value Renderer::slice(const Value& base, const Value& from, const Value& to, const Value& step) {
  if (base.is(Kind::kUndefined)) fail_undefined(base);
  const bool is_text = base.is(Kind::kText);
  if (!is_text && !is_row(base)) throw Problem(fmt::format("{} has no slices", base.kind_name()));
  for (const Value* part : {&from, &to, &step})
    if (!part->is_integer() && !part->is(Kind::kNone))
      throw Problem(fmt::format("a slice: expected an int, found {}", part->kind_name()));
  const int64_t by = step.is(Kind::kNone) ? 1 : step.integer;
  if (by == 0) throw Problem("a slice with steps of 0");
  heap_.work(is_text ? base.text.size() / 16 : 0);
  const auto length = static_cast<int64_t>(is_text ? python::length(base.text) : base.items->values.size());
  auto bound = [&](const Value& given, int64_t fallback) {
    if (given.is(Kind::kNone)) return fallback;
    int64_t index = given.integer < 0 ? given.integer + length : given.integer;
    return by > 0 ? std::clamp<int64_t>(index, 0, length) : std::clamp<int64_t>(index, -1, length - 1);
  };
  const int64_t begin = bound(from, by > 0 ? 0 : length - 1), end = bound(to, by > 0 ? length : -1);
  if (is_text && by == 1) {
    if (begin >= end) return Value::of(std::string_view());
    size_t first = python::byte_of(base.text, static_cast<size_t>(begin));
    std::string_view rest = base.text.substr(first);
    return Value::of(rest.substr(0, python::byte_of(rest, static_cast<size_t>(end - begin))));
  }
  const std::vector<Value>& values = is_text ? walk(heap_, base) : base.items->values;
  std::vector<Value> chosen;
  for (int64_t i = begin; by > 0 ? i < end : i > end;) {
    heap_.work();
    chosen.push_back(values[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (!is_text) return Value::of(base.kind, heap_.items(std::move(chosen)));
  Writer out(heap_);
  for (const Value& character : chosen) out.add(character.text);
  return Value::of(out.kept());
}

Value Renderer::repeated(const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (value.is(Kind::kText)) {
    Writer out(heap_);
    for (size_t i = 0; i < count && !value.text.empty(); ++i) {
      heap_.work();
      out.add(value.text);
    }
    return Value::of(out.kept());
  }
  Items* items = heap_.items();
  const auto& values = value.items->values;
  for (size_t i = 0; i < count && !values.empty(); ++i) {
    heap_.work(values.size());
    heap_.claim(values.size() * sizeof(Value));
    items->values.insert(items->values.end(), values.begin(), values.end());
  }
  return Value::of(value.kind, items);
}

Value Renderer::arithmetic(std::string_view op, const Value& a, const Value& b) {
  for (const Value* value : {&a, &b})
    if (value->is(Kind::kUndefined)) fail_undefined(*value);
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) return of_reals(op, a.as_real(), b.as_real());
    return of_integers(op, a.integer, b.integer);
  }
  if (op == "+" && a.is(Kind::kText) && b.is(Kind::kText)) {
    Writer out(heap_);
    out.add(a.text);
    out.add(b.text);
    return Value::of(out.kept());
  }
  if (op == "+" && is_row(a) && a.kind == b.kind) {
    heap_.claim(a.items->values.size() * sizeof(Value));
    std::vector<Value> values = a.items->values;
    heap_.claim(b.items->values.size() * sizeof(Value));
    values.insert(values.end(), b.items->values.begin(), b.items->values.end());
    return Value::of(a.kind, heap_.items(std::move(values)));
  }
  if (op == "*" && (a.is(Kind::kText) || is_row(a)) && b.is_integer()) return repeated(a, b.integer);
  if (op == "*" && (b.is(Kind::kText) || is_row(b)) && a.is_integer()) return repeated(b, a.integer);
  if (op == "%" && a.is(Kind::kText)) throw Problem("formatting a text with % is not supported");
  throw Problem(fmt::format("{} {} {}: not possible", a.kind_name(), op, b.kind_name()));
}

Value Renderer::call_function(std::string_view name, CallArguments& arguments) {
  if (name == "raise_exception") {
    std::string message(text_of(heap_, arguments.need("message")));
    arguments.done();
    throw Refusal(message);
  }
  if (name == "range") {
    if (arguments.positional.empty() || !arguments.named.empty()) throw Problem("range: expected one to three ints");
    int64_t start = 0, stop = arguments.number("start", 0), step = 1;
    if (arguments.positional.size() > 1) {
      start = stop;
      stop = arguments.number("stop", 0);
      step = arguments.number("step", 1);
    }
    arguments.done();
    if (step == 0) throw Problem("range: steps of 0");
    Items* items = heap_.items();
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
      if (static_cast<int64_t>(items->values.size()) == kMaxRange)
        throw Problem(fmt::format("range: more than {} numbers", kMaxRange));
      heap_.work();
      heap_.claim(sizeof(Value));
      items->values.push_back(Value::number(i));
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    return Value::of(Kind::kRange, items);
  }
  // dict and namespace
  Pairs* pairs = heap_.pairs();
  if (const Value* given = arguments.take("")) {
    if (!given->is(Kind::kDict)) throw Problem(fmt::format("{} of {} is not supported", name, given->kind_name()));
    for (const auto& [key, value] : given->pairs->entries) put(heap_, *pairs, key, value);
  }
  if (arguments.positional.size() > 1) throw Problem(fmt::format("{} has too many arguments", name));
  for (const auto& [key, value] : arguments.named) put(heap_, *pairs, Value::of(key), value);
  if (name == "dict") return Value::of(Kind::kDict, pairs);
  for (const auto& [key, value] : pairs->entries)
    if (!key.is(Kind::kText) || key.text.starts_with('_'))
      throw Problem("a namespace holds no name that begins with _");
  return Value::of(Kind::kNamespace, pairs);
}

}  // namespace gavel::jinja

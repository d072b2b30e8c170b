#include "chat/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "chat/python_text.h"

namespace gavel::jinja {

namespace {

// Deeper than this no data of a chat is; a template could nest lists in each other until the stack ends.
constexpr int kMaxDataDepth = 64;

void check_depth(int depth) {
  if (depth > kMaxDataDepth) throw Problem("lists or dicts are nested too deeply");
}

void check_key(const Value& key) {
  switch (key.kind) {
    case Kind::kNone:
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
    case Kind::kText:
      return;
    default:
      throw Problem(fmt::format("{} can't be the key of a dict", key.kind_name()));
  }
}

}  // namespace

Value Value::undefined(std::string_view name) {
  Value out;
  out.text = name;
  return out;
}

Value Value::none() {
  Value out;
  out.kind = Kind::kNone;
  return out;
}

Value Value::boolean(bool value) {
  Value out;
  out.kind = Kind::kBool;
  out.integer = value ? 1 : 0;
  return out;
}

Value Value::number(int64_t value) {
  Value out;
  out.kind = Kind::kInt;
  out.integer = value;
  return out;
}

Value Value::number(double value) {
  Value out;
  out.kind = Kind::kFloat;
  out.real = value;
  return out;
}

Value Value::of(std::string_view text) {
  Value out;
  out.kind = Kind::kText;
  out.text = text;
  return out;
}

Value Value::of(Kind kind, Items* items) {
  Value out;
  out.kind = kind;
  out.items = items;
  return out;
}

Value Value::of(Kind kind, Pairs* pairs) {
  Value out;
  out.kind = kind;
  out.pairs = pairs;
  return out;
}

Value Value::function(std::string_view name) {
  Value out;
  out.kind = Kind::kFunction;
  out.text = name;
  return out;
}

bool Value::is_truthy() const {
  switch (kind) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return integer != 0;
    case Kind::kFloat:
      return real != 0;
    case Kind::kText:
      return !text.empty();
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
    case Kind::kRange:
      return !items->values.empty();
    case Kind::kDict:
      return !pairs->entries.empty();
    default:
      return true;
  }
}

std::string_view Value::kind_name() const {
  switch (kind) {
    case Kind::kUndefined:
      return "an undefined value";
    case Kind::kNone:
      return "None";
    case Kind::kBool:
      return "a bool";
    case Kind::kInt:
      return "an int";
    case Kind::kFloat:
      return "a float";
    case Kind::kText:
      return "a text";
    case Kind::kList:
      return "a list";
    case Kind::kTuple:
      return "a tuple";
    case Kind::kDict:
      return "a dict";
    case Kind::kView:
      return "a view of a dict";
    case Kind::kRange:
      return "a range";
    case Kind::kGenerator:
      return "a generator (write `| list` after the filter)";
    case Kind::kNamespace:
      return "a namespace";
    case Kind::kFunction:
      return "a function";
    case Kind::kMacro:
      return "a macro";
    case Kind::kMethod:
      return "a method";
    case Kind::kLoop:
      return "a loop";
  }
  return "a value";
}

void Heap::fail_steps() {
  throw Problem("it takes too many steps (loops within loops?)");
}

void Heap::fail_memory() {
  throw Problem("it makes texts or lists that are too large");
}

std::string_view Heap::keep(std::string text) {
  claim(sizeof(std::string));
  return texts_.emplace_back(std::move(text));
}

Items* Heap::items(std::vector<Value> values) {
  claim(sizeof(Items) + values.size() * sizeof(Value));
  return &items_.emplace_back(Items{std::move(values), false, false});
}

Pairs* Heap::pairs() {
  claim(sizeof(Pairs));
  return &pairs_.emplace_back();
}

const Method* Heap::method(const Value& self, std::string_view name) {
  claim(sizeof(Method));
  return &methods_.emplace_back(Method{self, name});
}

Loop* Heap::loop(const std::vector<Value>& values) {
  claim(sizeof(Loop));
  return &loops_.emplace_back(Loop{&values, 0});
}

void Writer::add_str(const Value& value) {
  if (value.is(Kind::kText))
    add(value.text);
  else if (!value.is(Kind::kUndefined))
    add_repr(value);
}

void Writer::add_repr(const Value& value, int depth) {
  check_depth(depth);
  heap_.work();
  switch (value.kind) {
    case Kind::kUndefined:
      return add("Undefined");
    case Kind::kNone:
      return add("None");
    case Kind::kBool:
      return add(value.integer != 0 ? "True" : "False");
    case Kind::kInt:
      return add(std::to_string(value.integer));
    case Kind::kFloat:
      return add(python::repr(value.real));
    case Kind::kText:
      heap_.claim(value.text.size());
      return add(python::repr(value.text));
    case Kind::kList:
    case Kind::kTuple: {
      const auto& values = value.items->values;
      add(value.is(Kind::kList) ? "[" : "(");
      for (size_t i = 0; i < values.size(); ++i) {
        if (i > 0) add(", ");
        add_repr(values[i], depth + 1);
      }
      if (value.is(Kind::kTuple) && values.size() == 1) add(",");
      return add(value.is(Kind::kList) ? "]" : ")");
    }
    case Kind::kDict: {
      add("{");
      bool first = true;
      for (const auto& [key, held] : value.pairs->entries) {
        if (!first) add(", ");
        first = false;
        add_repr(key, depth + 1);
        add(": ");
        add_repr(held, depth + 1);
      }
      return add("}");
    }
    default:
      throw Problem(fmt::format("{} is written out, which is not supported", value.kind_name()));
  }
}

void Writer::add_line(const JsonForm& form, int depth) {
  if (form.indent < 0) return;
  auto spaces = static_cast<size_t>(form.indent) * static_cast<size_t>(depth);
  heap_.claim(spaces + 1);
  text_ += '\n';
  text_.append(spaces, ' ');
}

void Writer::add_json(const Value& value, const JsonForm& form, int depth) {
  check_depth(depth);
  heap_.work();
  switch (value.kind) {
    case Kind::kNone:
      return add("null");
    case Kind::kBool:
      return add(value.integer != 0 ? "true" : "false");
    case Kind::kInt:
      return add(std::to_string(value.integer));
    case Kind::kFloat:
      if (!std::isfinite(value.real))
        return add(std::isnan(value.real) ? "NaN" : value.real < 0 ? "-Infinity" : "Infinity");
      return add(python::repr(value.real));
    case Kind::kText:
      heap_.claim(value.text.size());
      return add(python::json(value.text));
    case Kind::kList:
    case Kind::kTuple: {
      const auto& values = value.items->values;
      if (values.empty()) return add("[]");
      add("[");
      for (size_t i = 0; i < values.size(); ++i) {
        if (i > 0) add(form.between);
        add_line(form, depth + 1);
        add_json(values[i], form, depth + 1);
      }
      add_line(form, depth);
      return add("]");
    }
    case Kind::kDict: {
      auto entries = value.pairs->entries;
      if (entries.empty()) return add("{}");
      heap_.claim(entries.size() * sizeof(entries[0]));
      if (form.sort_keys)
        std::stable_sort(entries.begin(), entries.end(),
                         [&](const auto& a, const auto& b) { return is_less(heap_, a.first, b.first); });
      add("{");
      bool first = true;
      for (const auto& [key, held] : entries) {
        if (!first) add(form.between);
        first = false;
        add_line(form, depth + 1);
        if (key.is(Kind::kText)) {
          add_json(key, form, depth + 1);
        } else {
          add("\"");
          add_json(key, form, depth + 1);
          add("\"");
        }
        add(form.colon);
        add_json(held, form, depth + 1);
      }
      add_line(form, depth);
      return add("}");
    }
    default:
      throw Problem(fmt::format("tojson: {} is not JSON", value.kind_name()));
  }
}

std::string_view text_of(Heap& heap, const Value& value) {
  if (value.is(Kind::kText)) return value.text;
  Writer out(heap);
  out.add_str(value);
  return out.kept();
}

bool equals(Heap& heap, const Value& a, const Value& b, int depth) {
  check_depth(depth);
  heap.work();
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) return a.as_real() == b.as_real();
    return a.integer == b.integer;
  }
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kText:
      heap.work(std::min(a.text.size(), b.text.size()) / 16);
      return a.text == b.text;
    case Kind::kList:
    case Kind::kTuple: {
      const auto &left = a.items->values, &right = b.items->values;
      if (left.size() != right.size()) return false;
      for (size_t i = 0; i < left.size(); ++i)
        if (!equals(heap, left[i], right[i], depth + 1)) return false;
      return true;
    }
    case Kind::kDict:
      if (a.pairs->entries.size() != b.pairs->entries.size()) return false;
      for (const auto& [key, value] : a.pairs->entries) {
        const Value* other = find(heap, b, key);
        if (!other || !equals(heap, value, *other, depth + 1)) return false;
      }
      return true;
    case Kind::kNamespace:
      return a.pairs == b.pairs;
    default:
      throw Problem(fmt::format("{} is compared, which is not supported", a.kind_name()));
  }
}

bool is_less(Heap& heap, const Value& a, const Value& b) {
  heap.work();
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) return a.as_real() < b.as_real();
    return a.integer < b.integer;
  }
  if (a.is(Kind::kText) && b.is(Kind::kText)) {
    heap.work(std::min(a.text.size(), b.text.size()) / 16);
    return a.text < b.text;  // UTF-8 sorts as code points do
  }
  throw Problem(fmt::format("{} and {} have no order", a.kind_name(), b.kind_name()));
}

bool contains(Heap& heap, const Value& where, const Value& item) {
  switch (where.kind) {
    case Kind::kText:
      if (!item.is(Kind::kText)) throw Problem(fmt::format("'in' a text: expected a text, found {}", item.kind_name()));
      heap.work(where.text.size() / 8);
      return where.text.find(item.text) != std::string_view::npos;
    case Kind::kDict:
      return find(heap, where, item) != nullptr;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
    case Kind::kRange:
      return std::any_of(where.items->values.begin(), where.items->values.end(),
                         [&](const Value& value) { return equals(heap, value, item); });
    case Kind::kUndefined:
      return false;
    default:
      throw Problem(fmt::format("'in' is not supported in {}", where.kind_name()));
  }
}

Value* find(Heap& heap, const Value& pairs, const Value& key) {
  if (!key.is(Kind::kText)) check_key(key);
  heap.work(1 + pairs.pairs->entries.size() / 4);
  for (auto& [name, value] : pairs.pairs->entries) {
    if (key.is(Kind::kText) ? name.is(Kind::kText) && name.text == key.text : equals(heap, name, key)) return &value;
  }
  return nullptr;
}

void put(Heap& heap, Pairs& pairs, const Value& key, const Value& value) {
  if (Value* found = find(heap, Value::of(Kind::kDict, &pairs), key)) {
    *found = value;
    return;
  }
  heap.claim(2 * sizeof(Value));
  pairs.entries.emplace_back(key, value);
}

const std::vector<Value>& walk(Heap& heap, const Value& value) {
  switch (value.kind) {
    case Kind::kGenerator:
      if (value.items->begun) throw Problem("the rest of a generator is walked through, which is not supported");
      if (value.items->used) {
        static const std::vector<Value> nothing;
        return nothing;
      }
      value.items->used = true;
      [[fallthrough]];
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kView:
    case Kind::kRange:
      heap.work(value.items->values.size());
      return value.items->values;
    case Kind::kUndefined:
      return heap.items()->values;
    case Kind::kDict: {
      Items* keys = heap.items();
      heap.claim(value.pairs->entries.size() * sizeof(Value));
      for (const auto& entry : value.pairs->entries) keys->values.push_back(entry.first);
      return keys->values;
    }
    case Kind::kText: {
      Items* characters = heap.items();
      for (size_t at = 0; at < value.text.size();) {
        size_t begin = at;
        python::next_character(value.text, at);
        heap.work();
        heap.claim(sizeof(Value));
        characters->values.push_back(Value::of(value.text.substr(begin, at - begin)));
      }
      return characters->values;
    }
    default:
      throw Problem(fmt::format("{} can't be walked through", value.kind_name()));
  }
}

}  // namespace gavel::jinja

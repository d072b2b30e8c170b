#include "chat/jinja_renderer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace gavel::jinja {

namespace {

// Calls within each other, of macros too; the thread's stack has room for many times as many.
constexpr int kMaxRenderDepth = 800;

constexpr std::array<std::string_view, 4> kGlobals = {"range", "dict", "namespace", "raise_exception"};
// What Jinja knows and this does not: not to be taken for a name that nobody has set.
constexpr std::array<std::string_view, 7> kUnsupportedNames = {"cycler", "joiner",  "lipsum", "caller",
                                                               "kwargs", "varargs", "self"};

template <size_t N>
bool is_among(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

struct Renderer::Deeper {
  Deeper(Renderer& of, int line) : renderer(of) {
    if (++of.depth_ > kMaxRenderDepth) throw Problem("calls or expressions are nested too deeply");
    of.line_ = line;
    of.heap_.work();
  }
  ~Deeper() { --renderer.depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;
  Renderer& renderer;
};

void Scope::set(std::string_view name, const Value& value) {
  for (auto& held : values) {
    if (held.first != name) continue;
    held.second = value;
    return;
  }
  values.emplace_back(name, value);
}

const Value* Scope::find(std::string_view name) const {
  for (const Scope* scope = this; scope; scope = scope->parent)
    for (const auto& held : scope->values)
      if (held.first == name) return &held.second;
  return nullptr;
}

const Value* CallArguments::take(std::string_view name) {
  const Value* found = next_ < positional.size() ? &positional[next_] : nullptr;
  ++next_;
  for (const auto& given : named) {
    if (given.first != name) continue;
    if (found) throw Problem(fmt::format("{}: the argument {} is given twice", callee, name));
    ++named_taken_;
    found = &given.second;
  }
  return found;
}

const Value& CallArguments::need(std::string_view name) {
  const Value* found = take(name);
  if (!found) throw Problem(fmt::format("{}: the argument {} is missing", callee, name));
  return *found;
}

bool CallArguments::flag(std::string_view name, bool fallback) {
  const Value* found = take(name);
  return found ? found->is_truthy() : fallback;
}

int64_t CallArguments::number(std::string_view name, int64_t fallback) {
  const Value* found = take(name);
  if (!found) return fallback;
  if (!found->is_integer())
    throw Problem(fmt::format("{}: {}: expected an int, found {}", callee, name, found->kind_name()));
  return found->integer;
}

const Value* CallArguments::text(std::string_view name) {
  const Value* found = take(name);
  if (!found || found->is(Kind::kNone)) return nullptr;
  if (!found->is(Kind::kText))
    throw Problem(fmt::format("{}: {}: expected a text, found {}", callee, name, found->kind_name()));
  return found;
}

void CallArguments::done() const {
  if (positional.size() > next_) throw Problem(fmt::format("{} has too many arguments", callee));
  if (named.size() > named_taken_) throw Problem(fmt::format("{} has an argument that is not supported", callee));
}

std::string Renderer::render(const Scope& variables) {
  Writer out(heap_);
  run(program_.body, new_scope(variables), out);
  return std::move(out.text());
}

Scope& Renderer::new_scope(const Scope& parent) {
  heap_.claim(sizeof(Scope) + 4 * sizeof(Value));
  Scope& scope = scopes_.emplace_back();
  scope.parent = &parent;
  return scope;
}

std::string_view Renderer::captured(const Nodes& body, const Scope& scope) {
  Writer out(heap_);
  run(body, new_scope(scope), out);
  return out.kept();
}

void Renderer::assign(const Target& target, const Value& value, Scope& scope) {
  if (!target.parts.empty()) {
    const std::vector<Value>& values = walk(heap_, value);
    if (values.size() != target.parts.size())
      throw Problem(fmt::format("{} names are set to {} values", target.parts.size(), values.size()));
    for (size_t i = 0; i < values.size(); ++i) assign(target.parts[i], values[i], scope);
    return;
  }
  if (target.attribute.empty()) {
    heap_.claim(sizeof(Value) + sizeof(std::string_view));
    scope.set(target.name, value);
    return;
  }
  const Value* space = scope.find(target.name);
  if (!space || !space->is(Kind::kNamespace))
    throw Problem(fmt::format("{}.{} is set, and {} is no namespace", target.name, target.attribute, target.name));
  if (target.attribute.starts_with('_'))
    throw Problem(fmt::format("{}.{}: a namespace holds no name that begins with _", target.name, target.attribute));
  put(heap_, *space->pairs, Value::of(target.attribute), value);
}

Renderer::Flow Renderer::run(const Nodes& body, Scope& scope, Writer& out) {
  for (const Node* node : body)
    if (Flow flow = run(*node, scope, out); flow != Flow::kOn) return flow;
  return Flow::kOn;
}

Renderer::Flow Renderer::run(const Node& node, Scope& scope, Writer& out) {
  Deeper deeper(*this, node.line);
  switch (node.op) {
    case Op::kData:
      out.add(node.text);
      return Flow::kOn;
    case Op::kPrint:
      out.add_str(evaluate(node.kids[0], scope));
      return Flow::kOn;
    case Op::kIf:
      return run(evaluate(node.kids[0], scope).is_truthy() ? node.body : node.otherwise, scope, out);
    case Op::kFor:
      return run_loop(node, scope, out);
    case Op::kSet:
      assign(node.targets[0], evaluate(node.kids[0], scope), scope);
      return Flow::kOn;
    case Op::kSetBlock: {
      Value text = Value::of(captured(node.body, scope));
      if (node.kids[0]) text = filtered(*node.kids[0], text, scope);
      assign(node.targets[0], text, scope);
      return Flow::kOn;
    }
    case Op::kMacro: {
      heap_.claim(sizeof(Macro));
      Value value;
      value.kind = Kind::kMacro;
      value.text = node.text;
      value.macro = &macros_.emplace_back(Macro{&node, &scope});
      scope.set(node.text, value);
      return Flow::kOn;
    }
    case Op::kScope:
      return run(node.body, new_scope(scope), out);
    case Op::kFilterBlock:
      out.add_str(filtered(*node.kids[0], Value::of(captured(node.body, scope)), scope));
      return Flow::kOn;
    case Op::kWith: {
      Scope& inner = new_scope(scope);
      for (size_t i = 0; i < node.targets.size(); ++i) assign(node.targets[i], evaluate(node.kids[i], scope), inner);
      return run(node.body, inner, out);
    }
    case Op::kBreak:
      return Flow::kBreak;
    case Op::kContinue:
      return Flow::kContinue;
    default:
      throw Problem("an expression where a statement should be");
  }
}

Renderer::Flow Renderer::run_loop(const Node& node, Scope& scope, Writer& out) {
  const Target& target = node.targets[0];
  const std::vector<Value>* values = &walk(heap_, evaluate(node.kids[0], scope));
  if (node.kids[1]) {
    std::vector<Value> chosen;
    for (const Value& value : *values) {
      Scope& inner = new_scope(scope);
      assign(target, value, inner);
      if (evaluate(node.kids[1], inner).is_truthy()) chosen.push_back(value);
    }
    values = &heap_.items(std::move(chosen))->values;
  }
  if (values->empty()) return run(node.otherwise, new_scope(scope), out);
  Loop* loop = heap_.loop(*values);
  Value loop_value;
  loop_value.kind = Kind::kLoop;
  loop_value.loop = loop;
  for (; loop->index < values->size(); ++loop->index) {
    heap_.work();
    Scope& inner = new_scope(scope);
    inner.set("loop", loop_value);
    assign(target, (*values)[loop->index], inner);
    if (run(node.body, inner, out) == Flow::kBreak) break;
  }
  return Flow::kOn;
}

Value Renderer::evaluate(const Node* node, const Scope& scope) {
  return node ? evaluate(*node, scope) : Value::none();
}

Value Renderer::evaluate(const Node& node, const Scope& scope) {
  Deeper deeper(*this, node.line);
  auto kid = [&](size_t i) { return evaluate(node.kids[i], scope); };
  auto kids = [&] {
    std::vector<Value> values;
    for (const Node* one : node.kids) values.push_back(evaluate(one, scope));
    return heap_.items(std::move(values));
  };
  switch (node.op) {
    case Op::kLiteral:
      return node.literal;
    case Op::kName:
      return name_value(node, scope);
    case Op::kList:
      return Value::of(Kind::kList, kids());
    case Op::kTuple:
      return Value::of(Kind::kTuple, kids());
    case Op::kDict:
      return dict_value(node, scope);
    case Op::kAttribute:
      return attribute(kid(0), node.text);
    case Op::kItem: {
      Value base = kid(0);
      return item(base, kid(1));
    }
    case Op::kSlice: {
      Value base = kid(0), from = kid(1), to = kid(2);
      return slice(base, from, to, kid(3));
    }
    case Op::kCall: {
      Value callee = kid(0);
      return call(callee, arguments(node, callee.text, scope));
    }
    case Op::kFilter: {
      Value value = kid(0);
      return filter(node.text, value, arguments(node, node.text, scope));
    }
    case Op::kTest: {
      Value value = kid(0);
      return Value::boolean(test(node.text, value, arguments(node, node.text, scope)));
    }
    case Op::kNot:
      return Value::boolean(!kid(0).is_truthy());
    case Op::kNegative: {
      Value value = kid(0);
      if (value.is(Kind::kFloat)) return Value::number(-value.real);
      return arithmetic("-", Value::number(int64_t{0}), value);
    }
    case Op::kPositive:
      return arithmetic("+", Value::number(int64_t{0}), kid(0));
    case Op::kAnd: {
      Value left = kid(0);
      return left.is_truthy() ? kid(1) : left;
    }
    case Op::kOr: {
      Value left = kid(0);
      return left.is_truthy() ? left : kid(1);
    }
    case Op::kCompare:
      return compared(node, scope);
    case Op::kConcat: {
      Writer out(heap_);
      for (size_t i = 0; i < node.kids.size(); ++i) out.add_str(kid(i));
      return Value::of(out.kept());
    }
    case Op::kArithmetic: {
      Value left = kid(0);
      return arithmetic(node.text, left, kid(1));
    }
    case Op::kConditional:
      if (kid(0).is_truthy()) return kid(1);
      return node.kids[2] ? kid(2) : Value::undefined("an if without else");
    default:
      throw Problem("a statement where an expression should be");
  }
}

Value Renderer::name_value(const Node& node, const Scope& scope) {
  if (const Value* found = scope.find(node.text)) return *found;
  if (is_among(kGlobals, node.text)) return Value::function(node.text);
  if (is_among(kUnsupportedNames, node.text)) throw Problem(fmt::format("{} is not supported", node.text));
  return Value::undefined(node.text);
}

Value Renderer::dict_value(const Node& node, const Scope& scope) {
  Pairs* pairs = heap_.pairs();
  for (size_t i = 0; i + 1 < node.kids.size(); i += 2) {
    Value key = evaluate(node.kids[i], scope);
    put(heap_, *pairs, key, evaluate(node.kids[i + 1], scope));
  }
  return Value::of(Kind::kDict, pairs);
}

Value Renderer::compared(const Node& node, const Scope& scope) {
  Value left = evaluate(node.kids[0], scope);
  for (size_t i = 0; i < node.names.size(); ++i) {
    const std::string& op = node.names[i];
    Value right = evaluate(node.kids[i + 1], scope);
    bool holds = op == "=="       ? equals(heap_, left, right)
                 : op == "!="     ? !equals(heap_, left, right)
                 : op == "in"     ? contains(heap_, right, left)
                 : op == "not in" ? !contains(heap_, right, left)
                 : op == "<"      ? is_less(heap_, left, right)
                 : op == ">"      ? is_less(heap_, right, left)
                 : op == "<="     ? is_less(heap_, left, right) || equals(heap_, left, right)
                                  : is_less(heap_, right, left) || equals(heap_, left, right);
    if (!holds) return Value::boolean(false);
    left = right;
  }
  return Value::boolean(true);
}

CallArguments Renderer::arguments(const Node& node, std::string_view callee, const Scope& scope) {
  CallArguments out;
  out.callee = callee;
  const Arguments& written = node.arguments;
  for (const Node* one : written.positional) out.positional.push_back(evaluate(one, scope));
  if (written.list) {
    const Value list = evaluate(written.list, scope);
    const std::vector<Value>& more = walk(heap_, list);
    heap_.claim(more.size() * sizeof(Value));
    out.positional.insert(out.positional.end(), more.begin(), more.end());
  }
  for (const auto& [name, one] : written.named) out.named.emplace_back(name, evaluate(one, scope));
  if (written.dict) {
    Value more = evaluate(written.dict, scope);
    if (!more.is(Kind::kDict)) throw Problem(fmt::format("** of {}: expected a dict", more.kind_name()));
    for (const auto& [key, value] : more.pairs->entries) {
      heap_.claim(2 * sizeof(Value));
      heap_.work(1 + out.named.size() / 4);
      if (!key.is(Kind::kText)) throw Problem("** of a dict whose keys are not all texts");
      for (const auto& given : out.named)
        if (given.first == key.text) throw Problem(fmt::format("the argument {} is given twice", key.text));
      out.named.emplace_back(key.text, value);
    }
  }
  return out;
}

Value Renderer::filtered(const Node& node, const Value& value, const Scope& scope) {
  Value inner = node.kids[0] ? filtered(*node.kids[0], value, scope) : value;
  return filter(node.text, inner, arguments(node, node.text, scope));
}

Value Renderer::call(const Value& callee, CallArguments arguments) {
  switch (callee.kind) {
    case Kind::kFunction:
      return call_function(callee.text, arguments);
    case Kind::kMacro:
      return call_macro(*callee.macro, std::move(arguments));
    case Kind::kMethod:
      arguments.callee = callee.method->name;
      return call_method(*callee.method, arguments);
    case Kind::kUndefined:
      if (callee.text == "strftime_now")
        throw Problem(
            "it writes today's date (strftime_now), and a run must have the same tokens on every day: "
            "write the text out in data.template");
      throw Problem(fmt::format("'{}' is called and is undefined", callee.text));
    default:
      throw Problem(fmt::format("{} is called", callee.kind_name()));
  }
}

Value Renderer::call_macro(const Macro& macro, CallArguments arguments) {
  const Node& node = *macro.node;
  Deeper deeper(*this, node.line);
  Scope& scope = new_scope(*macro.scope);
  for (size_t i = 0; i < node.names.size(); ++i) {
    const Value* given = arguments.take(node.names[i]);
    scope.set(node.names[i], given          ? *given
                             : node.kids[i] ? evaluate(node.kids[i], scope)
                                            : Value::undefined(node.names[i]));
  }
  arguments.callee = node.text;
  arguments.done();
  Writer out(heap_);
  run(node.body, scope, out);
  return Value::of(out.kept());
}

}  // namespace gavel::jinja

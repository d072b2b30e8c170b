#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja_parser.h"
#include "chat/jinja_value.h"

namespace gavel::jinja {

/** Names and their values. Each pass through a loop, each call of a macro and each `with` has one of its own, so that
 * what is set there is gone behind it. */
struct Scope {
  const Scope* parent = nullptr;
  std::vector<std::pair<std::string_view, Value>> values;

  void set(std::string_view name, const Value& value);
  const Value* find(std::string_view name) const;
};

struct Macro {
  const Node* node = nullptr;
  const Scope* scope = nullptr;  // where it was written
};

/** The values of a call's arguments, taken one by one; done() throws Problem when there are others. */
class CallArguments {
 public:
  std::string_view callee;
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;

  /** The next argument, by its place or name; null when it is not given. */
  const Value* take(std::string_view name);
  const Value& need(std::string_view name);
  bool flag(std::string_view name, bool fallback);
  /** An int. */
  int64_t number(std::string_view name, int64_t fallback);
  /** A text; none for None and where it is not given. */
  const Value* text(std::string_view name);
  void done() const;

 private:
  size_t next_ = 0;
  size_t named_taken_ = 0;
};

class Renderer {
 public:
  Renderer(Heap& heap, const Program& program, int& line) : heap_(heap), program_(program), line_(line) {}
  /** The text with these variables. Throws Problem. */
  std::string render(const Scope& variables);

 private:
  enum class Flow : uint8_t { kOn, kBreak, kContinue };
  struct Deeper;

  // jinja_renderer.cpp
  Flow run(const Nodes& body, Scope& scope, Writer& out);
  Flow run(const Node& node, Scope& scope, Writer& out);
  Flow run_loop(const Node& node, Scope& scope, Writer& out);
  std::string_view captured(const Nodes& body, const Scope& scope);
  Scope& new_scope(const Scope& parent);
  void assign(const Target& target, const Value& value, Scope& scope);
  Value evaluate(const Node* node, const Scope& scope);
  Value evaluate(const Node& node, const Scope& scope);
  Value name_value(const Node& node, const Scope& scope);
  Value dict_value(const Node& node, const Scope& scope);
  Value compared(const Node& node, const Scope& scope);
  CallArguments arguments(const Node& node, std::string_view callee, const Scope& scope);
  Value call(const Value& callee, CallArguments arguments);
  Value call_macro(const Macro& macro, CallArguments arguments);
  /** The filters of a block, which have no value of their own. */
  Value filtered(const Node& node, const Value& value, const Scope& scope);

  // jinja_values.cpp
  Value attribute(const Value& base, std::string_view name);
  Value item(const Value& base, const Value& key);
  Value slice(const Value& base, const Value& from, const Value& to, const Value& step);
  Value arithmetic(std::string_view op, const Value& a, const Value& b);
  Value repeated(const Value& value, int64_t times);
  Value call_function(std::string_view name, CallArguments& arguments);

  // jinja_methods.cpp
  Value call_method(const Method& method, CallArguments& arguments);
  Value call_text_method(std::string_view text, std::string_view name, CallArguments& arguments);
  Value list_of(const std::vector<std::string_view>& texts);

  // jinja_filters.cpp
  Value filter(std::string_view name, const Value& value, CallArguments arguments);
  Value filter_text(std::string_view name, const Value& value, CallArguments& arguments);
  Value filter_items(std::string_view name, const Value& value, CallArguments& arguments);
  Value select(std::string_view name, const Value& value, CallArguments& arguments);
  Value map(const Value& value, CallArguments& arguments);
  Value sorted(const Value& value, CallArguments& arguments);
  Value by_path(const Value& value, const Value& path);
  bool test(std::string_view name, const Value& value, CallArguments arguments);

  Heap& heap_;
  const Program& program_;
  int& line_;
  int depth_ = 0;
  std::deque<Scope> scopes_;
  std::deque<Macro> macros_;
};

/** Whether Python's type of `value` has an attribute of that name, and whether Jinja's sandbox hides it since it changes
 * the value. */
bool has_method(const Value& value, std::string_view name);
bool is_hidden_method(const Value& value, std::string_view name);

}  // namespace gavel::jinja

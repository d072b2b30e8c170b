#pragma once
#include <cstdint>
#include <deque>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gavel::jinja {

/** What is wrong with a template, or what of it is not supported; whoever catches it adds where. */
class Problem : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/** raise_exception() of a template: its own words. */
class Refusal : public Problem {
 public:
  using Problem::Problem;
};

struct Value;
struct Items;
struct Pairs;
struct Macro;
struct Method;
struct Loop;

enum class Kind : uint8_t {
  kUndefined,  // text: the name that is not there, for messages
  kNone,
  kBool,
  kInt,
  kFloat,
  kText,
  kList,
  kTuple,
  kDict,
  kView,       // keys(), values() or items() of a dict
  kRange,      // range()
  kGenerator,  // what filters like map() give: can be walked through once
  kNamespace,
  kFunction,  // text: its name
  kMacro,
  kMethod,
  kLoop,
};

/** A value of Python. What it points to belongs to a Heap or to the template, so copies are cheap. */
struct Value {
  Kind kind = Kind::kUndefined;
  int64_t integer = 0;  // also of kBool
  double real = 0;
  std::string_view text;
  union {
    Items* items = nullptr;  // list, tuple, view, range, generator
    Pairs* pairs;            // dict, namespace
    const Macro* macro;
    const Method* method;
    const Loop* loop;
  };

  static Value undefined(std::string_view name);
  static Value none();
  static Value boolean(bool value);
  static Value number(int64_t value);
  static Value number(double value);
  static Value of(std::string_view text);
  static Value of(Kind kind, Items* items);
  static Value of(Kind kind, Pairs* pairs);
  static Value function(std::string_view name);

  bool is(Kind wanted) const { return kind == wanted; }
  bool is_number() const { return kind == Kind::kBool || kind == Kind::kInt || kind == Kind::kFloat; }
  bool is_integer() const { return kind == Kind::kBool || kind == Kind::kInt; }
  double as_real() const { return kind == Kind::kFloat ? real : static_cast<double>(integer); }
  bool is_truthy() const;
  /** "a list": for messages. */
  std::string_view kind_name() const;
};

struct Items {
  std::vector<Value> values;
  bool used = false;   // a generator that has been walked through
  bool begun = false;  // one of which only the first value has been taken
};
struct Pairs {
  std::vector<std::pair<Value, Value>> entries;
};
struct Method {
  Value self;
  std::string_view name;
};
struct Loop {
  const std::vector<Value>* values = nullptr;
  size_t index = 0;
};

/** The memory of one rendering, and what it may cost: a template is a stranger's text. Throws Problem beyond. */
class Heap {
 public:
  Heap(size_t memory, size_t steps) : memory_(memory), steps_(steps) {}
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  /** Must be called for work that is in proportion to `steps`. */
  void work(size_t steps = 1) {
    if (steps > steps_) fail_steps();
    steps_ -= steps;
  }
  /** Must be called before `bytes` are taken. */
  void claim(size_t bytes) {
    if (bytes > memory_) fail_memory();
    memory_ -= bytes;
  }

  std::string_view keep(std::string text);
  Items* items(std::vector<Value> values = {});
  Pairs* pairs();
  const Method* method(const Value& self, std::string_view name);
  Loop* loop(const std::vector<Value>& values);

 private:
  [[noreturn]] static void fail_steps();
  [[noreturn]] static void fail_memory();
  size_t memory_, steps_;
  std::deque<std::string> texts_;
  std::deque<Items> items_;
  std::deque<Pairs> pairs_;
  std::deque<Method> methods_;
  std::deque<Loop> loops_;
};

/** A text that grows within a heap's limits. */
class Writer {
 public:
  explicit Writer(Heap& heap) : heap_(heap) {}
  void add(std::string_view more) {
    heap_.claim(more.size());
    text_ += more;
  }
  /** As str() and repr() have it. */
  void add_str(const Value& value);
  void add_repr(const Value& value, int depth = 0);

  struct JsonForm {
    int64_t indent = -1;
    std::string_view between = ", ", colon = ": ";
    bool sort_keys = false;
  };
  /** As json.dumps(ensure_ascii=False) has it. */
  void add_json(const Value& value, const JsonForm& form, int depth = 0);

  std::string& text() { return text_; }
  std::string_view kept() { return heap_.keep(std::move(text_)); }

 private:
  void add_line(const JsonForm& form, int depth);
  Heap& heap_;
  std::string text_;
};

/** str(value). */
std::string_view text_of(Heap& heap, const Value& value);

bool equals(Heap& heap, const Value& a, const Value& b, int depth = 0);
/** a < b of two numbers or two texts. */
bool is_less(Heap& heap, const Value& a, const Value& b);
/** `item in where`. */
bool contains(Heap& heap, const Value& where, const Value& item);
/** The value of a key, or null. */
Value* find(Heap& heap, const Value& pairs, const Value& key);
void put(Heap& heap, Pairs& pairs, const Value& key, const Value& value);
/** What a loop over `value` meets. Throws Problem where there is no such loop. */
const std::vector<Value>& walk(Heap& heap, const Value& value);

}  // namespace gavel::jinja

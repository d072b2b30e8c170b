#pragma once
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chat/jinja_value.h"

namespace gavel::jinja {

enum class Op : uint8_t {
  // Expressions: values of `kids`, or null where something is left out.
  kLiteral,      // literal
  kName,         // text
  kList,         // kids
  kTuple,        // kids
  kDict,         // kids: key, value, key, …
  kAttribute,    // kids[0].text
  kItem,         // kids[0][kids[1]]
  kSlice,        // kids[0][kids[1]:kids[2]:kids[3]]
  kCall,         // kids[0](arguments)
  kFilter,       // kids[0] | text(arguments); kids[0] is null in a filter block
  kTest,         // kids[0] is text(arguments)
  kNot,          // kids[0]
  kNegative,     // kids[0]
  kPositive,     // kids[0]
  kAnd,          // kids[0], kids[1]
  kOr,           // kids[0], kids[1]
  kCompare,      // kids[0] names[0] kids[1] names[1] kids[2] …
  kConcat,       // kids
  kArithmetic,   // kids[0] text kids[1]
  kConditional,  // kids[1] if kids[0] else kids[2]
  // Statements
  kData,         // text
  kPrint,        // kids[0]
  kIf,           // kids[0], body, otherwise
  kFor,          // for target in kids[0] if kids[1], body, otherwise
  kSet,          // target = kids[0]
  kSetBlock,     // target = body, through the filter kids[0]
  kMacro,        // text(names, with kids as their defaults), body
  kScope,        // body, whose names stay in it
  kFilterBlock,  // body through the filter kids[0]
  kWith,         // targets = kids, body
  kBreak,
  kContinue,
};

struct Node;
using Nodes = std::vector<const Node*>;

/** What a value is given to: a name, a namespace's attribute, or several of them. */
struct Target {
  std::string name, attribute;
  std::vector<Target> parts;
};

struct Arguments {
  Nodes positional;
  std::vector<std::pair<std::string, const Node*>> named;
  const Node* list = nullptr;  // *list
  const Node* dict = nullptr;  // **dict
};

struct Node {
  Op op = Op::kData;
  int line = 1;
  std::string text;
  Value literal;
  Nodes kids;
  std::vector<std::string> names;
  Arguments arguments;
  std::vector<Target> targets;
  Nodes body, otherwise;
};

/** A template that has been read. */
struct Program {
  std::deque<Node> nodes;  // owns them
  Nodes body;
};

/** Throws Problem; `line` then is where. */
std::shared_ptr<const Program> parse(std::string_view source, int& line);

}  // namespace gavel::jinja

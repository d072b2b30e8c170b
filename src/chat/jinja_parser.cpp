#include "chat/jinja_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "chat/jinja_lexer.h"

namespace gavel::jinja {

namespace {

// Statements and expressions within each other; no template of a model comes near. Keeps the stack from ending here, in the
// evaluation, and in what the compiler makes of either.
constexpr int kMaxParseDepth = 200;
// The same for what is not nested but long: a + b + c + … is a tree as deep as it is long.
constexpr int kMaxChain = 200;

using TokenKind = Token::Kind;

class Parser {
 public:
  Parser(std::string_view source, int& line) : line_(line), tokens_(tokenize(source, line)) {}

  std::shared_ptr<const Program> run() {
    program_->body = statements({});
    if (!current().is(TokenKind::kEnd, "")) problem_here("an end of the template");
    return program_;
  }

 private:
  struct Deeper {
    explicit Deeper(Parser& of) : parser(of) {
      if (++of.depth_ > kMaxParseDepth) throw Problem("it is nested too deeply");
    }
    ~Deeper() { --parser.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Parser& parser;
  };
  // Counts the links of one chain.
  struct Chain {
    void operator()() {
      if (++links > kMaxChain) throw Problem("an expression is too long");
    }
    int links = 0;
  };

  const Token& current() {
    line_ = tokens_[at_].line;
    return tokens_[at_];
  }
  const Token& following() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool at_operator(std::string_view text) { return current().is(TokenKind::kOperator, text); }
  bool at_name(std::string_view text) { return current().is(TokenKind::kName, text); }
  void step() { at_ = std::min(at_ + 1, tokens_.size() - 1); }
  bool skip_operator(std::string_view text) {
    if (!at_operator(text)) return false;
    step();
    return true;
  }
  bool skip_name(std::string_view text) {
    if (!at_name(text)) return false;
    step();
    return true;
  }

  [[noreturn]] void problem_here(std::string_view expected) {
    throw Problem(fmt::format("expected {}, found {}", expected, current().described()));
  }

  void expect_operator(std::string_view text) {
    if (!skip_operator(text)) problem_here(fmt::format("'{}'", text));
  }
  std::string expect_name() {
    if (current().kind != TokenKind::kName) problem_here("a name");
    std::string name = current().text;
    step();
    return name;
  }
  void expect(TokenKind kind, std::string_view what) {
    if (current().kind != kind) problem_here(what);
    step();
  }

  Node* make(Op op, Nodes kids = {}) {
    Node& node = program_->nodes.emplace_back();
    node.op = op;
    node.line = tokens_[at_].line;
    node.kids = std::move(kids);
    return &node;
  }
  const Node* literal(const Value& value) {
    Node* node = make(Op::kLiteral);
    node->literal = value;
    return node;
  }

  // ---- Statements

  // Up to the statement that begins with one of `ends`, which is the current token then.
  Nodes statements(const std::vector<std::string_view>& ends) {
    Deeper deeper(*this);
    Nodes body;
    while (true) {
      const Token& token = current();
      if (token.kind == TokenKind::kEnd) {
        if (!ends.empty()) problem_here(fmt::format("{{% {} %}}", ends.back()));
        return body;
      }
      if (token.kind == TokenKind::kData) {
        Node* node = make(Op::kData);
        node->text = token.text;
        body.push_back(node);
        step();
      } else if (token.kind == TokenKind::kExpression) {
        step();
        Node* node = make(Op::kPrint);
        node->kids = {tuple(true)};
        body.push_back(node);
        expect(TokenKind::kExpressionEnd, "'}}'");
      } else {
        step();
        std::string name = current().kind == TokenKind::kName ? current().text : "";
        if (std::find(ends.begin(), ends.end(), name) != ends.end()) return body;
        body.push_back(statement(expect_name()));
      }
    }
  }

  Nodes block(const std::vector<std::string_view>& ends) {
    skip_operator(":");
    expect(TokenKind::kStatementEnd, "'%}'");
    return statements(ends);
  }
  // The same with one end, which is left behind.
  Nodes block_to(std::string_view end) {
    Nodes body = block({end});
    step();
    return body;
  }

  const Node* statement(const std::string& name) {
    const Node* node = statement_inside(name);
    expect(TokenKind::kStatementEnd, "'%}'");
    return node;
  }

  const Node* statement_inside(const std::string& name) {
    if (name == "if") return if_statement();
    if (name == "for") return for_statement();
    if (name == "set") return set_statement();
    if (name == "macro") return macro_statement();
    if (name == "with") return with_statement();
    if (name == "generation") {
      Node* node = make(Op::kScope);
      node->body = block_outside_of_loops("endgeneration");
      return node;
    }
    if (name == "filter") {
      Node* node = make(Op::kFilterBlock);
      node->kids = {filters(nullptr, true)};
      node->body = block_outside_of_loops("endfilter");
      return node;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) throw Problem(fmt::format("{{% {} %}} outside of a loop", name));
      return make(name == "break" ? Op::kBreak : Op::kContinue);
    }
    for (std::string_view other :
         {"call", "raw", "block", "extends", "include", "import", "from", "print", "autoescape"})
      if (name == other) throw Problem(fmt::format("{{% {} %}} is not supported", name));
    throw Problem(fmt::format("{{% {} %}} is no statement", name));
  }

  // {% break %} in there can't mean a loop around it.
  Nodes block_outside_of_loops(std::string_view end) {
    int loops = std::exchange(loops_, 0);
    Nodes body = block_to(end);
    loops_ = loops;
    return body;
  }

  const Node* if_statement() {
    Node* first = make(Op::kIf);
    Node* node = first;
    Chain chain;
    while (true) {
      node->kids = {tuple(false)};
      node->body = block({"elif", "else", "endif"});
      std::string end = expect_name();
      if (end == "endif") return first;
      if (end == "else") {
        node->otherwise = block_to("endif");
        return first;
      }
      chain();
      Node* next = make(Op::kIf);
      node->otherwise = {next};
      node = next;
    }
  }

  const Node* for_statement() {
    Node* node = make(Op::kFor);
    node->targets = {target(false)};
    if (!skip_name("in")) problem_here("'in'");
    node->kids = {tuple(false), nullptr};
    if (skip_name("if")) node->kids[1] = expression();
    if (at_name("recursive")) throw Problem("a recursive loop is not supported");
    ++loops_;
    node->body = block({"endfor", "else"});
    --loops_;
    if (expect_name() == "else") node->otherwise = block_to("endfor");
    return node;
  }

  const Node* set_statement() {
    Node* node = make(Op::kSet);
    node->targets = {target(true)};
    if (skip_operator("=")) {
      node->kids = {tuple(true)};
      return node;
    }
    node->op = Op::kSetBlock;
    node->kids = {filters(nullptr, false)};
    node->body = block_outside_of_loops("endset");
    return node;
  }

  const Node* macro_statement() {
    Node* node = make(Op::kMacro);
    node->text = expect_name();
    expect_operator("(");
    while (!at_operator(")")) {
      if (!node->names.empty()) expect_operator(",");
      node->names.push_back(expect_name());
      if (skip_operator("="))
        node->kids.push_back(expression());
      else if (!node->kids.empty() && node->kids.back())
        throw Problem(fmt::format("macro {}: an argument without a default follows one with", node->text));
      else
        node->kids.push_back(nullptr);
    }
    step();
    node->body = block_outside_of_loops("endmacro");
    return node;
  }

  const Node* with_statement() {
    Node* node = make(Op::kWith);
    while (current().kind != TokenKind::kStatementEnd) {
      if (!node->targets.empty()) expect_operator(",");
      node->targets.push_back(target(false));
      expect_operator("=");
      node->kids.push_back(expression());
    }
    node->body = block_to("endwith");
    return node;
  }

  Target one_target(bool attributes) {
    Deeper deeper(*this);
    Target out;
    if (skip_operator("(")) {
      out = target(attributes);
      expect_operator(")");
      return out;
    }
    out.name = expect_name();
    for (std::string_view constant : {"true", "false", "True", "False", "none", "None"})
      if (out.name == constant) throw Problem(fmt::format("{} can't be set", out.name));
    if (attributes && skip_operator(".")) out.attribute = expect_name();
    return out;
  }

  Target target(bool attributes) {
    Target first = one_target(attributes);
    if (!at_operator(",")) return first;
    Target out;
    out.parts.push_back(std::move(first));
    while (skip_operator(",")) {
      if (current().kind == TokenKind::kStatementEnd || at_name("in") || at_operator("=") || at_operator(")")) break;
      out.parts.push_back(one_target(attributes));
    }
    return out;
  }

  // ---- Expressions, each function one level of precedence

  const Node* tuple(bool conditional) {
    auto one = [&] { return conditional ? expression() : either(); };
    const Node* first = one();
    if (!at_operator(",")) return first;
    Node* node = make(Op::kTuple, {first});
    while (skip_operator(",")) {
      TokenKind kind = current().kind;
      if (kind == TokenKind::kStatementEnd || kind == TokenKind::kExpressionEnd || at_operator(")")) break;
      node->kids.push_back(one());
    }
    return node;
  }

  const Node* expression() {
    Deeper deeper(*this);
    const Node* left = either();
    Chain chain;
    while (skip_name("if")) {
      chain();
      const Node* condition = either();
      const Node* otherwise = skip_name("else") ? expression() : nullptr;
      left = make(Op::kConditional, {condition, left, otherwise});
    }
    return left;
  }

  template <class Next>
  const Node* joined(Op op, std::string_view word, Next next) {
    const Node* left = next();
    Chain chain;
    while (skip_name(word)) {
      chain();
      left = make(op, {left, next()});
    }
    return left;
  }

  const Node* either() {
    Deeper deeper(*this);
    return joined(Op::kOr, "or", [&] { return joined(Op::kAnd, "and", [&] { return negation(); }); });
  }

  const Node* negation() {
    if (!at_name("not")) return comparison();
    Deeper deeper(*this);
    step();
    return make(Op::kNot, {negation()});
  }

  const Node* comparison() {
    const Node* first = sum();
    Node* node = nullptr;
    while (true) {
      std::string op;
      for (std::string_view known : {"==", "!=", "<", "<=", ">", ">="})
        if (at_operator(known)) op = known;
      if (at_name("in")) op = "in";
      if (at_name("not") && following().is(TokenKind::kName, "in")) {
        step();
        op = "not in";
      }
      if (op.empty()) return node ? node : first;
      step();
      if (!node) node = make(Op::kCompare, {first});
      node->names.push_back(op);
      node->kids.push_back(sum());
    }
  }

  template <size_t N, class Next>
  const Node* arithmetic(const std::array<std::string_view, N>& ops, Next next) {
    const Node* left = next();
    Chain chain;
    while (true) {
      auto op = std::find_if(ops.begin(), ops.end(), [&](std::string_view text) { return at_operator(text); });
      if (op == ops.end()) return left;
      chain();
      step();
      Node* node = make(Op::kArithmetic);
      node->text = *op;
      node->kids = {left, next()};
      left = node;
    }
  }

  const Node* sum() {
    return arithmetic(std::array<std::string_view, 2>{"+", "-"}, [&] { return concatenation(); });
  }

  const Node* concatenation() {
    const Node* first = product();
    if (!at_operator("~")) return first;
    Node* node = make(Op::kConcat, {first});
    while (skip_operator("~")) node->kids.push_back(product());
    return node;
  }

  const Node* product() {
    return arithmetic(std::array<std::string_view, 4>{"*", "/", "//", "%"}, [&] { return power(); });
  }

  const Node* power() {
    return arithmetic(std::array<std::string_view, 1>{"**"}, [&] { return unary(true); });
  }

  const Node* unary(bool with_filters) {
    Deeper deeper(*this);
    const Node* node = nullptr;
    if (skip_operator("-"))
      node = make(Op::kNegative, {unary(false)});
    else if (skip_operator("+"))
      node = make(Op::kPositive, {unary(false)});
    else
      node = primary();
    node = postfix(node);
    if (!with_filters) return node;
    Chain chain;
    while (true) {
      chain();
      if (at_operator("|"))
        node = filters(node, false);
      else if (at_name("is"))
        node = test(node);
      else if (at_operator("("))
        node = call(node);
      else
        return node;
    }
  }

  const Node* number(const std::string& text, bool real) {
    const char *begin = text.data(), *end = begin + text.size();
    int64_t whole = 0;
    double value = 0;
    if ((real ? std::from_chars(begin, end, value).ec : std::from_chars(begin, end, whole).ec) != std::errc())
      throw Problem(fmt::format("the number {} is too large or too small", text));
    return literal(real ? Value::number(value) : Value::number(whole));
  }

  // Values with commas between them, up to a bracket.
  template <class One>
  void up_to(std::string_view end, One one) {
    while (!at_operator(end)) {
      one();
      if (!at_operator(end)) expect_operator(",");
    }
    step();
  }

  const Node* primary() {
    const Token token = current();
    switch (token.kind) {
      case TokenKind::kName:
        step();
        if (token.text == "true" || token.text == "True") return literal(Value::boolean(true));
        if (token.text == "false" || token.text == "False") return literal(Value::boolean(false));
        if (token.text == "none" || token.text == "None") return literal(Value::none());
        {
          Node* node = make(Op::kName);
          node->text = token.text;
          return node;
        }
      case TokenKind::kText: {
        Node* node = make(Op::kLiteral);
        for (; current().kind == TokenKind::kText; step()) node->text += current().text;
        node->literal = Value::of(node->text);
        return node;
      }
      case TokenKind::kInt:
      case TokenKind::kFloat:
        step();
        return number(token.text, token.kind == TokenKind::kFloat);
      default:
        break;
    }
    if (skip_operator("(")) {
      const Node* inside = at_operator(")") ? make(Op::kTuple) : tuple(true);
      expect_operator(")");
      return inside;
    }
    if (skip_operator("[")) {
      Node* node = make(Op::kList);
      up_to("]", [&] { node->kids.push_back(expression()); });
      return node;
    }
    if (skip_operator("{")) {
      Node* node = make(Op::kDict);
      up_to("}", [&] {
        node->kids.push_back(expression());
        expect_operator(":");
        node->kids.push_back(expression());
      });
      return node;
    }
    problem_here("an expression");
  }

  const Node* postfix(const Node* node) {
    Chain chain;
    while (true) {
      chain();
      if (skip_operator(".")) {
        if (current().kind == TokenKind::kInt) {
          const Node* index = number(current().text, false);
          step();
          node = make(Op::kItem, {node, index});
        } else {
          Node* attribute = make(Op::kAttribute, {node});
          attribute->text = expect_name();
          node = attribute;
        }
      } else if (skip_operator("[")) {
        node = subscript(node);
      } else if (at_operator("(")) {
        node = call(node);
      } else {
        return node;
      }
    }
  }

  const Node* subscript(const Node* base) {
    std::array<const Node*, 3> parts{};
    size_t colons = 0;
    while (!at_operator("]")) {
      if (skip_operator(":")) {
        if (++colons > 2) problem_here("']'");
      } else if (parts[colons]) {
        problem_here("']'");
      } else {
        parts[colons] = expression();
      }
    }
    step();
    if (colons > 0) return make(Op::kSlice, {base, parts[0], parts[1], parts[2]});
    if (!parts[0]) throw Problem("[] without an index");
    return make(Op::kItem, {base, parts[0]});
  }

  Arguments arguments() {
    Arguments out;
    expect_operator("(");
    up_to(")", [&] {
      if (skip_operator("*")) {
        if (out.list || out.dict) throw Problem("a call with two lists of arguments");
        out.list = expression();
      } else if (skip_operator("**")) {
        if (out.dict) throw Problem("a call with two dicts of arguments");
        out.dict = expression();
      } else if (current().kind == TokenKind::kName && following().is(TokenKind::kOperator, "=")) {
        if (out.dict) throw Problem("a named argument behind **");
        std::string name = expect_name();
        step();
        for (const auto& given : out.named)
          if (given.first == name) throw Problem(fmt::format("the argument {} is given twice", name));
        out.named.emplace_back(std::move(name), expression());
      } else {
        if (out.list || out.dict || !out.named.empty()) throw Problem("an argument without a name behind one with");
        out.positional.push_back(expression());
      }
    });
    return out;
  }

  const Node* call(const Node* callee) {
    Node* node = make(Op::kCall, {callee});
    node->arguments = arguments();
    return node;
  }

  std::string dotted_name() {
    std::string name = expect_name();
    while (skip_operator(".")) name += "." + expect_name();
    return name;
  }

  // `base` through all filters that follow; `begun`: the first one's "|" is not written.
  const Node* filters(const Node* base, bool begun) {
    const Node* node = base;
    Chain chain;
    while (begun || at_operator("|")) {
      chain();
      if (!begun) step();
      begun = false;
      Node* filter = make(Op::kFilter, {node});
      filter->text = dotted_name();
      if (at_operator("(")) filter->arguments = arguments();
      node = filter;
    }
    return node;
  }

  const Node* test(const Node* base) {
    step();
    bool negated = skip_name("not");
    Node* node = make(Op::kTest, {base});
    node->text = dotted_name();
    TokenKind kind = current().kind;
    if (at_operator("(")) {
      node->arguments = arguments();
    } else if (kind == TokenKind::kText || kind == TokenKind::kInt || kind == TokenKind::kFloat || at_operator("[") ||
               at_operator("{") ||
               (kind == TokenKind::kName && !at_name("else") && !at_name("or") && !at_name("and"))) {
      if (at_name("is")) throw Problem("two tests behind each other");
      node->arguments.positional = {postfix(primary())};
    }
    if (!negated) return node;
    return make(Op::kNot, {node});
  }

  int& line_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
  std::shared_ptr<Program> program_ = std::make_shared<Program>();
};

}  // namespace

std::shared_ptr<const Program> parse(std::string_view source, int& line) {
  return Parser(source, line).run();
}

}  // namespace gavel::jinja

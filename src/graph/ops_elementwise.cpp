#include <array>

#include "graph/ops.h"
#include "graph/printer.h"

namespace gavel {

namespace {

enum class Unary { kNeg, kExp, kLog, kLog1p, kSqrt, kRsqrt, kLogistic, kTanh, kSin, kCos, kAbs };
constexpr std::array<std::string_view, 11> kUnaryNames = {
    "negate", "exponential", "log", "log_plus_one", "sqrt", "rsqrt", "logistic", "tanh", "sine", "cosine", "abs"};

class UnaryOp : public Op {
 public:
  explicit UnaryOp(Unary kind) : kind_(kind) {}
  std::string_view name() const override { return kUnaryNames[static_cast<size_t>(kind_)]; }

  std::vector<Value> gradient(const GradientContext& context) const override {
    const Value& x = context.inputs[0];
    const Value& y = context.outputs[0];
    const Value& dy = context.output_gradients[0];
    switch (kind_) {
      case Unary::kNeg:
        return {neg(dy)};
      case Unary::kExp:
        return {mul(dy, y)};
      case Unary::kLog:
        return {div(dy, x)};
      case Unary::kLog1p:
        return {div(dy, add(x, 1))};
      case Unary::kSqrt:
        return {div(mul(dy, 0.5), y)};
      case Unary::kRsqrt:
        return {mul(mul(dy, -0.5), div(y, x))};
      case Unary::kLogistic:
        return {mul(dy, mul(y, sub(full_like(y, 1), y)))};
      case Unary::kTanh:
        return {mul(dy, sub(full_like(y, 1), mul(y, y)))};
      case Unary::kSin:
        return {mul(dy, cos(x))};
      case Unary::kCos:
        return {neg(mul(dy, sin(x)))};
      case Unary::kAbs:
        return {select(compare(Compare::kLt, x, full_like(x, 0)), neg(dy), dy)};
    }
    return {};
  }

  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    return {printer.simple(name(), context.inputs, context.node.outputs[0])};
  }

 private:
  Unary kind_;
};

Value unary(Unary kind, const Value& a) {
  auto op = std::make_shared<UnaryOp>(kind);
  if (kind != Unary::kNeg && kind != Unary::kAbs && !is_float(a.dtype()))
    fail("{}: expected a float, found {}", op->name(), to_string(a.type()));
  return a.graph().add(op, {a}, {a.type()})[0];
}

enum class Binary { kAdd, kSub, kMul, kDiv, kMax, kMin, kAnd, kXor, kShiftRight };
constexpr std::array<std::string_view, 9> kBinaryNames = {
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "and", "xor", "shift_right_logical"};

class BinaryOp : public Op {
 public:
  explicit BinaryOp(Binary kind) : kind_(kind) {}
  std::string_view name() const override { return kBinaryNames[static_cast<size_t>(kind_)]; }

  std::vector<Value> gradient(const GradientContext& context) const override {
    const Value& a = context.inputs[0];
    const Value& b = context.inputs[1];
    const Value& dy = context.output_gradients[0];
    auto where = [&](Compare direction) { return select(compare(direction, a, b), dy, full_like(dy, 0)); };
    auto lazily = [&](size_t i, auto make) { return context.needed[i] ? make() : Value(); };
    switch (kind_) {
      case Binary::kAdd:
        return {dy, dy};
      case Binary::kSub:
        return {dy, lazily(1, [&] { return neg(dy); })};
      case Binary::kMul:
        return {lazily(0, [&] { return mul(dy, b); }), lazily(1, [&] { return mul(dy, a); })};
      case Binary::kDiv:
        return {lazily(0, [&] { return div(dy, b); }),
                lazily(1, [&] { return neg(mul(dy, div(context.outputs[0], b))); })};
      case Binary::kMax:
        return {lazily(0, [&] { return where(Compare::kGe); }), lazily(1, [&] { return where(Compare::kLt); })};
      case Binary::kMin:
        return {lazily(0, [&] { return where(Compare::kLe); }), lazily(1, [&] { return where(Compare::kGt); })};
      default:
        return {Value(), Value()};
    }
  }

  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    return {printer.simple(name(), context.inputs, context.node.outputs[0])};
  }

 private:
  Binary kind_;
};

Value binary(Binary kind, const Value& a, const Value& b) {
  auto op = std::make_shared<BinaryOp>(kind);
  if (a.type() != b.type())
    fail("{}: operands differ: {} and {}", op->name(), to_string(a.type()), to_string(b.type()));
  if (kind >= Binary::kAnd && is_float(a.dtype()))
    fail("{}: expected booleans or integers, found {}", op->name(), to_string(a.type()));
  return a.graph().add(op, {a, b}, {a.type()})[0];
}

class CompareOp : public Op {
 public:
  explicit CompareOp(Compare direction) : direction_(direction) {}
  std::string_view name() const override { return "compare"; }
  std::vector<Value> gradient(const GradientContext&) const override { return {Value(), Value()}; }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    constexpr std::array<std::string_view, 6> kNames = {"EQ", "NE", "LT", "LE", "GT", "GE"};
    const TensorType& type = context.node.inputs[0].type();
    std::string_view kind = "FLOAT";
    if (type.dtype == DType::kI8 || type.dtype == DType::kI16 || type.dtype == DType::kI32 || type.dtype == DType::kI64)
      kind = "SIGNED";
    else if (!is_float(type.dtype))
      kind = "UNSIGNED";
    std::string out = printer.fresh();
    printer.line("{} = stablehlo.compare {}, {}, {}, {} : ({}, {}) -> {}", out, kNames[static_cast<size_t>(direction_)],
                 context.inputs[0], context.inputs[1], kind, to_string(type), to_string(type),
                 to_string(context.node.outputs[0]));
    return {out};
  }

 private:
  Compare direction_;
};

class SelectOp : public Op {
 public:
  std::string_view name() const override { return "select"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    const Value& predicate = context.inputs[0];
    const Value& dy = context.output_gradients[0];
    Value zero = full_like(dy, 0);
    return {Value(), context.needed[1] ? select(predicate, dy, zero) : Value(),
            context.needed[2] ? select(predicate, zero, dy) : Value()};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    std::string out = printer.fresh();
    printer.line("{} = stablehlo.select {}, {}, {} : {}, {}", out, context.inputs[0], context.inputs[1],
                 context.inputs[2], to_string(context.node.inputs[0].type()), to_string(context.node.outputs[0]));
    return {out};
  }
};

class ConvertOp : public Op {
 public:
  std::string_view name() const override { return "convert"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    if (!is_float(context.inputs[0].dtype()) || !is_float(context.outputs[0].dtype())) return {Value()};
    return {convert(context.output_gradients[0], context.inputs[0].dtype())};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    std::string out = printer.fresh();
    printer.line("{} = stablehlo.convert {} : ({}) -> {}", out, context.inputs[0],
                 to_string(context.node.inputs[0].type()), to_string(context.node.outputs[0]));
    return {out};
  }
};

class StopGradientOp : public Op {
 public:
  std::string_view name() const override { return "stop_gradient"; }
  std::vector<Value> gradient(const GradientContext&) const override { return {Value()}; }
  std::vector<std::string> print(Printer&, const PrintContext& context) const override { return {context.inputs[0]}; }
};

}  // namespace

Value add(const Value& a, const Value& b) {
  return binary(Binary::kAdd, a, b);
}
Value sub(const Value& a, const Value& b) {
  return binary(Binary::kSub, a, b);
}
Value mul(const Value& a, const Value& b) {
  return binary(Binary::kMul, a, b);
}
Value div(const Value& a, const Value& b) {
  return binary(Binary::kDiv, a, b);
}
Value maximum(const Value& a, const Value& b) {
  return binary(Binary::kMax, a, b);
}
Value minimum(const Value& a, const Value& b) {
  return binary(Binary::kMin, a, b);
}
Value add(const Value& a, double b) {
  return add(a, full_like(a, b));
}
Value mul(const Value& a, double b) {
  return mul(a, full_like(a, b));
}
Value neg(const Value& a) {
  return unary(Unary::kNeg, a);
}
Value exp(const Value& a) {
  return unary(Unary::kExp, a);
}
Value log(const Value& a) {
  return unary(Unary::kLog, a);
}
Value log1p(const Value& a) {
  return unary(Unary::kLog1p, a);
}
Value sqrt(const Value& a) {
  return unary(Unary::kSqrt, a);
}
Value rsqrt(const Value& a) {
  return unary(Unary::kRsqrt, a);
}
Value logistic(const Value& a) {
  return unary(Unary::kLogistic, a);
}
Value tanh(const Value& a) {
  return unary(Unary::kTanh, a);
}
Value sin(const Value& a) {
  return unary(Unary::kSin, a);
}
Value cos(const Value& a) {
  return unary(Unary::kCos, a);
}
Value abs(const Value& a) {
  return unary(Unary::kAbs, a);
}
Value bit_and(const Value& a, const Value& b) {
  return binary(Binary::kAnd, a, b);
}
Value bit_xor(const Value& a, const Value& b) {
  return binary(Binary::kXor, a, b);
}
Value shift_right_logical(const Value& a, const Value& b) {
  return binary(Binary::kShiftRight, a, b);
}

Value compare(Compare direction, const Value& a, const Value& b) {
  if (a.type() != b.type()) fail("compare: operands differ: {} and {}", to_string(a.type()), to_string(b.type()));
  return a.graph().add(std::make_shared<CompareOp>(direction), {a, b}, {{DType::kBool, a.shape()}})[0];
}

Value select(const Value& predicate, const Value& a, const Value& b) {
  if (a.type() != b.type()) fail("select: branches differ: {} and {}", to_string(a.type()), to_string(b.type()));
  if (predicate.dtype() != DType::kBool || predicate.shape() != a.shape())
    fail("select: the predicate is {}, the branches are {}", to_string(predicate.type()), to_string(a.type()));
  return a.graph().add(std::make_shared<SelectOp>(), {predicate, a, b}, {a.type()})[0];
}

Value convert(const Value& a, DType dtype) {
  if (a.dtype() == dtype) return a;
  return a.graph().add(std::make_shared<ConvertOp>(), {a}, {{dtype, a.shape()}})[0];
}

Value stop_gradient(const Value& a) {
  return a.graph().add(std::make_shared<StopGradientOp>(), {a}, {a.type()})[0];
}

}  // namespace gavel

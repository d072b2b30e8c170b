#include <fmt/ranges.h>

#include "graph/ops.h"
#include "graph/printer.h"

namespace gavel {

namespace {

class FullOp : public Op {
 public:
  explicit FullOp(double value) : value_(value) {}
  std::string_view name() const override { return "constant"; }
  std::vector<Value> gradient(const GradientContext&) const override { return {}; }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    const TensorType& type = context.node.outputs[0];
    std::string name = printer.fresh();
    printer.line("{} = stablehlo.constant dense<{}> : {}", name, literal(type.dtype, value_), to_string(type));
    return {name};
  }

 private:
  double value_;
};

class ConstantOp : public Op {
 public:
  explicit ConstantOp(std::vector<double> values) : values_(std::move(values)) {}
  std::string_view name() const override { return "constant"; }
  std::vector<Value> gradient(const GradientContext&) const override { return {}; }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    const TensorType& type = context.node.outputs[0];
    std::vector<std::string> parts;
    for (double value : values_) parts.push_back(literal(type.dtype, value));
    std::string name = printer.fresh();
    printer.line("{} = stablehlo.constant dense<[{}]> : {}", name, fmt::join(parts, ", "), to_string(type));
    return {name};
  }

 private:
  std::vector<double> values_;
};

class IotaOp : public Op {
 public:
  explicit IotaOp(int64_t dimension) : dimension_(dimension) {}
  std::string_view name() const override { return "iota"; }
  std::vector<Value> gradient(const GradientContext&) const override { return {}; }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    std::string name = printer.fresh();
    printer.line("{} = stablehlo.iota dim = {} : {}", name, dimension_, to_string(context.node.outputs[0]));
    return {name};
  }

 private:
  int64_t dimension_;
};

}  // namespace

Value full(Graph& graph, DType dtype, const Shape& shape, double value) {
  return graph.add(std::make_shared<FullOp>(value), {}, {{dtype, shape}})[0];
}

Value full_like(const Value& like, double value) {
  return full(like.graph(), like.dtype(), like.shape(), value);
}

Value constant(Graph& graph, DType dtype, const std::vector<double>& values) {
  if (values.empty()) fail("constant: no values");
  return graph.add(std::make_shared<ConstantOp>(values), {}, {{dtype, {static_cast<int64_t>(values.size())}}})[0];
}

Value iota(Graph& graph, DType dtype, const Shape& shape, int64_t dimension) {
  if (dimension < 0 || dimension >= static_cast<int64_t>(shape.size()))
    fail("iota: dimension {} of shape {}", dimension, to_string(shape));
  return graph.add(std::make_shared<IotaOp>(dimension), {}, {{dtype, shape}})[0];
}

}  // namespace gavel

#include <algorithm>
#include <limits>

#include "graph/ops.h"
#include "graph/printer.h"

namespace gavel {

namespace {

bool contains(const std::vector<int64_t>& values, int64_t x) {
  return std::find(values.begin(), values.end(), x) != values.end();
}

class ReduceOp : public Op {
 public:
  ReduceOp(bool maximum, std::vector<int64_t> dimensions) : maximum_(maximum), dimensions_(std::move(dimensions)) {}
  std::string_view name() const override { return maximum_ ? "reduce_max" : "reduce_sum"; }

  std::vector<Value> gradient(const GradientContext& context) const override {
    const Value& x = context.inputs[0];
    std::vector<int64_t> kept;
    for (int64_t d = 0; d < x.rank(); ++d)
      if (!contains(dimensions_, d)) kept.push_back(d);
    Value dy = broadcast(context.output_gradients[0], x.shape(), kept);
    if (!maximum_) return {dy};
    Value y = broadcast(context.outputs[0], x.shape(), kept);
    return {select(compare(Compare::kEq, x, y), dy, full_like(dy, 0))};
  }

  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    const TensorType& type = context.node.inputs[0].type();
    std::string scalar = to_string(TensorType{type.dtype, {}});
    std::string start = printer.fresh();
    double initial = maximum_ ? -std::numeric_limits<double>::infinity() : 0.0;
    printer.line("{} = stablehlo.constant dense<{}> : {}", start, literal(type.dtype, initial), scalar);
    std::string out = printer.fresh();
    printer.line("{} = stablehlo.reduce({} init: {}) applies stablehlo.{} across dimensions = {} : ({}, {}) -> {}", out,
                 context.inputs[0], start, maximum_ ? "maximum" : "add", int_list(dimensions_), to_string(type), scalar,
                 to_string(context.node.outputs[0]));
    return {out};
  }

 private:
  bool maximum_;
  std::vector<int64_t> dimensions_;
};

Value reduce(bool maximum, const Value& a, const std::vector<int64_t>& dimensions) {
  auto op = std::make_shared<ReduceOp>(maximum, dimensions);
  for (size_t i = 0; i < dimensions.size(); ++i)
    if (dimensions[i] < 0 || dimensions[i] >= a.rank() || (i > 0 && dimensions[i] <= dimensions[i - 1]))
      fail("{}: dimensions {} of shape {}", op->name(), int_list(dimensions), to_string(a.shape()));
  if (maximum && !is_float(a.dtype())) fail("reduce_max: expected a float, found {}", to_string(a.type()));
  Shape shape;
  for (int64_t d = 0; d < a.rank(); ++d)
    if (!contains(dimensions, d)) shape.push_back(a.dim(d));
  return a.graph().add(op, {a}, {{a.dtype(), shape}})[0];
}

/** Dimensions of a rank-`rank` operand that are neither batch nor contracted. */
std::vector<int64_t> free_dimensions(int64_t rank, const std::vector<int64_t>& batch,
                                     const std::vector<int64_t>& contract) {
  std::vector<int64_t> free;
  for (int64_t d = 0; d < rank; ++d)
    if (!contains(batch, d) && !contains(contract, d)) free.push_back(d);
  return free;
}

class DotOp : public Op {
 public:
  explicit DotOp(DotDimensions dimensions) : dimensions_(std::move(dimensions)) {}
  std::string_view name() const override { return "dot_general"; }

  std::vector<Value> gradient(const GradientContext& context) const override {
    const Value& lhs = context.inputs[0];
    const Value& rhs = context.inputs[1];
    Value dy = context.output_gradients[0];
    return {context.needed[0] ? operand_gradient(dy, lhs, rhs, true) : Value(),
            context.needed[1] ? operand_gradient(dy, lhs, rhs, false) : Value()};
  }

  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    const auto& d = dimensions_;
    std::string batch = d.lhs_batch.empty()
                            ? ""
                            : fmt::format("batching_dims = {} x {}, ", int_list(d.lhs_batch), int_list(d.rhs_batch));
    bool f32 = context.node.inputs[0].dtype() == DType::kF32;
    std::string_view precision = f32 ? "HIGHEST" : "DEFAULT";
    std::string out = printer.fresh();
    printer.line(
        "{} = stablehlo.dot_general {}, {}, {}contracting_dims = {} x {}, precision = [{}, {}] : ({}, {}) -> "
        "{}",
        out, context.inputs[0], context.inputs[1], batch, int_list(d.lhs_contract), int_list(d.rhs_contract), precision,
        precision, to_string(context.node.inputs[0].type()), to_string(context.node.inputs[1].type()),
        to_string(context.node.outputs[0]));
    return {out};
  }

  double flops(const Node& node, const std::vector<bool>&) const override {
    double work = 2.0 * static_cast<double>(num_elements(node.outputs[0].shape));
    for (int64_t d : dimensions_.lhs_contract) work *= static_cast<double>(node.inputs[0].dim(d));
    return work;
  }

 private:
  /** The gradient of one operand is a product of dy with the other, transposed into the operand's order. */
  Value operand_gradient(const Value& dy, const Value& lhs, const Value& rhs, bool of_lhs) const {
    const auto& d = dimensions_;
    const Value& self = of_lhs ? lhs : rhs;
    const Value& other = of_lhs ? rhs : lhs;
    const auto& self_batch = of_lhs ? d.lhs_batch : d.rhs_batch;
    const auto& other_batch = of_lhs ? d.rhs_batch : d.lhs_batch;
    const auto& self_contract = of_lhs ? d.lhs_contract : d.rhs_contract;
    const auto& other_contract = of_lhs ? d.rhs_contract : d.lhs_contract;
    auto self_free = free_dimensions(self.rank(), self_batch, self_contract);
    auto other_free = free_dimensions(other.rank(), other_batch, other_contract);
    auto batches = static_cast<int64_t>(self_batch.size());

    // dy is [batch, lhs free, rhs free].
    auto lhs_free_count = static_cast<int64_t>((of_lhs ? self_free : other_free).size());
    std::vector<int64_t> dy_batch, dy_contract;
    for (int64_t i = 0; i < batches; ++i) dy_batch.push_back(i);
    int64_t other_start = of_lhs ? batches + lhs_free_count : batches;
    for (size_t i = 0; i < other_free.size(); ++i) dy_contract.push_back(other_start + static_cast<int64_t>(i));
    Value cotangent = convert(dy, other.dtype());
    DType result = self.dtype();
    // [batch, self free, other's contracted dimensions in ascending order]
    Value product = dot(cotangent, other, {dy_batch, other_batch, dy_contract, other_free}, result);

    std::vector<int64_t> other_contract_sorted = other_contract;
    std::sort(other_contract_sorted.begin(), other_contract_sorted.end());
    std::vector<int64_t> permutation(static_cast<size_t>(self.rank()));
    for (size_t i = 0; i < self_batch.size(); ++i)
      permutation[static_cast<size_t>(self_batch[i])] = static_cast<int64_t>(i);
    for (size_t i = 0; i < self_free.size(); ++i)
      permutation[static_cast<size_t>(self_free[i])] = batches + static_cast<int64_t>(i);
    for (size_t i = 0; i < self_contract.size(); ++i) {
      auto at = std::find(other_contract_sorted.begin(), other_contract_sorted.end(), other_contract[i]);
      permutation[static_cast<size_t>(self_contract[i])] =
          batches + static_cast<int64_t>(self_free.size()) + (at - other_contract_sorted.begin());
    }
    return transpose(product, permutation);
  }

  DotDimensions dimensions_;
};

}  // namespace

Value reduce_sum(const Value& a, const std::vector<int64_t>& dimensions) {
  return reduce(false, a, dimensions);
}
Value reduce_max(const Value& a, const std::vector<int64_t>& dimensions) {
  return reduce(true, a, dimensions);
}

Value dot(const Value& lhs, const Value& rhs, const DotDimensions& dimensions) {
  return dot(lhs, rhs, dimensions, lhs.dtype());
}

Value dot(const Value& lhs, const Value& rhs, const DotDimensions& d, DType result) {
  auto complain = [&](std::string_view why) {
    fail("dot_general: {}: {} and {}, batch {} x {}, contracting {} x {}", why, to_string(lhs.type()),
         to_string(rhs.type()), int_list(d.lhs_batch), int_list(d.rhs_batch), int_list(d.lhs_contract),
         int_list(d.rhs_contract));
  };
  if (lhs.dtype() != rhs.dtype()) complain("operands of different types");
  if (!is_float(lhs.dtype()) || !is_float(result)) complain("floats expected");
  if (d.lhs_batch.size() != d.rhs_batch.size() || d.lhs_contract.size() != d.rhs_contract.size())
    complain("unequal numbers of dimensions");
  for (size_t i = 0; i < d.lhs_batch.size(); ++i)
    if (lhs.dim(d.lhs_batch[i]) != rhs.dim(d.rhs_batch[i])) complain("batch dimensions differ");
  for (size_t i = 0; i < d.lhs_contract.size(); ++i)
    if (lhs.dim(d.lhs_contract[i]) != rhs.dim(d.rhs_contract[i])) complain("contracted dimensions differ");
  Shape shape;
  for (int64_t i : d.lhs_batch) shape.push_back(lhs.dim(i));
  for (int64_t i : free_dimensions(lhs.rank(), d.lhs_batch, d.lhs_contract)) shape.push_back(lhs.dim(i));
  for (int64_t i : free_dimensions(rhs.rank(), d.rhs_batch, d.rhs_contract)) shape.push_back(rhs.dim(i));
  return lhs.graph().add(std::make_shared<DotOp>(d), {lhs, rhs}, {{result, shape}})[0];
}

}  // namespace gavel

#include "graph/ops.h"
#include "graph/printer.h"

namespace gavel {

namespace {

class TakeOp : public Op {
 public:
  std::string_view name() const override { return "take"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    const Value& table = context.inputs[0];
    const Value& indices = context.inputs[1];
    Shape updates = table.shape();
    updates[0] = num_elements(indices.shape());
    return {scatter_add(reshape(indices, {updates[0]}), reshape(context.output_gradients[0], updates), table.dim(0)),
            Value()};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    const TensorType& table = context.node.inputs[0].type();
    const TensorType& indices = context.node.inputs[1].type();
    auto index_rank = static_cast<int64_t>(indices.shape.size());
    std::vector<int64_t> offset, sizes = table.shape;
    for (size_t d = 1; d < table.shape.size(); ++d) offset.push_back(index_rank + static_cast<int64_t>(d) - 1);
    sizes[0] = 1;
    std::string out = printer.fresh();
    printer.line(
        "{} = \"stablehlo.gather\"({}, {}) {{dimension_numbers = #stablehlo.gather<offset_dims = {}, "
        "collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = {}>, slice_sizes = {}, "
        "indices_are_sorted = false}} : ({}, {}) -> {}",
        out, context.inputs[0], context.inputs[1], int_list(offset), index_rank, int_array(sizes), to_string(table),
        to_string(indices), to_string(context.node.outputs[0]));
    return {out};
  }
};

class ScatterAddOp : public Op {
 public:
  std::string_view name() const override { return "scatter_add"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    return {Value(), take(context.output_gradients[0], context.inputs[0])};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    const TensorType& type = context.node.outputs[0];
    std::string scalar = to_string(TensorType{type.dtype, {}});
    std::vector<int64_t> window;
    for (size_t d = 1; d < type.shape.size(); ++d) window.push_back(static_cast<int64_t>(d));
    std::string zeros = printer.fresh();
    printer.line("{} = stablehlo.constant dense<{}> : {}", zeros, literal(type.dtype, 0), to_string(type));
    std::string out = printer.fresh(), a = printer.fresh(), b = printer.fresh(), sum = printer.fresh();
    printer.line("{} = \"stablehlo.scatter\"({}, {}, {}) ({{", out, zeros, context.inputs[0], context.inputs[1]);
    printer.line("  ^bb0({}: {}, {}: {}):", a, scalar, b, scalar);
    printer.line("    {} = stablehlo.add {}, {} : {}", sum, a, b, scalar);
    printer.line("    stablehlo.return {} : {}", sum, scalar);
    printer.line(
        "}}) {{scatter_dimension_numbers = #stablehlo.scatter<update_window_dims = {}, inserted_window_dims "
        "= [0], "
        "scatter_dims_to_operand_dims = [0], index_vector_dim = 1>, indices_are_sorted = false, "
        "unique_indices = "
        "false}} : ({}, {}, {}) -> {}",
        int_list(window), to_string(type), to_string(context.node.inputs[0].type()),
        to_string(context.node.inputs[1].type()), to_string(type));
    return {out};
  }
};

}  // namespace

Value take(const Value& table, const Value& indices) {
  if (table.rank() < 1 || indices.dtype() != DType::kI32)
    fail("take: expected a table [V, …] and i32 indices, found {} and {}", to_string(table.type()),
         to_string(indices.type()));
  Shape shape = indices.shape();
  shape.insert(shape.end(), table.shape().begin() + 1, table.shape().end());
  return table.graph().add(std::make_shared<TakeOp>(), {table, indices}, {{table.dtype(), shape}})[0];
}

Value scatter_add(const Value& indices, const Value& updates, int64_t rows) {
  if (indices.rank() != 1 || indices.dtype() != DType::kI32 || updates.rank() < 1 || updates.dim(0) != indices.dim(0))
    fail("scatter_add: expected i32 indices [N] and updates [N, …], found {} and {}", to_string(indices.type()),
         to_string(updates.type()));
  Shape shape = updates.shape();
  shape[0] = rows;
  return updates.graph().add(std::make_shared<ScatterAddOp>(), {indices, updates}, {{updates.dtype(), shape}})[0];
}

}  // namespace gavel

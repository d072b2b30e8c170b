#include "graph/kernel.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "graph/printer.h"

namespace gavel {

namespace {

std::string attribute_text(const std::variant<double, int32_t, bool>& value) {
  if (const auto* number = std::get_if<double>(&value)) return literal(DType::kF32, *number) + " : f32";
  if (const auto* integer = std::get_if<int32_t>(&value)) return fmt::format("{} : i32", *integer);
  return std::get<bool>(value) ? "true" : "false";
}

class KernelOp : public Op {
 public:
  explicit KernelOp(Kernel kernel) : kernel_(std::move(kernel)) {}
  std::string_view name() const override { return kernel_.target; }

  std::vector<Value> gradient(const GradientContext& context) const override {
    return kernel_.gradient ? kernel_.gradient(context) : Op::gradient(context);
  }

  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    std::vector<TensorType> inputs;
    for (const Value& input : context.node.inputs) inputs.push_back(input.type());
    if (printer.mesh() != nullptr) return print_partitioned(printer, context, inputs);
    const auto& outputs = context.node.outputs;
    if (kernel_.write)
      return kernel_.write(printer, {kernel_.attributes, context.inputs, inputs, outputs, context.used});
    bool others = std::find(context.used.begin() + 1, context.used.end(), true) != context.used.end();
    if (others || kernel_.first_output_target.empty())
      return print_call(printer, kernel_.target, context.inputs, inputs, outputs);
    std::vector<std::string> names(outputs.size());
    names[0] = print_call(printer, kernel_.first_output_target, context.inputs, inputs, {outputs[0]})[0];
    return names;
  }

  double flops(const Node&, const std::vector<bool>&) const override { return kernel_.flops; }

 private:
  std::vector<std::string> print_call(Printer& printer, const std::string& target,
                                      const std::vector<std::string>& names, const std::vector<TensorType>& inputs,
                                      const std::vector<TensorType>& outputs) const {
    std::vector<std::string> attributes;
    for (const auto& [name, value] : kernel_.attributes)
      attributes.push_back(fmt::format("{} = {}", name, attribute_text(value)));
    std::string out = printer.fresh();
    bool single = outputs.size() == 1;
    printer.line(
        "{}{} = stablehlo.custom_call @{}({}) {{api_version = 4 : i32, backend_config = {{{}}}, operand_layouts = {}, "
        "result_layouts = {}}} : {} -> {}",
        out, single ? "" : fmt::format(":{}", outputs.size()), target, fmt::join(names, ", "),
        fmt::join(attributes, ", "), layouts_text(inputs), layouts_text(outputs), type_list(inputs),
        single ? to_string(outputs[0]) : type_list(outputs));
    return output_names(out, outputs.size());
  }

  std::vector<std::string> print_partitioned(Printer& printer, const PrintContext& context,
                                             const std::vector<TensorType>& inputs) const;

  static std::vector<std::string> output_names(const std::string& out, size_t count) {
    if (count == 1) return {out};
    std::vector<std::string> names;
    for (size_t i = 0; i < count; ++i) names.push_back(fmt::format("{}#{}", out, i));
    return names;
  }

  Kernel kernel_;
};

/** The call inside sdy.manual_computation, on each device's part. A result that is a part of a sum comes out with a
 * further first dimension, split over the devices, which is summed outside. */
std::vector<std::string> KernelOp::print_partitioned(Printer& printer, const PrintContext& context,
                                                     const std::vector<TensorType>& inputs) const {
  const MeshForPrinter& mesh = *printer.mesh();
  const auto& outputs = context.node.outputs;
  if (!kernel_.dimensions.stated())
    fail("{}: nothing says how this kernel is cut over a mesh, so it can't be in a program of several devices",
         kernel_.target);
  KernelPartition plan = mesh.partition_kernel(kernel_.dimensions, inputs, outputs);
  if (plan.operands.size() != inputs.size() || plan.results.size() != outputs.size() ||
      plan.partial.size() != outputs.size())
    fail("{}: its partition is for {} operands and {} results, it has {} and {}", kernel_.target, plan.operands.size(),
         plan.results.size(), inputs.size(), outputs.size());
  auto local = [&](TensorType type, const DimensionAxes& axes) {
    for (size_t d = 0; d < type.shape.size(); ++d) type.shape[d] /= mesh.parts(axes[d]);
    return type;
  };
  auto with_first = [](TensorType type, int64_t size) {
    type.shape.insert(type.shape.begin(), size);
    return type;
  };
  auto bare = [](const std::vector<TensorType>& types) {
    std::string list = type_list(types);
    return list.substr(1, list.size() - 2);
  };

  std::vector<std::string> in_shardings, out_shardings, axes, arguments, headers;
  std::vector<TensorType> local_inputs, local_outputs, returned, outside;
  for (size_t i = 0; i < inputs.size(); ++i) {
    in_shardings.push_back(sharding_text(plan.operands[i]));
    local_inputs.push_back(local(inputs[i], plan.operands[i]));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    local_outputs.push_back(local(outputs[i], plan.results[i]));
    DimensionAxes split = plan.results[i];
    bool partial = !plan.partial[i].empty();
    if (partial) split.insert(split.begin(), plan.partial[i]);
    out_shardings.push_back(sharding_text(split));
    returned.push_back(partial ? with_first(local_outputs[i], 1) : local_outputs[i]);
    outside.push_back(partial ? with_first(outputs[i], mesh.parts(plan.partial[i])) : outputs[i]);
  }
  for (const std::string& axis : mesh.axes) axes.push_back(fmt::format("\"{}\"", axis));
  std::string out = printer.fresh();
  for (const TensorType& type : local_inputs) {
    arguments.push_back(printer.fresh());
    headers.push_back(fmt::format("{}: {}", arguments.back(), to_string(type)));
  }
  printer.line("{}{} = sdy.manual_computation({}) in_shardings=[{}] out_shardings=[{}] manual_axes={{{}}} ({}) {{", out,
               outputs.size() == 1 ? "" : fmt::format(":{}", outputs.size()), fmt::join(context.inputs, ", "),
               fmt::join(in_shardings, ", "), fmt::join(out_shardings, ", "), fmt::join(axes, ", "),
               fmt::join(headers, ", "));
  printer.indent(1);
  std::vector<std::string> results =
      kernel_.write ? kernel_.write(printer, {kernel_.attributes, arguments, local_inputs, local_outputs,
                                              std::vector<bool>(outputs.size(), true)})
                    : print_call(printer, kernel_.target, arguments, local_inputs, local_outputs);
  for (size_t i = 0; i < results.size(); ++i) {
    if (plan.partial[i].empty()) continue;
    std::string shaped = printer.fresh();
    printer.line("{} = stablehlo.reshape {} : ({}) -> {}", shaped, results[i], to_string(local_outputs[i]),
                 to_string(returned[i]));
    results[i] = shaped;
  }
  printer.line("sdy.return {} : {}", fmt::join(results, ", "), bare(returned));
  printer.indent(-1);
  printer.line("}} : {} -> {}", type_list(inputs), outputs.size() == 1 ? to_string(outside[0]) : type_list(outside));

  std::vector<std::string> names = output_names(out, outputs.size());
  for (size_t i = 0; i < names.size(); ++i) {
    if (plan.partial[i].empty()) continue;
    TensorType scalar{outputs[i].dtype, {}};
    std::string zero = printer.fresh(), sum = printer.fresh();
    printer.line("{} = stablehlo.constant dense<{}> : {}", zero, literal(scalar.dtype, 0), to_string(scalar));
    printer.line("{} = stablehlo.reduce({} init: {}) applies stablehlo.add across dimensions = [0] : ({}, {}) -> {}",
                 sum, names[i], zero, to_string(outside[i]), to_string(scalar), to_string(outputs[i]));
    names[i] = sum;
  }
  return names;
}

}  // namespace

std::string layouts_text(const std::vector<TensorType>& types) {
  std::vector<std::string> parts;
  for (const TensorType& type : types) {
    std::vector<int64_t> order;
    for (size_t d = type.shape.size(); d-- > 0;) order.push_back(static_cast<int64_t>(d));
    parts.push_back(fmt::format("dense<{}> : tensor<{}xindex>", order.empty() ? "" : int_list(order), order.size()));
  }
  return fmt::format("[{}]", fmt::join(parts, ", "));
}

std::vector<Value> call_kernel(Kernel kernel, const std::vector<Value>& inputs, std::vector<TensorType> outputs) {
  if (inputs.empty()) fail("{}: a kernel without inputs", kernel.target);
  return inputs[0].graph().add(std::make_shared<KernelOp>(std::move(kernel)), inputs, std::move(outputs));
}

}  // namespace gavel

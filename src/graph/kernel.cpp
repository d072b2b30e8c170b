#include "graph/kernel.h"

#include <fmt/ranges.h>

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
    const auto& types = context.node.outputs;
    std::vector<std::string> attributes;
    for (const auto& [name, value] : kernel_.attributes)
      attributes.push_back(fmt::format("{} = {}", name, attribute_text(value)));
    std::vector<TensorType> inputs;
    for (const Value& input : context.node.inputs) inputs.push_back(input.type());
    std::string out = printer.fresh();
    bool single = types.size() == 1;
    printer.line("{}{} = stablehlo.custom_call @{}({}) {{api_version = 4 : i32, backend_config = {{{}}}}} : {} -> {}", out,
                 single ? "" : fmt::format(":{}", types.size()), kernel_.target, fmt::join(context.inputs, ", "),
                 fmt::join(attributes, ", "), type_list(inputs), single ? to_string(types[0]) : type_list(types));
    if (single) return {out};
    std::vector<std::string> names;
    for (size_t i = 0; i < types.size(); ++i) names.push_back(fmt::format("{}#{}", out, i));
    return names;
  }

  double flops(const Node&, const std::vector<bool>&) const override { return kernel_.flops; }

 private:
  Kernel kernel_;
};

}  // namespace

std::vector<Value> call_kernel(Kernel kernel, const std::vector<Value>& inputs, std::vector<TensorType> outputs) {
  if (inputs.empty()) fail("{}: a kernel without inputs", kernel.target);
  return inputs[0].graph().add(std::make_shared<KernelOp>(std::move(kernel)), inputs, std::move(outputs));
}

}  // namespace gavel

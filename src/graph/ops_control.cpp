#include <fmt/ranges.h>

#include "graph/ops.h"
#include "graph/printer.h"

namespace gavel {

namespace {

class BarrierOp : public Op {
 public:
  std::string_view name() const override { return "optimization_barrier"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    return {context.output_gradients.begin(), context.output_gradients.end()};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    const auto& types = context.node.outputs;
    std::string out = printer.fresh();
    std::string count = types.size() == 1 ? "" : fmt::format(":{}", types.size());
    printer.line("{}{} = \"stablehlo.optimization_barrier\"({}) : {} -> {}", out, count,
                 fmt::join(context.inputs, ", "), type_list(types), type_list(types));
    std::vector<std::string> names;
    for (size_t i = 0; i < types.size(); ++i)
      names.push_back(types.size() == 1 ? out : fmt::format("{}#{}", out, i));
    return names;
  }
};

}  // namespace

std::vector<Value> optimization_barrier(const std::vector<Value>& values) {
  if (values.empty()) fail("optimization_barrier: no values");
  std::vector<TensorType> types;
  for (const Value& value : values) types.push_back(value.type());
  return values[0].graph().add(std::make_shared<BarrierOp>(), values, types);
}

}  // namespace gavel

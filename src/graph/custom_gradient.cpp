#include "graph/custom_gradient.h"

#include "graph/printer.h"

namespace gavel {

namespace {

struct Composite {
  Graph graph;
  std::vector<Value> outputs;
};

class CompositeOp : public Op {
 public:
  CompositeOp(std::string name, std::shared_ptr<const Composite> body,
              std::function<std::vector<Value>(const GradientContext&)> gradient)
      : name_(std::move(name)), body_(std::move(body)), gradient_(std::move(gradient)) {}
  std::string_view name() const override { return name_; }
  std::vector<Value> gradient(const GradientContext& context) const override { return gradient_(context); }

  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    std::vector<Value> roots = used_roots(context.used);
    std::vector<std::string> printed = printer.print_nodes(body_->graph, roots, context.inputs), names;
    size_t next = 0;
    for (bool used : context.used) names.push_back(used ? printed[next++] : "");
    return names;
  }

  double flops(const Node&, const std::vector<bool>& used) const override {
    return body_->graph.flops(used_roots(used));
  }

 private:
  std::vector<Value> used_roots(const std::vector<bool>& used) const {
    std::vector<Value> roots;
    for (size_t i = 0; i < used.size(); ++i)
      if (used[i]) roots.push_back(body_->outputs[i]);
    return roots;
  }

  std::string name_;
  std::shared_ptr<const Composite> body_;
  std::function<std::vector<Value>(const GradientContext&)> gradient_;
};

}  // namespace

std::vector<Value> with_gradient(const std::string& name, const std::vector<Value>& inputs,
                                 const std::function<std::vector<Value>(const std::vector<Value>&)>& body,
                                 std::function<std::vector<Value>(const GradientContext&)> gradient) {
  if (inputs.empty()) fail("{}: no inputs", name);
  auto made = std::make_shared<Composite>();
  std::vector<Value> parameters;
  for (const Value& input : inputs) parameters.push_back(made->graph.parameter(input.dtype(), input.shape(), "input"));
  made->outputs = body(parameters);
  std::vector<TensorType> types;
  for (const Value& output : made->outputs) types.push_back(output.type());
  return inputs[0].graph().add(std::make_shared<CompositeOp>(name, made, std::move(gradient)), inputs, types);
}

}  // namespace gavel

#include "graph/partition.h"

#include "graph/printer.h"

namespace gavel {

namespace {

class ConstraintOp : public Op {
 public:
  explicit ConstraintOp(DimensionAxes axes) : axes_(std::move(axes)) {}
  std::string_view name() const override { return "sharding_constraint"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    return {constrain(context.output_gradients[0], axes_)};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    std::string out = printer.fresh();
    printer.line("{} = sdy.sharding_constraint {} {} : {}", out, context.inputs[0], sharding_text(axes_),
                 to_string(context.node.outputs[0]));
    return {out};
  }

 private:
  DimensionAxes axes_;
};

}  // namespace

Value constrain(const Value& a, const DimensionAxes& axes) {
  if (static_cast<int64_t>(axes.size()) != a.rank())
    fail("sharding_constraint: {} for a value of shape {}", to_string(axes), to_string(a.shape()));
  return a.graph().add(std::make_shared<ConstraintOp>(axes), {a}, {a.type()})[0];
}

std::string sharding_text(const DimensionAxes& axes) {
  std::string text = "<@mesh, [";
  for (size_t d = 0; d < axes.size(); ++d) {
    text += d == 0 ? "{" : ", {";
    for (size_t i = 0; i < axes[d].size(); ++i) text += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", axes[d][i]);
    text += "}";
  }
  return text + "]>";
}

}  // namespace gavel

#include "graph/graph.h"

#include "graph/printer.h"

namespace gavel {

namespace {

class ParameterOp : public Op {
 public:
  explicit ParameterOp(int64_t index) : index_(index) {}
  std::string_view name() const override { return "parameter"; }
  std::vector<Value> gradient(const GradientContext&) const override { return {}; }
  std::vector<std::string> print(Printer&, const PrintContext&) const override {
    fail("parameter {}: the printer was given no name for it", index_);
  }
  int64_t index() const { return index_; }

 private:
  int64_t index_;
};

}  // namespace

std::string to_string(const TensorType& type) {
  std::string out = "tensor<";
  for (int64_t dimension : type.shape) out += fmt::format("{}x", dimension);
  out += stablehlo_name(type.dtype);
  return out + ">";
}

const TensorType& Value::type() const {
  if (graph_ == nullptr) fail("graph: type of an empty value asked for");
  return graph_->node(node_).outputs[static_cast<size_t>(index_)];
}

int64_t Value::dim(int64_t i) const {
  const Shape& dimensions = shape();
  int64_t at = i < 0 ? i + rank() : i;
  if (at < 0 || at >= rank()) fail("graph: dimension {} of a value of shape {} asked for", i, to_string(dimensions));
  return dimensions[static_cast<size_t>(at)];
}

std::vector<Value> Op::gradient(const GradientContext&) const {
  fail("{}: has no gradient rule", name());
}

double Op::flops(const Node&, const std::vector<bool>&) const {
  return 0;
}

void Op::count_flops(const Node& node, const std::vector<bool>& used, FlopCount& count) const {
  if (double work = flops(node, used); work > 0) count[std::string(name())] += work;
}

Value Graph::parameter(DType dtype, Shape shape, std::string name) {
  auto op = std::make_shared<ParameterOp>(static_cast<int64_t>(parameters_.size()));
  Value value = add(std::move(op), {}, {{dtype, std::move(shape)}})[0];
  parameters_.push_back(value);
  parameter_names_.push_back(std::move(name));
  return value;
}

std::vector<Value> Graph::add(std::shared_ptr<const Op> op, std::vector<Value> inputs,
                              std::vector<TensorType> outputs) {
  for (const Value& input : inputs) {
    if (!input) fail("{}: an input is empty", op->name());
    if (&input.graph() != this) fail("{}: an input belongs to another graph", op->name());
  }
  int32_t id = size();
  std::vector<Value> values;
  for (size_t i = 0; i < outputs.size(); ++i) values.emplace_back(this, id, static_cast<int32_t>(i));
  nodes_.push_back({std::move(op), std::move(inputs), std::move(outputs)});
  return values;
}

std::vector<std::vector<bool>> Graph::used_outputs(std::span<const Value> roots) const {
  std::vector<std::vector<bool>> used(nodes_.size());
  for (size_t i = 0; i < nodes_.size(); ++i) used[i].assign(nodes_[i].outputs.size(), false);
  auto mark = [&](const Value& v) { used[static_cast<size_t>(v.node())][static_cast<size_t>(v.index())] = true; };
  for (const Value& root : roots) mark(root);
  for (size_t i = nodes_.size(); i-- > 0;) {
    bool any = false;
    for (bool output : used[i]) any = any || output;
    if (!any) continue;
    for (const Value& input : nodes_[i].inputs) mark(input);
  }
  return used;
}

std::vector<Value> Graph::inline_body(const Graph& body, std::span<const Value> outputs,
                                      std::span<const Value> arguments) {
  if (arguments.size() != body.parameters().size())
    fail("inline_body: the body has {} parameters, {} arguments given", body.parameters().size(), arguments.size());
  auto used = body.used_outputs(outputs);
  std::vector<std::vector<Value>> copies(static_cast<size_t>(body.size()));
  for (size_t i = 0; i < arguments.size(); ++i) {
    const Value& parameter = body.parameters()[i];
    if (parameter.type() != arguments[i].type())
      fail("inline_body: parameter {} '{}' is {}, the argument is {}", i, body.parameter_name(i),
           to_string(parameter.type()), to_string(arguments[i].type()));
    copies[static_cast<size_t>(parameter.node())] = {arguments[i]};
  }
  auto copy_of = [&](const Value& v) { return copies[static_cast<size_t>(v.node())][static_cast<size_t>(v.index())]; };
  for (int32_t id = 0; id < body.size(); ++id) {
    auto at = static_cast<size_t>(id);
    bool any = false;
    for (bool output : used[at]) any = any || output;
    if (!any || !copies[at].empty()) continue;
    const Node& node = body.node(id);
    std::vector<Value> inputs;
    for (const Value& input : node.inputs) inputs.push_back(copy_of(input));
    copies[at] = add(node.op, std::move(inputs), node.outputs);
  }
  std::vector<Value> results;
  for (const Value& output : outputs) results.push_back(copy_of(output));
  return results;
}

FlopCount Graph::count_flops(std::span<const Value> roots) const {
  auto used = used_outputs(roots);
  FlopCount count;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    bool any = false;
    for (bool output : used[i]) any = any || output;
    if (any) nodes_[i].op->count_flops(nodes_[i], used[i], count);
  }
  return count;
}

double Graph::flops(std::span<const Value> roots) const {
  return total(count_flops(roots));
}

double total(const FlopCount& count) {
  double sum = 0;
  for (const auto& [name, flops] : count) sum += flops;
  return sum;
}

int64_t parameter_index(const Value& value) {
  const auto* op = dynamic_cast<const ParameterOp*>(value.graph().node(value.node()).op.get());
  return op == nullptr ? -1 : op->index();
}

}  // namespace gavel

#include "graph/keep.h"

#include <algorithm>

#include "graph/kept.h"
#include "graph/printer.h"

namespace gavel {

namespace {

class KeepOp : public Op {
 public:
  std::string_view name() const override { return "keep"; }
  std::vector<Value> gradient(const GradientContext& context) const override { return {context.output_gradients[0]}; }
  std::vector<std::string> print(Printer&, const PrintContext& context) const override { return {context.inputs[0]}; }
};

bool is_keep(const Node& node) {
  return dynamic_cast<const KeepOp*>(node.op.get()) != nullptr;
}

/** A marked op of a scan's body within the body of its gradient. Inputs: the op's own, then what it gave. */
class SavedOp : public Op {
 public:
  SavedOp(std::shared_ptr<const Op> op, size_t inputs) : op_(std::move(op)), inputs_(inputs) {}
  std::string_view name() const override { return op_->name(); }

  /** The op's own rule, which is shown what was saved for what the op gives. */
  std::vector<Value> gradient(const GradientContext& context) const override {
    std::vector<bool> needed(context.needed.begin(), context.needed.begin() + static_cast<std::ptrdiff_t>(inputs_));
    std::vector<Value> found = op_->gradient({context.graph, context.inputs.first(inputs_),
                                              context.inputs.subspan(inputs_), context.output_gradients, needed});
    found.resize(context.inputs.size());
    return found;
  }
  std::vector<std::string> print(Printer&, const PrintContext&) const override {
    fail("{}: what a scan keeps of it was to be read instead", name());
  }

  /** What was saved of the op's output with this number. */
  const Value& saved(const Node& node, int32_t output) const {
    return node.inputs[inputs_ + static_cast<size_t>(output)];
  }

 private:
  std::shared_ptr<const Op> op_;
  size_t inputs_;
};

/** Whether the node gives its input's elements in another form. */
bool is_view(const Graph& graph, const Value& value) {
  const Node& node = graph.node(value.node());
  const std::string_view name = node.op->name();
  if (name == "slice") return 2 * num_elements(value.shape()) >= num_elements(node.inputs[0].shape());
  return is_keep(node) || name == "reshape" || name == "transpose" || name == "sharding_constraint";
}

bool any(const std::vector<bool>& flags) {
  return std::find(flags.begin(), flags.end(), true) != flags.end();
}

/** The value that stands for this one where saved values are read. */
Value read_instead(const Graph& from, Value value) {
  while (true) {
    const Node& node = from.node(value.node());
    if (const auto* saved = dynamic_cast<const SavedOp*>(node.op.get()))
      value = saved->saved(node, value.index());
    else if (is_keep(node))
      value = node.inputs[0];
    else
      return value;
  }
}

/** For every node whether the outputs need it, where saved values are read. */
std::vector<bool> needed_nodes(const Graph& from, std::span<const Value> outputs) {
  std::vector<bool> needed(static_cast<size_t>(from.size()), false);
  auto mark = [&](const Value& value) { needed[static_cast<size_t>(read_instead(from, value).node())] = true; };
  for (const Value& output : outputs) mark(output);
  for (int32_t id = from.size(); id-- > 0;)
    if (needed[static_cast<size_t>(id)])
      for (const Value& input : from.node(id).inputs) mark(input);
  return needed;
}

}  // namespace

Value keep(const Value& a) {
  return a.graph().add(std::make_shared<KeepOp>(), {a}, {a.type()})[0];
}

std::vector<Value> kept_values(Graph& body, std::span<const Value> roots) {
  const auto used = body.used_outputs(roots);
  std::vector<bool> marked(static_cast<size_t>(body.size()), false);
  for (int32_t id = 0; id < body.size(); ++id) {
    if (!is_keep(body.node(id))) continue;
    Value value = body.node(id).inputs[0];
    while (is_view(body, value)) value = body.node(value.node()).inputs[0];
    // What has no inputs is there anyway.
    if (!body.node(value.node()).inputs.empty()) marked[static_cast<size_t>(value.node())] = true;
  }
  std::vector<Value> kept;
  for (int32_t id = 0; id < body.size(); ++id) {
    const auto at = static_cast<size_t>(id);
    if (!marked[at] || !any(used[at])) continue;
    for (size_t i = 0; i < body.node(id).outputs.size(); ++i) kept.emplace_back(&body, id, static_cast<int32_t>(i));
  }
  return kept;
}

std::vector<Value> inline_saved(Graph& graph, const Graph& body, std::span<const Value> outputs,
                                std::span<const Value> arguments, std::span<const Value> kept,
                                std::span<const Value> saved) {
  const auto used = body.used_outputs(outputs);
  std::vector<std::vector<Value>> copies(static_cast<size_t>(body.size())), saved_of(copies.size());
  for (size_t i = 0; i < kept.size(); ++i) saved_of[static_cast<size_t>(kept[i].node())].push_back(saved[i]);
  for (size_t i = 0; i < arguments.size(); ++i)
    copies[static_cast<size_t>(body.parameters()[i].node())] = {arguments[i]};
  auto copy_of = [&](const Value& v) { return copies[static_cast<size_t>(v.node())][static_cast<size_t>(v.index())]; };
  for (int32_t id = 0; id < body.size(); ++id) {
    const auto at = static_cast<size_t>(id);
    if (!any(used[at]) || !copies[at].empty()) continue;
    const Node& node = body.node(id);
    std::vector<Value> inputs;
    for (const Value& input : node.inputs) inputs.push_back(copy_of(input));
    std::shared_ptr<const Op> op = node.op;
    if (!saved_of[at].empty()) {
      op = std::make_shared<SavedOp>(op, inputs.size());
      inputs.insert(inputs.end(), saved_of[at].begin(), saved_of[at].end());
    }
    copies[at] = graph.add(std::move(op), std::move(inputs), node.outputs);
  }
  std::vector<Value> results;
  for (const Value& output : outputs) results.push_back(copy_of(output));
  return results;
}

std::vector<bool> read_parameters(const Graph& from, std::span<const Value> outputs) {
  const auto needed = needed_nodes(from, outputs);
  std::vector<bool> read;
  for (const Value& parameter : from.parameters()) read.push_back(needed[static_cast<size_t>(parameter.node())]);
  return read;
}

std::vector<Value> inline_read(Graph& graph, const Graph& from, std::span<const Value> outputs,
                               std::span<const Value> arguments) {
  const auto needed = needed_nodes(from, outputs);
  std::vector<std::vector<Value>> copies(static_cast<size_t>(from.size()));
  for (size_t i = 0; i < arguments.size(); ++i)
    copies[static_cast<size_t>(from.parameters()[i].node())] = {arguments[i]};
  auto copy_of = [&](const Value& v) {
    const Value read = read_instead(from, v);
    return copies[static_cast<size_t>(read.node())][static_cast<size_t>(read.index())];
  };
  for (int32_t id = 0; id < from.size(); ++id) {
    const auto at = static_cast<size_t>(id);
    if (!needed[at] || !copies[at].empty()) continue;
    const Node& node = from.node(id);
    std::vector<Value> inputs;
    for (const Value& input : node.inputs) inputs.push_back(copy_of(input));
    copies[at] = graph.add(node.op, std::move(inputs), node.outputs);
  }
  std::vector<Value> results;
  for (const Value& output : outputs) results.push_back(copy_of(output));
  return results;
}

}  // namespace gavel

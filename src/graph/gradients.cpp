#include "graph/gradients.h"

#include "graph/ops.h"

namespace gavel {

std::vector<Value> vjp(std::span<const Value> outputs, std::span<const Value> seeds, std::span<const Value> wrt) {
  if (outputs.empty() || outputs.size() != seeds.size())
    fail("vjp: {} outputs and {} seeds", outputs.size(), seeds.size());
  Graph& graph = outputs[0].graph();
  const int32_t end = graph.size();

  // Forward: which nodes depend on wrt through differentiable values.
  std::vector<bool> active(static_cast<size_t>(end), false);
  int32_t first = end;
  for (const Value& value : wrt) {
    active[static_cast<size_t>(value.node())] = true;
    first = std::min(first, value.node());
  }
  auto is_active = [&](const Value& v) { return active[static_cast<size_t>(v.node())] && is_float(v.dtype()); };
  for (int32_t id = first; id < end; ++id)
    for (const Value& input : graph.node(id).inputs)
      if (is_active(input)) active[static_cast<size_t>(id)] = true;

  std::vector<std::vector<Value>> cotangents(static_cast<size_t>(end));
  auto accumulate = [&](const Value& target, const Value& gradient) {
    auto& slots = cotangents[static_cast<size_t>(target.node())];
    slots.resize(graph.node(target.node()).outputs.size());
    Value& slot = slots[static_cast<size_t>(target.index())];
    slot = slot ? add(slot, gradient) : gradient;
  };
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (!seeds[i]) continue;
    if (seeds[i].type() != outputs[i].type())
      fail("vjp: output {} is {}, its seed is {}", i, to_string(outputs[i].type()), to_string(seeds[i].type()));
    if (is_active(outputs[i])) accumulate(outputs[i], seeds[i]);
  }

  for (int32_t id = end; id-- > first;) {
    auto at = static_cast<size_t>(id);
    if (!active[at] || cotangents[at].empty()) continue;
    // A copy: adding nodes moves the graph's storage.
    const Node node = graph.node(id);
    std::vector<bool> needed;
    bool any = false;
    for (const Value& input : node.inputs) {
      needed.push_back(is_active(input));
      any = any || needed.back();
    }
    if (!any) continue;
    std::vector<Value> node_outputs;
    for (size_t i = 0; i < node.outputs.size(); ++i) node_outputs.emplace_back(&graph, id, static_cast<int32_t>(i));
    std::vector<Value> found = node.op->gradient({graph, node.inputs, node_outputs, cotangents[at], needed});
    if (found.size() != node.inputs.size())
      fail("{}: its gradient rule gave {} values for {} inputs", node.op->name(), found.size(), node.inputs.size());
    for (size_t i = 0; i < found.size(); ++i) {
      if (!found[i] || !needed[i]) continue;
      if (found[i].type() != node.inputs[i].type())
        fail("{}: the gradient of input {} is {}, the input is {}", node.op->name(), i, to_string(found[i].type()),
             to_string(node.inputs[i].type()));
      accumulate(node.inputs[i], found[i]);
    }
  }

  std::vector<Value> results;
  for (const Value& value : wrt) {
    const auto& slots = cotangents[static_cast<size_t>(value.node())];
    results.push_back(slots.empty() ? Value() : slots[static_cast<size_t>(value.index())]);
  }
  return results;
}

std::vector<Value> gradients(const Value& loss, std::span<const Value> wrt) {
  if (loss.rank() != 0) fail("gradients: the loss must be a scalar, it has shape {}", to_string(loss.shape()));
  Value one = full(loss.graph(), loss.dtype(), {}, 1);
  std::vector<Value> results = vjp(std::span(&loss, 1), std::span(&one, 1), wrt);
  for (size_t i = 0; i < results.size(); ++i)
    if (!results[i]) results[i] = full(loss.graph(), wrt[i].dtype(), wrt[i].shape(), 0);
  return results;
}

}  // namespace gavel

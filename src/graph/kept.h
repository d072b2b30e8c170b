#pragma once
#include <span>
#include <vector>

#include "graph/graph.h"

namespace gavel {

// How a scan's gradient reads what keep() marks in the body (keep.h), in two steps: the body is put into a graph of its own
// with the marked ops in a form that has both their inputs, to which gradients flow, and what was saved of their outputs; from
// there the nodes that the gradients need are copied on, with what was saved in place of the marked ops.

/** All outputs of the ops that are marked in `body`, of those that `roots` need. */
std::vector<Value> kept_values(Graph& body, std::span<const Value> roots);

/** As Graph::inline_body, with `saved`, values of the graph, for what the ops that gave `kept` (of kept_values) give. The graph
 * can't be printed: see inline_read. */
std::vector<Value> inline_saved(Graph& graph, const Graph& body, std::span<const Value> outputs,
                                std::span<const Value> arguments, std::span<const Value> kept,
                                std::span<const Value> saved);

/** Which parameters of a graph with inlined bodies of inline_saved the values depend on, by number. */
std::vector<bool> read_parameters(const Graph& from, std::span<const Value> outputs);

/** Copies what the outputs need of such a graph into `graph`. `arguments` has one for each parameter, none for those
 * that are not read. Returns the outputs there. */
std::vector<Value> inline_read(Graph& graph, const Graph& from, std::span<const Value> outputs,
                               std::span<const Value> arguments);

}  // namespace gavel

#pragma once
#include <span>
#include <vector>

#include "graph/graph.h"

namespace gavel {

/** The vector-Jacobian product: gradients in reverse mode, as further nodes of the graph (Griewank & Walther, "Evaluating
 * Derivatives", ch. 3).
 *
 * Returns, for each of `wrt`, the sum over outputs of seed * d(output)/d(wrt), with the type of `wrt`, or
 * none when no output depends on it. `seeds` has one value per output, none where nothing flows back. Nodes
 * are added only for ops on paths from `wrt` to the outputs. Throws when an op on such a path has no rule, or when a
 * rule returns a gradient whose type differs from its input's. */
std::vector<Value> vjp(std::span<const Value> outputs, std::span<const Value> seeds, std::span<const Value> wrt);

/** The gradients of a scalar, in the order of `wrt`; a value that it does not depend on gets zeros. */
std::vector<Value> gradients(const Value& loss, std::span<const Value> wrt);

}  // namespace gavel

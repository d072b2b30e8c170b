#pragma once
#include <functional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace gavel {

/** The nodes that `body` makes of `inputs`, as one op with a gradient rule of its own (`gradient`, as Op::gradient) in place
 * of those of its nodes. So the only values kept for the gradient are those that the rule reads: inputs and outputs, none
 * from within. `body` is given values of the inputs' types in a graph of its own, and may use no others. */
std::vector<Value> with_gradient(const std::string& name, const std::vector<Value>& inputs,
                                 const std::function<std::vector<Value>(const std::vector<Value>&)>& body,
                                 std::function<std::vector<Value>(const GradientContext&)> gradient);

}  // namespace gavel

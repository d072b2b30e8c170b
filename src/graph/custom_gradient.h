#pragma once
#include <functional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace gavel {

/** The nodes that `body` makes of `inputs`, as one op with a gradient rule of its own: what the rule reads is
 * kept, and nothing of the body. `body` is given values of the same types in a graph of its own, and may use
 * no others. */
std::vector<Value> with_gradient(const std::string& name, const std::vector<Value>& inputs,
                                 const std::function<std::vector<Value>(const std::vector<Value>&)>& body,
                                 std::function<std::vector<Value>(const GradientContext&)> gradient);

}  // namespace gavel

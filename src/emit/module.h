#pragma once
#include <string>
#include <vector>

#include "graph/graph.h"

namespace gavel {

/** A parameter whose memory an output takes over. */
struct Donation {
  size_t parameter;
  size_t output;
};

struct ModuleOptions {
  std::string name = "step";
  std::vector<Donation> donations;
};

/** The program as StableHLO text: @main with every parameter of the graph as an argument, in order (also
 * those that nothing reads, so that callers need not know), returning `outputs`. Nodes that no output needs
 * are left out. The same graph always gives the same text. Throws when a donation pairs different types or
 * uses an index twice. */
std::string emit_module(const Graph& graph, const std::vector<Value>& outputs,
                        const ModuleOptions& options = {});

}  // namespace gavel

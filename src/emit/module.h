#pragma once
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/partition.h"
#include "shard/mesh.h"

namespace gavel {

/** A parameter whose memory an output takes over. */
struct Donation {
  size_t parameter;
  size_t output;
};

/** How a program lies on a mesh. */
struct ModuleSharding {
  Mesh mesh;
  /** One per parameter and output. */
  std::vector<DimensionAxes> parameters, outputs;
};

struct ModuleOptions {
  std::string name = "step";
  std::vector<Donation> donations;
  /** Nothing: the program of one device. Else it carries Shardy's mesh and shardings (dialect sdy), to be compiled with
   * mesh.devices() partitions. */
  std::optional<ModuleSharding> sharding = std::nullopt;
};

/** The program as StableHLO text: @main with every parameter of the graph as an argument, in order (also
 * those that nothing reads, so that callers need not know), returning `outputs`. Nodes that no output needs
 * are left out. The same graph always gives the same text. Throws when a donation pairs different types or
 * uses an index twice, or a sharding does not divide its parameter or output: an uneven one is never emitted. */
std::string emit_module(const Graph& graph, const std::vector<Value>& outputs,
                        const ModuleOptions& options = {});

}  // namespace gavel

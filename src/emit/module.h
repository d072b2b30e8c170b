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

/** How a program's arguments and results are split over a mesh. */
struct ModuleSharding {
  Mesh mesh;
  /** One for each parameter of the graph, and one for each output. */
  std::vector<DimensionAxes> parameters, outputs;
};

struct ModuleOptions {
  std::string name = "step";
  std::vector<Donation> donations;
  /** Empty for a program of one device. Else the text states the mesh and the shardings (in Shardy's dialect, sdy), and it
   * has to be compiled with mesh.devices() partitions. */
  std::optional<ModuleSharding> sharding = std::nullopt;
};

/** The program as StableHLO text: a function @main that takes every parameter of the graph in order, also those that
 * nothing reads, so that callers need not know which these are, and returns `outputs`. Nodes that no output needs
 * are left out. The same graph always gives the same text. Throws when a donation pairs different types or
 * uses an index twice or one that is not there, or when a sharding does not divide its parameter or output. */
std::string emit_module(const Graph& graph, const std::vector<Value>& outputs, const ModuleOptions& options = {});

}  // namespace gavel

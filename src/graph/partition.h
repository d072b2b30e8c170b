#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/axes.h"
#include "graph/graph.h"

namespace gavel {

/** The value, split over the mesh as told (Shardy's sharding_constraint); so is its gradient. `axes` has an
 * entry per dimension. Only for programs that are emitted with a mesh. */
Value constrain(const Value& a, const DimensionAxes& axes);

/** How one kernel call is cut up, since the partitioner can't look into a custom call: what each device gets
 * of the operands and gives of the results. */
struct KernelPartition {
  std::vector<DimensionAxes> operands, results;
  /** Per result: axes over which the devices' results are parts of a sum; empty for most. */
  std::vector<std::vector<std::string>> partial;
};

/** What the printer has to know of the mesh. */
struct MeshForPrinter {
  std::vector<std::string> axes;  // all names
  std::function<int64_t(const std::vector<std::string>&)> parts;
  std::function<KernelPartition(const std::string& target, const std::vector<TensorType>& operands,
                                const std::vector<TensorType>& results)>
      partition_kernel;
};

/** `<@mesh, [{"dp", "fsdp"}, {}]>`, the mesh's symbol being @mesh. */
std::string sharding_text(const DimensionAxes& axes);

}  // namespace gavel

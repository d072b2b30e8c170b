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

/** What each dimension of a kernel's arrays means, a letter per dimension: t tokens or sequences, h heads, f features
 * that can be worked on apart, . whole. '*' stands for as many whole dimensions as there are. */
struct KernelDimensions {
  std::vector<std::string> operands;  // those that may be left out stand last
  std::vector<std::string> results;
  /** Results that are sums over the tokens: of the devices' parts each is a part. */
  std::vector<bool> partial = std::vector<bool>(results.size(), false);
  bool stated() const { return !results.empty(); }
};

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
  std::function<KernelPartition(const KernelDimensions& dimensions, const std::vector<TensorType>& operands,
                                const std::vector<TensorType>& results)>
      partition_kernel;
};

/** `<@mesh, [{"dp", "fsdp"}, {}]>`, the mesh's symbol being @mesh. */
std::string sharding_text(const DimensionAxes& axes);

}  // namespace gavel

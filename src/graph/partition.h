#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/axes.h"
#include "graph/graph.h"

namespace gavel {

/** The value unchanged, with the demand that the devices hold it split as `axes` says, which has an entry per dimension
 * (Shardy's sharding_constraint); the same is demanded of its gradient. Only for programs that are emitted for a mesh. */
Value constrain(const Value& a, const DimensionAxes& axes);

/** What each dimension of a kernel's arrays means, which tells how a mesh may split it. An array is described by a letter
 * per dimension: t tokens or sequences, h heads, f features that can be worked on apart, and . for a dimension that each
 * device needs whole. '*' stands for any number of dimensions that stay whole. */
struct KernelDimensions {
  std::vector<std::string> operands;  // those that may be left out stand last
  std::vector<std::string> results;
  /** Which results are sums over the tokens: where tokens are split, each device gives a part of the sum. */
  std::vector<bool> partial = std::vector<bool>(results.size(), false);
  bool stated() const { return !results.empty(); }
};

/** How one kernel call is split over a mesh, since XLA's partitioner can't look into a custom call: which part of the
 * operands each device gets and which part of the results it gives. */
struct KernelPartition {
  std::vector<DimensionAxes> operands, results;
  /** Per result: axes over which the devices' results are parts of a sum; empty for most. */
  std::vector<std::vector<std::string>> partial;
};

/** What the printer has to know of the mesh. */
struct MeshForPrinter {
  std::vector<std::string> axes;  // the names of all
  /** Product of these axes' sizes. */
  std::function<int64_t(const std::vector<std::string>&)> parts;
  std::function<KernelPartition(const KernelDimensions& dimensions, const std::vector<TensorType>& operands,
                                const std::vector<TensorType>& results)>
      partition_kernel;
};

/** As Shardy writes it: `<@mesh, [{"dp", "fsdp"}, {}]>`, @mesh being the name that programs give the mesh. */
std::string sharding_text(const DimensionAxes& axes);

}  // namespace gavel

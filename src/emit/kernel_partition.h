#pragma once
#include "graph/partition.h"
#include "shard/mesh.h"

namespace gavel {

/** How a kernel call is split over a mesh: tokens over dp and fsdp, heads and features over mp, each only if the number of
 * parts divides every dimension that has its letter in `dimensions`. Throws Error when the call has more operands than
 * `dimensions` states, or another number of results. */
KernelPartition partition_kernel(const Mesh& mesh, const KernelDimensions& dimensions,
                                 const std::vector<TensorType>& operands, const std::vector<TensorType>& results);

}  // namespace gavel

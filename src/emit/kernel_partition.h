#pragma once
#include "graph/partition.h"
#include "shard/mesh.h"

namespace gavel {

/** How a mesh cuts a kernel call: tokens over dp and fsdp, heads and features over mp, each where the number of devices
 * divides every dimension of that letter. Throws Error when the call has more operands or other results than
 * `dimensions` states. */
KernelPartition partition_kernel(const Mesh& mesh, const KernelDimensions& dimensions,
                                 const std::vector<TensorType>& operands, const std::vector<TensorType>& results);

}  // namespace gavel

#pragma once
#include <memory>
#include <vector>

#include "pjrt/client.h"
#include "shard/mesh.h"

namespace gavel {

/** An array that lies on the devices of a mesh: one buffer per device, in the mesh's order. */
struct ShardedArray {
  std::vector<pjrt::Buffer> shards;
};

/** The part of a tensor that `shard` says: a view where it is one piece of memory, else a copy. */
HostTensor slice_tensor(const HostTensor& tensor, const Shard& shard);
/** Writes `part` into `whole` where `shard` says. */
void paste_tensor(HostTensor& whole, const Shard& shard, const HostTensor& part);

/** The first devices of a client as a mesh, and how arrays come to them and back. */
class DeviceMesh {
 public:
  /** Throws Error when the client has fewer devices than the mesh. */
  DeviceMesh(std::shared_ptr<pjrt::Client> client, const Mesh& mesh);

  const Mesh& mesh() const { return mesh_; }
  pjrt::Client& client() const { return *client_; }
  size_t size() const { return static_cast<size_t>(mesh_.devices()); }

  /** Each device gets its part; equal parts share one host tensor. */
  ShardedArray to_devices(const HostTensor& tensor, const DimensionAxes& axes,
                          pjrt::HostMemory use = pjrt::HostMemory::kCopy) const;
  ShardedArray to_devices(const HostTensor& tensor) const;  // whole on each
  /** `shape`: of the whole array. Waits for it. */
  HostTensor to_host(const ShardedArray& array, const DimensionAxes& axes, const Shape& shape) const;

  pjrt::CompileOptions compile_options() const;
  /** Runs a program that was compiled with compile_options(). */
  std::vector<ShardedArray> execute(const pjrt::Executable& program,
                                    const std::vector<const ShardedArray*>& arguments) const;

 private:
  std::shared_ptr<pjrt::Client> client_;
  Mesh mesh_;
};

}  // namespace gavel

#pragma once
#include <memory>
#include <vector>

#include "pjrt/client.h"
#include "shard/mesh.h"

namespace gavel {

/** An array that lies on the devices of a mesh: one buffer per device of this process, in the mesh's order. */
struct ShardedArray {
  std::vector<pjrt::Buffer> shards;
};

/** The part of a tensor that `shard` states: a view where it is one piece of memory, else a copy. */
HostTensor slice_tensor(const HostTensor& tensor, const Shard& shard);
/** Writes `part` into `whole` at the place that `shard` states. Throws Error when shape or dtype do not fit. */
void paste_tensor(HostTensor& whole, const Shard& shard, const HostTensor& part);

/** What the devices at `places` of the mesh hold of a tensor, in their order; equal parts share their memory. */
std::vector<HostTensor> parts_of(const HostTensor& tensor, const Mesh& mesh, const DimensionAxes& axes,
                                 const std::vector<int64_t>& places);

/** As many of a run's devices as the mesh has, in the order of their ids; brings arrays to those of this process and
 * back. Each process of a run makes the same calls in the same order, with the same whole arrays. */
class DeviceMesh {
 public:
  /** Throws Error when there are fewer devices than the mesh has, or none of them is this process's. */
  DeviceMesh(std::shared_ptr<pjrt::Client> client, const Mesh& mesh);

  const Mesh& mesh() const { return mesh_; }
  pjrt::Client& client() const { return *client_; }
  size_t size() const { return static_cast<size_t>(mesh_.devices()); }
  /** Places in the mesh of this process's devices, in order. */
  const std::vector<int64_t>& own_places() const { return places_; }
  /** Whether all devices are this process's. */
  bool is_whole() const { return places_.size() == size(); }
  /** To this process's device number `own`, an index into own_places(). */
  pjrt::Buffer to_device(const HostTensor& part, size_t own, pjrt::HostMemory use) const {
    return client_->to_device(part, *devices_.at(own), use);
  }

  /** Copies to each device of this process its part of the tensor. */
  ShardedArray to_devices(const HostTensor& tensor, const DimensionAxes& axes,
                          pjrt::HostMemory use = pjrt::HostMemory::kCopy) const;
  ShardedArray to_devices(const HostTensor& tensor) const;  // whole on each
  /** Waits for the array and puts it together. `shape`: that of the whole array. Throws Error when a part of it is on
   * no device of this process. */
  HostTensor to_host(const ShardedArray& array, const DimensionAxes& axes, const Shape& shape) const;

  pjrt::CompileOptions compile_options() const;
  /** Starts a program that was compiled with compile_options(), and returns its outputs before it is done. */
  std::vector<ShardedArray> execute(const pjrt::Executable& program,
                                    const std::vector<const ShardedArray*>& arguments) const;

 private:
  std::shared_ptr<pjrt::Client> client_;
  Mesh mesh_;
  std::vector<int> ids_;                      // of all devices, in the mesh's order
  std::vector<int64_t> places_;               // of this process's devices
  std::vector<const pjrt::Device*> devices_;  // at places_
  mutable int launches_ = 0;
};

}  // namespace gavel

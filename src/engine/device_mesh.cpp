#include "engine/device_mesh.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "pjrt/platform_options.h"

namespace gavel {

namespace {

/** Calls copy(offset in the whole, offset in the part, bytes) for every piece of `shard` that is one run of
 * memory. */
void for_each_run(const Shape& whole, const Shard& shard, size_t element,
                  const std::function<void(size_t, size_t, size_t)>& copy) {
  // The last dimensions that the shard covers wholly belong to one run.
  size_t rank = whole.size(), split = rank;
  while (split > 0 && shard.shape[split - 1] == whole[split - 1]) --split;
  int64_t inner = 1;
  for (size_t d = split; d < rank; ++d) inner *= whole[d];
  if (split == 0) return copy(0, 0, static_cast<size_t>(inner) * element);
  int64_t run = shard.shape[split - 1] * inner;
  int64_t runs = num_elements(shard.shape) / std::max<int64_t>(1, run);
  for (int64_t i = 0; i < runs; ++i) {
    int64_t rest = i, at = shard.start[split - 1] * inner, stride = whole[split - 1] * inner;
    for (size_t d = split - 1; d-- > 0;) {
      at += (shard.start[d] + rest % shard.shape[d]) * stride;
      rest /= shard.shape[d];
      stride *= whole[d];
    }
    copy(static_cast<size_t>(at) * element, static_cast<size_t>(i * run) * element, static_cast<size_t>(run) * element);
  }
}

}  // namespace

HostTensor slice_tensor(const HostTensor& tensor, const Shard& shard) {
  if (shard.shape == tensor.shape()) return tensor;
  const auto* from = static_cast<const char*>(tensor.data());
  size_t element = byte_size(tensor.dtype()), runs = 0, first = 0;
  for_each_run(tensor.shape(), shard, element, [&](size_t at, size_t, size_t) {
    if (runs++ == 0) first = at;
  });
  if (runs == 1) return HostTensor(tensor.dtype(), shard.shape, from + first, std::make_shared<HostTensor>(tensor));
  HostTensor part(tensor.dtype(), shard.shape);
  auto* to = static_cast<char*>(part.mutable_data());
  for_each_run(tensor.shape(), shard, element,
               [&](size_t at, size_t in_part, size_t bytes) { std::memcpy(to + in_part, from + at, bytes); });
  return part;
}

void paste_tensor(HostTensor& whole, const Shard& shard, const HostTensor& part) {
  if (part.shape() != shard.shape || part.dtype() != whole.dtype())
    fail("paste_tensor: a part {} {} for the place of {} {}", dtype_name(part.dtype()), to_string(part.shape()),
         dtype_name(whole.dtype()), to_string(shard.shape));
  auto* to = static_cast<char*>(whole.mutable_data());
  const auto* from = static_cast<const char*>(part.data());
  for_each_run(whole.shape(), shard, byte_size(whole.dtype()),
               [&](size_t at, size_t in_part, size_t bytes) { std::memcpy(to + at, from + in_part, bytes); });
}

std::vector<HostTensor> parts_of(const HostTensor& tensor, const Mesh& mesh, const DimensionAxes& axes,
                                 const std::vector<int64_t>& places) {
  std::vector<Shard> shards;
  std::vector<HostTensor> parts;
  for (int64_t place : places) {
    Shard shard = shard_of(mesh, axes, tensor.shape(), place);
    auto found = std::find(shards.begin(), shards.end(), shard);
    parts.push_back(found == shards.end() ? slice_tensor(tensor, shard)
                                          : parts[static_cast<size_t>(found - shards.begin())]);
    shards.push_back(std::move(shard));
  }
  return parts;
}

DeviceMesh::DeviceMesh(std::shared_ptr<pjrt::Client> client, const Mesh& mesh)
    : client_(std::move(client)), mesh_(mesh) {
  const std::vector<pjrt::Device>& all = client_->global_devices();
  if (all.size() < size())
    fail("mesh: {} is {} devices, {} has {}", to_string(mesh_), size(), client_->platform_name(), all.size());
  for (size_t place = 0; place < size(); ++place) {
    ids_.push_back(all[place].id);
    if (!client_->is_own(all[place])) continue;
    places_.push_back(static_cast<int64_t>(place));
    devices_.push_back(&all[place]);
  }
  if (places_.empty())
    fail("mesh: {} leaves process {} of the run without a device; set one axis to -1 to use all {}", to_string(mesh_),
         client_->process_index(), all.size());
}

ShardedArray DeviceMesh::to_devices(const HostTensor& tensor, const DimensionAxes& axes, pjrt::HostMemory use) const {
  ShardedArray array;
  std::vector<HostTensor> parts = parts_of(tensor, mesh_, axes, places_);
  for (size_t own = 0; own < parts.size(); ++own) array.shards.push_back(to_device(parts[own], own, use));
  return array;
}

ShardedArray DeviceMesh::to_devices(const HostTensor& tensor) const {
  return to_devices(tensor, DimensionAxes(tensor.shape().size()));
}

HostTensor DeviceMesh::to_host(const ShardedArray& array, const DimensionAxes& axes, const Shape& shape) const {
  if (shard_of(mesh_, axes, shape, 0).shape == shape) return array.shards.at(0).to_host();
  HostTensor whole(array.shards.at(0).dtype(), shape);
  std::vector<Shard> done;
  int64_t elements = 0;
  for (size_t own = 0; own < places_.size(); ++own) {
    Shard shard = shard_of(mesh_, axes, shape, places_[own]);
    if (std::find(done.begin(), done.end(), shard) != done.end()) continue;
    paste_tensor(whole, shard, array.shards.at(own).to_host());
    elements += num_elements(shard.shape);
    done.push_back(std::move(shard));
  }
  if (elements != num_elements(shape))
    fail("mesh {}: an array {} lies in part with other processes; it must be gathered on the devices first",
         to_string(mesh_), to_string(shape));
  return whole;
}

pjrt::CompileOptions DeviceMesh::compile_options() const {
  pjrt::CompileOptions options;
  if (size() > 1) {
    options.num_partitions = mesh_.devices();
    options.device_ids.assign(ids_.begin(), ids_.end());
  }
  pjrt::add_platform_options(options, *client_);
  return options;
}

std::vector<ShardedArray> DeviceMesh::execute(const pjrt::Executable& program,
                                              const std::vector<const ShardedArray*>& arguments) const {
  // The program's order of devices is the plugin's business; ours is the mesh's.
  std::vector<size_t> place;
  for (int id : program.device_ids())
    for (size_t own = 0; own < devices_.size(); ++own)
      if (devices_[own]->id == id) place.push_back(own);
  if (place.size() != devices_.size()) fail("{}: compiled for other devices than the mesh's", program.name());
  std::vector<pjrt::Executable::Arguments> lists;
  for (size_t device : place) {
    pjrt::Executable::Arguments list;
    for (const ShardedArray* array : arguments) list.push_back(&array->shards.at(device));
    lists.push_back(std::move(list));
  }
  pjrt::ExecuteOptions options;
  // By their numbers the devices of several processes know that they run the same program.
  if (!is_whole()) options.launch_id = ++launches_;
  auto outputs = program.execute(lists, options);
  std::vector<ShardedArray> arrays(program.num_outputs());
  for (ShardedArray& array : arrays) array.shards.resize(devices_.size());
  for (size_t i = 0; i < place.size(); ++i)
    for (size_t k = 0; k < arrays.size(); ++k) arrays[k].shards[place[i]] = std::move(outputs[i][k]);
  return arrays;
}

}  // namespace gavel

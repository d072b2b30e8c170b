#include "shard/mesh.h"

#include <charconv>

namespace gavel {

const std::vector<std::string>& mesh_axes() {
  static const std::vector<std::string> names = {"dp", "fsdp", "mp"};
  return names;
}

int64_t Mesh::size(std::string_view axis) const {
  if (axis == "dp") return dp;
  if (axis == "fsdp") return fsdp;
  if (axis == "mp") return mp;
  fail("mesh: there is no axis '{}', only dp, fsdp and mp", axis);
}

std::vector<std::string> Mesh::batch_axes() const {
  std::vector<std::string> axes;
  for (const char* axis : {"dp", "fsdp"})
    if (size(axis) > 1) axes.emplace_back(axis);
  return axes;
}

int64_t Mesh::parts(const std::vector<std::string>& axes) const {
  int64_t product = 1;
  for (const std::string& axis : axes) product *= size(axis);
  return product;
}

int64_t Mesh::coordinate(int64_t device, std::string_view axis) const {
  if (axis == "mp") return device % mp;
  if (axis == "fsdp") return device / mp % fsdp;
  if (axis == "dp") return device / (mp * fsdp) % dp;
  fail("mesh: there is no axis '{}', only dp, fsdp and mp", axis);
}

std::string to_string(const Mesh& mesh) {
  return fmt::format("{}x{}x{}", mesh.dp, mesh.fsdp, mesh.mp);
}

Mesh parse_mesh(std::string_view text, std::string_view name) {
  Mesh mesh;
  int64_t* sizes[] = {&mesh.dp, &mesh.fsdp, &mesh.mp};
  const char *at = text.data(), *end = at + text.size();
  for (size_t i = 0; i < 3; ++i) {
    auto [next, error] = std::from_chars(at, end, *sizes[i]);
    bool separated = i == 2 ? next == end : next != end && (*next == 'x' || *next == ',');
    if (error != std::errc() || !separated)
      fail("{}: expected three sizes such as 1x8x1 (dp, fsdp, mp), found '{}'", name, text);
    at = next + 1;
  }
  return mesh;
}

Mesh resolve_mesh(const Mesh& wanted, int64_t devices) {
  if (devices < 1) fail("mesh: {} devices", devices);
  Mesh mesh = wanted;
  int64_t* open = nullptr;
  int64_t product = 1;
  for (int64_t* size : {&mesh.dp, &mesh.fsdp, &mesh.mp}) {
    if (*size == -1) {
      if (open != nullptr)
        fail("mesh: {}: only one axis may be -1 (all devices that the others leave)", to_string(wanted));
      open = size;
      continue;
    }
    if (*size < 1) fail("mesh: {}: an axis must be -1 or at least 1", to_string(wanted));
    product *= *size;
  }
  if (open != nullptr) {
    if (devices % product != 0)
      fail(
          "mesh: {}: {} devices can't be shared out over {} others; make the product of the other axes a "
          "divisor of {}",
          to_string(wanted), devices, product, devices);
    *open = devices / product;
  } else if (product != devices) {
    fail("mesh: {} is {} devices, there are {}; set one axis to -1 to use all", to_string(wanted), product, devices);
  }
  return mesh;
}

Shard shard_of(const Mesh& mesh, const DimensionAxes& axes, const Shape& shape, int64_t device) {
  if (axes.size() != shape.size())
    fail("mesh: {} names {} dimensions, the array has shape {}", to_string(axes), axes.size(), to_string(shape));
  Shard shard;
  for (size_t d = 0; d < shape.size(); ++d) {
    int64_t parts = mesh.parts(axes[d]), index = 0;
    if (shape[d] % parts != 0)
      fail("mesh: {} does not divide dimension {} of shape {} ({} parts)", to_string(axes), d, to_string(shape), parts);
    for (const std::string& axis : axes[d]) index = index * mesh.size(axis) + mesh.coordinate(device, axis);
    shard.shape.push_back(shape[d] / parts);
    shard.start.push_back(index * shard.shape.back());
  }
  return shard;
}

}  // namespace gavel

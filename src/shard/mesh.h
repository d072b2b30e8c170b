#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/axes.h"
#include "base/tensor.h"

namespace gavel {

/** Devices as a box of dp x fsdp x mp, numbered row by row (mp fastest).
 *
 * dp: copies of the weights, each with its part of the batch. fsdp: weights are split and gathered when they
 * are used, the batch is split too (Zhao et al., "PyTorch FSDP", 2023). mp: the heads and the intermediate
 * size of each layer are split (Shoeybi et al., "Megatron-LM", 2019). */
struct Mesh {
  int64_t dp = 1, fsdp = 1, mp = 1;
  bool operator==(const Mesh&) const = default;

  int64_t devices() const { return dp * fsdp * mp; }
  /** Parts that a batch is split into. */
  int64_t batch_parts() const { return dp * fsdp; }
  /** Size of the axis "dp", "fsdp" or "mp"; throws Error for other names. */
  int64_t size(std::string_view axis) const;
  /** Product of the axes' sizes. */
  int64_t parts(const std::vector<std::string>& axes) const;
  /** Place of a device on an axis. */
  int64_t coordinate(int64_t device, std::string_view axis) const;
};

/** "1x8x1" */
std::string to_string(const Mesh& mesh);
/** "1x8x1" or "1,8,1", dp first; one of them may be -1. Throws Error for anything else; `name` stands in it.
 */
Mesh parse_mesh(std::string_view text, std::string_view name);

const std::vector<std::string>& mesh_axes();  // dp, fsdp, mp

/** The axis of -1 becomes what the others leave of `devices`. Throws Error when more than one is -1, one is 0
 * or below -1, or the product does not fit the number of devices. */
Mesh resolve_mesh(const Mesh& wanted, int64_t devices);

/** The part of an array that one device holds. */
struct Shard {
  std::vector<int64_t> start;
  Shape shape;
  bool operator==(const Shard&) const = default;
};

/** Throws Error when an axis does not divide its dimension, or `axes` does not fit the shape. */
Shard shard_of(const Mesh& mesh, const DimensionAxes& axes, const Shape& shape, int64_t device);

}  // namespace gavel

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
  /** The axes that a batch is split over: dp and fsdp, without those of size 1. */
  std::vector<std::string> batch_axes() const;
  /** Size of the axis "dp", "fsdp" or "mp"; throws Error for other names. */
  int64_t size(std::string_view axis) const;
  /** Product of these axes' sizes. */
  int64_t parts(const std::vector<std::string>& axes) const;
  /** Place of a device on an axis. */
  int64_t coordinate(int64_t device, std::string_view axis) const;
};

/** "1x8x1" */
std::string to_string(const Mesh& mesh);
/** Reads "1x8x1" or "1,8,1" (dp, fsdp, mp); sizes are checked by resolve_mesh. Throws Error for other texts, in which `name`
 * says where the text comes from. */
Mesh parse_mesh(std::string_view text, std::string_view name);

const std::vector<std::string>& mesh_axes();  // dp, fsdp, mp

/** The mesh with its sizes made definite: an axis of size -1 gets what the others leave of `devices`. Throws Error when more
 * than one is -1, one is 0 or below -1, or the product is not the number of devices. */
Mesh resolve_mesh(const Mesh& wanted, int64_t devices);

/** The part of an array that one device holds: where it begins in each dimension, and its shape. */
struct Shard {
  std::vector<int64_t> start;
  Shape shape;
  bool operator==(const Shard&) const = default;
};

/** What `device` holds of an array of this shape that is split over `axes`. Throws Error when the axes of a dimension do not
 * divide it, or `axes` has not an entry per dimension. */
Shard shard_of(const Mesh& mesh, const DimensionAxes& axes, const Shape& shape, int64_t device);

}  // namespace gavel

#pragma once
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/partition.h"
#include "shard/rules.h"
#include "spec/decoder_spec.h"

namespace gavel {

/** How a model lies on a mesh: where its parameters are split, and the sharding constraints (graph/partition.h) that say so
 * of the values in between. On one device (the default) these are left out and values returned as they are. */
class Placement {
 public:
  Placement() = default;
  /** The mesh is resolved (no -1). Heads are split over mp only where it divides the numbers of query heads and of
   * key-value heads: else no parameter with heads is split over mp, whatever the rules say. */
  Placement(const Mesh& mesh, std::vector<PartitionRule> rules, const DecoderSpec& spec);

  const Mesh& mesh() const { return mesh_; }
  bool split() const { return mesh_.devices() > 1; }
  bool splits_heads() const { return splits_heads_; }

  /** How a parameter is split. `stacked`: it is the parameter of all layers, with a further first dimension, which stays
   * whole. Axes that had to be dropped are added to `notes`, as partition() in shard/rules.h does. */
  DimensionAxes parameter(const std::string& name, const TensorSpec& tensor, bool stacked,
                          std::vector<std::string>& notes) const;
  DimensionAxes parameter(const std::string& name, const TensorSpec& tensor, bool stacked) const;
  /** The axes of what has a row per sequence or token: the first of `rank` dimensions is split over dp and fsdp. */
  DimensionAxes batch(int64_t rank) const;

  /** x [T, …]: tokens over dp and fsdp. */
  Value tokens(const Value& x) const;
  /** Rows just looked up in the embedding table, [T, hidden]: first split like the table's rows, so that it
   * is the rows that move between devices and never the table, then as tokens(). */
  Value embedded(const Value& x, const TensorSpec& table) const;
  /** x [B, S, H, D]: sequences over dp and fsdp, heads over mp. */
  Value heads(const Value& x) const;
  /** A layer's weight as it is used: whole over dp and fsdp, split over mp as its rule says. */
  Value layer_weight(const Value& weight, const TensorSpec& tensor) const;
  /** Whole on each device, for values of few rows. */
  Value whole(const Value& x) const;

 private:
  Mesh mesh_;
  std::vector<PartitionRule> rules_;
  bool splits_heads_ = true;
};

}  // namespace gavel

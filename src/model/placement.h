#pragma once
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/partition.h"
#include "io/llama_config.h"
#include "shard/rules.h"

namespace gavel {

struct ModelOptions;

/** How a model lies on a mesh: where its parameters are split, and the constraints that keep its values in
 * place. On one device (the default) every function returns its argument. */
class Placement {
 public:
  Placement() = default;
  /** The mesh is resolved (no -1). Heads are split over mp only where it divides both head counts: else q, k,
   * v and o keep no mp axis, whatever the rules say. */
  Placement(const Mesh& mesh, std::vector<PartitionRule> rules, const LlamaConfig& config)
      : mesh_(mesh),
        rules_(std::move(rules)),
        splits_heads_(config.num_attention_heads % mesh.mp == 0 &&
                      config.num_key_value_heads % mesh.mp == 0) {}

  const Mesh& mesh() const { return mesh_; }
  bool split() const { return mesh_.devices() > 1; }
  bool splits_heads() const { return splits_heads_; }

  /** Of a program's argument, with the stack's dimension whole when `stacked`. What had to be dropped is
   * added to `notes`. */
  DimensionAxes parameter(const std::string& name, const Shape& shape, bool stacked,
                          std::vector<std::string>& notes) const;
  DimensionAxes parameter(const std::string& name, const Shape& shape, bool stacked) const;
  /** The first dimension over dp and fsdp: what has a row per sequence or token. */
  DimensionAxes batch(int64_t rank) const;

  /** x [T, …]: tokens over dp and fsdp. */
  Value tokens(const Value& x) const;
  /** Rows just looked up in the embedding table, [T, hidden]: first split like the table's rows, so that it
   * is the rows that move between devices and never the table, then as tokens(). `name` is the table's. */
  Value embedded(const Value& x, const std::string& name, const Shape& table) const;
  /** x [B, S, H, D]: sequences over dp and fsdp, heads over mp. */
  Value heads(const Value& x) const;
  /** A layer's weight as it is used: gathered over dp and fsdp, split over mp as its rule says. */
  Value layer_weight(const Value& weight, const std::string& name) const;
  /** Values of few rows, whole on each device. */
  Value whole(const Value& x) const;

 private:
  Mesh mesh_;
  std::vector<PartitionRule> rules_;
  bool splits_heads_ = true;
};

/** One line per axis that a parameter of the model could not be split over. */
std::vector<std::string> placement_notes(const ModelOptions& options);

/** How a kernel of cpu_kernels.h is cut: tokens over dp and fsdp, heads and output features over mp, each
 * where the number of devices divides it. A target that is not known runs whole on every device. */
KernelPartition partition_kernel(const Mesh& mesh, const std::string& target,
                                 const std::vector<TensorType>& operands,
                                 const std::vector<TensorType>& results);

}  // namespace gavel

#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "shard/mesh.h"
#include "spec/tensor_spec.h"

namespace gavel {

/** How parameters are split whose name matches a pattern. */
struct PartitionRule {
  /** Regular expression (ECMAScript), looked for anywhere in the name: anchor it with $ where it must be the
   * end. */
  std::string pattern;
  /** For the dimensions of one layer's parameter; last ones that are missing stay whole. */
  DimensionAxes axes;
};

/** How a tensor is split where no rule says otherwise, by what its dimensions mean: the vocabulary, heads and
 * intermediate features over mp, the hidden features of matrices over fsdp; so embeddings, q, k, v, gate and up are
 * (mp, fsdp), o and down (fsdp, mp). Norms, adapters and the head are whole on each device. */
DimensionAxes default_axes(const TensorSpec& tensor);

/** Reads a YAML map from pattern to a list with an entry per dimension: an axis, a list of axes, or null:
 *
 *     mlp\..*weight$: [mp, fsdp]
 *     lora_A$: [null, [dp, fsdp]]
 *
 * It need only say what differs from default_axes. Throws Error naming the line. */
std::vector<PartitionRule> read_rules(const std::filesystem::path& path);
/** The same for a text; `name` stands for the file in messages. */
std::vector<PartitionRule> parse_rules(std::string_view text, std::string_view name);

/** How the parameter `name` is split: by the first rule that matches, else by default_axes. `tensor` is that of one layer,
 * without the first dimension of parameters that hold all layers. Axes of size 1 are left out, and so is `without` (an
 * axis, or "" for none). An axis that does not divide its dimension is dropped there, and `notes` gets a line about it,
 * once for all layers (their numbers appear as "*"). Throws Error when the rule has more dimensions than the parameter. */
DimensionAxes partition(const Mesh& mesh, const std::vector<PartitionRule>& rules, const std::string& name,
                        const TensorSpec& tensor, std::string_view without, std::vector<std::string>& notes);

/** `axes` without those of size 1, and without the last ones until the product of the others' sizes divides the dimension.
 */
std::vector<std::string> dividing_axes(const Mesh& mesh, std::vector<std::string> axes, int64_t dimension);

}  // namespace gavel

#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "shard/mesh.h"

namespace gavel {

/** "Parameters whose name matches are split so." */
struct PartitionRule {
  /** Regular expression (ECMAScript), looked for anywhere in the name: anchor it with $ where it must be the
   * end. */
  std::string pattern;
  /** Of the parameter of one layer; missing last dimensions are whole. */
  DimensionAxes axes;
};

/** For Llama, on weights [out, in] with Hugging Face's names: embeddings, q, k, v, gate and up (mp, fsdp), o
 * and down (fsdp, mp), their biases like the weights' first dimension over mp; norms, adapters and head whole
 * on each device. */
std::vector<PartitionRule> default_rules();

/** A YAML map from pattern to a list with an entry per dimension: an axis, a list of axes, or null:
 *
 *     embed_tokens\.weight$: [mp, fsdp]
 *     lora_A$: [null, [dp, fsdp]]
 *
 * Its rules come before the built-in ones, so that a file need only say what differs. Throws Error naming the
 * line. */
std::vector<PartitionRule> read_rules(const std::filesystem::path& path);
/** The same for a text; `name` stands for the file in messages. */
std::vector<PartitionRule> parse_rules(std::string_view text, std::string_view name);

/** How the parameter `name` is split: by the first rule that matches; none: whole on each device. `shape` is
 * of one layer (without the stack's dimension). Axes of size 1 are left out, and `without` (an axis, or "")
 * too. An axis that does not divide its dimension is dropped there, with a line added to `notes` unless it is
 * there already (layers' numbers appear as "*"). Throws Error when the rule has more dimensions than the
 * parameter. */
DimensionAxes partition(const Mesh& mesh, const std::vector<PartitionRule>& rules, const std::string& name,
                        const Shape& shape, std::string_view without, std::vector<std::string>& notes);

/** `axes` without those of size 1 and, from the last on, those whose product does not divide the dimension.
 */
std::vector<std::string> dividing_axes(const Mesh& mesh, std::vector<std::string> axes, int64_t dimension);

}  // namespace gavel

#include "nn/placement.h"

#include <algorithm>

namespace gavel {

DimensionAxes Placement::parameter(const std::string& name, const TensorSpec& tensor, bool stacked,
                                   std::vector<std::string>& notes) const {
  bool whole_heads = !splits_heads_ && tensor.has_heads();
  DimensionAxes axes = partition(mesh_, rules_, name, tensor, whole_heads ? "mp" : "", notes);
  if (stacked) axes.insert(axes.begin(), std::vector<std::string>());
  return axes;
}

DimensionAxes Placement::parameter(const std::string& name, const TensorSpec& tensor, bool stacked) const {
  std::vector<std::string> ignored;
  return parameter(name, tensor, stacked, ignored);
}

Placement::Placement(const Mesh& mesh, std::vector<PartitionRule> rules, const DecoderSpec& spec)
    : mesh_(mesh), rules_(std::move(rules)) {
  for (const BlockSpec& block : spec.blocks)
    splits_heads_ = splits_heads_ && block.attention.num_attention_heads % mesh.mp == 0 &&
                    block.attention.num_key_value_heads % mesh.mp == 0;
}

DimensionAxes Placement::batch(int64_t rank) const {
  DimensionAxes axes(static_cast<size_t>(rank));
  axes[0] = mesh_.batch_axes();
  return axes;
}

Value Placement::tokens(const Value& x) const {
  return split() ? constrain(x, batch(x.rank())) : x;
}

Value Placement::embedded(const Value& x, const TensorSpec& table) const {
  if (!split()) return x;
  DimensionAxes axes = parameter(table.name, table, false);
  auto& features = axes[1];
  // An axis can split one dimension only: tokens keep those that the features leave.
  axes[0] = mesh_.batch_axes();
  std::erase_if(axes[0], [&](const std::string& axis) {
    return std::find(features.begin(), features.end(), axis) != features.end();
  });
  return tokens(constrain(x, axes));
}

Value Placement::heads(const Value& x) const {
  if (!split()) return x;
  DimensionAxes axes = batch(x.rank());
  if (splits_heads_ && mesh_.mp > 1) axes[2] = {"mp"};
  return constrain(x, axes);
}

Value Placement::layer_weight(const Value& weight, const TensorSpec& tensor) const {
  if (!split()) return weight;
  DimensionAxes axes = parameter(tensor.name, tensor, false);
  for (auto& dimension : axes) std::erase_if(dimension, [](const std::string& axis) { return axis != "mp"; });
  return constrain(weight, axes);
}

Value Placement::whole(const Value& x) const {
  return split() ? constrain(x, DimensionAxes(static_cast<size_t>(x.rank()))) : x;
}

}  // namespace gavel

#include "model/placement.h"

#include <algorithm>
#include <regex>

#include "model/llama.h"

namespace gavel {

namespace {

bool is_attention(const std::string& name) {
  static const std::regex pattern(R"((q|k|v|o)_proj\.(weight|bias)$)");
  return std::regex_search(name, pattern);
}

}  // namespace

DimensionAxes Placement::parameter(const std::string& name, const Shape& shape, bool stacked,
                                   std::vector<std::string>& notes) const {
  Shape one = stacked ? Shape(shape.begin() + 1, shape.end()) : shape;
  bool whole_heads = !splits_heads_ && is_attention(name);
  DimensionAxes axes = partition(mesh_, rules_, name, one, whole_heads ? "mp" : "", notes);
  if (stacked) axes.insert(axes.begin(), std::vector<std::string>());
  return axes;
}

DimensionAxes Placement::parameter(const std::string& name, const Shape& shape, bool stacked) const {
  std::vector<std::string> ignored;
  return parameter(name, shape, stacked, ignored);
}

DimensionAxes Placement::batch(int64_t rank) const {
  DimensionAxes axes(static_cast<size_t>(rank));
  for (const char* axis : {"dp", "fsdp"})
    if (mesh_.size(axis) > 1) axes[0].emplace_back(axis);
  return axes;
}

Value Placement::tokens(const Value& x) const {
  return split() ? constrain(x, batch(x.rank())) : x;
}

Value Placement::embedded(const Value& x, const std::string& name, const Shape& table) const {
  if (!split()) return x;
  DimensionAxes axes = parameter(name, table, false);
  auto& features = axes[1];
  axes[0].clear();
  // An axis can split one dimension only: tokens keep those that the features leave.
  if (mesh_.dp > 1 && std::find(features.begin(), features.end(), "dp") == features.end())
    axes[0].emplace_back("dp");
  if (mesh_.fsdp > 1 && std::find(features.begin(), features.end(), "fsdp") == features.end())
    axes[0].emplace_back("fsdp");
  return tokens(constrain(x, axes));
}

Value Placement::heads(const Value& x) const {
  if (!split()) return x;
  DimensionAxes axes = batch(x.rank());
  if (splits_heads_ && mesh_.mp > 1) axes[2] = {"mp"};
  return constrain(x, axes);
}

Value Placement::layer_weight(const Value& weight, const std::string& name) const {
  if (!split()) return weight;
  DimensionAxes axes = parameter(name, weight.shape(), false);
  for (auto& dimension : axes) std::erase_if(dimension, [](const std::string& axis) { return axis != "mp"; });
  return constrain(weight, axes);
}

Value Placement::whole(const Value& x) const {
  return split() ? constrain(x, DimensionAxes(static_cast<size_t>(x.rank()))) : x;
}

std::vector<std::string> placement_notes(const ModelOptions& options) {
  std::vector<std::string> notes;
  const Placement& placement = options.placement;
  if (!placement.split()) return notes;
  if (!placement.splits_heads())
    notes.push_back(fmt::format(
        "mesh {}: {} heads and {} key-value heads: attention is not split over mp, which must divide both",
        to_string(placement.mesh()), options.config.num_attention_heads, options.config.num_key_value_heads));
  for (const FrozenParameter& p : frozen_parameters(options))
    placement.parameter(p.name, p.shape, p.stacked(), notes);
  for (const TrainableParameter& p : trainable_parameters(options.config, options.lora, options.num_labels))
    placement.parameter(p.name, p.shape, p.stacked, notes);
  return notes;
}

namespace {

/** What each dimension of a kernel's arrays means, a letter per dimension: t tokens or sequences, h heads, f
 * features that can be worked on apart, . whole. '*' before a letter stands for as many whole dimensions as
 * there are. */
struct KernelShape {
  const char* target;
  std::vector<std::string> operands;  // those beyond the list are like the last
  std::vector<std::string> results;
  std::vector<bool> partial;  // sums over the tokens
};

const std::vector<KernelShape>& kernel_shapes() {
  static const std::vector<KernelShape> shapes = {
      {"gavel_linear", {"t*.", "*f.", "f", ""}, {"t*f"}, {false}},
      {"gavel_linear_dx", {"t*.", "*.f", ""}, {"t*f"}, {false}},
      {"gavel_linear_lora", {"t*.", "t*.", "*f.", "..", "f.", "f", ""}, {"t*f", "t*."}, {false, false}},
      {"gavel_linear_lora_grad",
       {"t*.", "t*f", "*.f", "t*.", ".f", "..", ""},
       {"t*f", ".f", ".."},
       {false, true, true}},
      {"gavel_linear_lora_grad_split",
       {"t*.", "t*f", "*.f", "t*.", ".f", "..", ""},
       {"t*f", "t*f", ".f", ".."},
       {false, false, true, true}},
      {"gavel_linear_lora_grad_weights",
       {"t*.", "t*f", "*.f", "t*.", ".f", "..", ""},
       {".f", ".."},
       {true, true}},
      {"gavel_attention", {"t.h.", "t.h.", "t.h.", "t.", "t.", "t."}, {"t.h.", "th."}, {false, false}},
      {"gavel_attention_grad",
       {"t.h.", "t.h.", "t.h.", "t.h.", "th.", "t.h.", "t.", "t.", "t."},
       {"t.h.", "t.h.", "t.h."},
       {false, false, false}},
      {"gavel_rms_norm", {"t*.", "."}, {"t*."}, {false}},
      {"gavel_add_rms_norm", {"t*.", "t*.", "."}, {"t*.", "t*."}, {false, false}},
      {"gavel_rms_norm_grad", {"t*.", ".", "t*.", "t*."}, {"t*."}, {false}},
      {"gavel_swiglu", {"t*f", "t*f"}, {"t*f"}, {false}},
      {"gavel_swiglu_grad", {"t*f", "t*f", "t*f"}, {"t*f", "t*f"}, {false, false}},
      {"gavel_rotary", {"t*h.", "t*.", "t*."}, {"t*h."}, {false}},
  };
  return shapes;
}

/** The letters of an array of this rank. */
std::string letters(const std::string& pattern, size_t rank) {
  std::string out;
  size_t fixed = pattern.size() - static_cast<size_t>(std::count(pattern.begin(), pattern.end(), '*'));
  for (char c : pattern) {
    if (c == '*')
      out.append(rank > fixed ? rank - fixed : 0, '.');
    else
      out += c;
  }
  return out;
}

}  // namespace

KernelPartition partition_kernel(const Mesh& mesh, const std::string& target,
                                 const std::vector<TensorType>& operands,
                                 const std::vector<TensorType>& results) {
  const KernelShape* known = nullptr;
  for (const KernelShape& shape : kernel_shapes())
    if (target == shape.target && results.size() == shape.results.size() &&
        operands.size() <= shape.operands.size())
      known = &shape;

  // A bias is optional and the layer's number is last: patterns of another rank than the operand mean
  // "whole".
  std::vector<std::string> in, out;
  for (size_t i = 0; i < operands.size(); ++i) {
    std::string found = known == nullptr ? "" : letters(known->operands[i], operands[i].shape.size());
    if (found.size() != operands[i].shape.size()) found.assign(operands[i].shape.size(), '.');
    in.push_back(found);
  }
  for (size_t i = 0; i < results.size(); ++i) {
    std::string found = known == nullptr ? "" : letters(known->results[i], results[i].shape.size());
    if (found.size() != results[i].shape.size()) found.assign(results[i].shape.size(), '.');
    out.push_back(found);
  }
  // A letter is split only where every dimension that has it divides; rotary tables without a batch stay
  // whole.
  if (target == "gavel_rotary" && operands.size() > 1 &&
      operands[1].shape.size() + 1 != operands[0].shape.size())
    for (size_t i = 1; i < operands.size(); ++i) in[i].assign(in[i].size(), '.');
  auto divides = [&](char letter, int64_t parts) {
    auto all = [&](const std::vector<TensorType>& types, const std::vector<std::string>& names) {
      for (size_t i = 0; i < types.size(); ++i)
        for (size_t d = 0; d < names[i].size(); ++d)
          if (names[i][d] == letter && types[i].shape[d] % parts != 0) return false;
      return true;
    };
    return all(operands, in) && all(results, out);
  };
  std::vector<std::string> batch;
  for (const char* axis : {"dp", "fsdp"})
    if (mesh.size(axis) > 1) batch.emplace_back(axis);
  if (!divides('t', mesh.batch_parts())) batch.clear();
  auto over_mp = [&](char letter) {
    return mesh.mp > 1 && divides(letter, mesh.mp) ? std::vector<std::string>{"mp"}
                                                   : std::vector<std::string>();
  };
  const std::vector<std::string> heads = over_mp('h'), features = over_mp('f');
  auto axes = [&](const std::string& names) {
    DimensionAxes found;
    for (char c : names)
      found.push_back(c == 't' ? batch : c == 'h' ? heads : c == 'f' ? features : std::vector<std::string>());
    return found;
  };
  KernelPartition plan;
  for (const std::string& names : in) plan.operands.push_back(axes(names));
  for (size_t i = 0; i < out.size(); ++i) {
    plan.results.push_back(axes(out[i]));
    plan.partial.push_back(known != nullptr && known->partial[i] ? batch : std::vector<std::string>());
  }
  return plan;
}

}  // namespace gavel

#include "shard/rules.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <regex>
#include <set>

#include "base/file.h"

namespace gavel {

namespace {

std::regex compile(const std::string& pattern, const std::string& place) {
  try {
    return std::regex(pattern);
  } catch (const std::regex_error& error) {
    fail("{}: '{}' is no regular expression: {}", place, pattern, error.what());
  }
}

std::vector<std::string> parse_axes(const YAML::Node& node, const std::string& place) {
  if (node.IsNull()) return {};
  std::vector<std::string> axes;
  if (node.IsScalar())
    axes = {node.as<std::string>()};
  else if (node.IsSequence())
    for (const auto& item : node) axes.push_back(item.IsScalar() ? item.as<std::string>() : "");
  else
    fail("{}: expected an axis, a list of axes or null", place);
  for (const std::string& axis : axes)
    if (std::find(mesh_axes().begin(), mesh_axes().end(), axis) == mesh_axes().end())
      fail("{}: '{}' is no axis; expected dp, fsdp or mp", place, axis);
  return axes;
}

/** "model.layers.3.x" → "model.layers.*.x", so that a note stands for all layers. */
std::string without_layer(const std::string& name) {
  static const std::regex number(R"(layers\.\d+\.)");
  return std::regex_replace(name, number, "layers.*.");
}

}  // namespace

DimensionAxes default_axes(const TensorSpec& tensor) {
  DimensionAxes axes(tensor.shape.size());
  switch (tensor.role) {
    case TensorRole::kNorm:
    case TensorRole::kAdapterA:
    case TensorRole::kAdapterB:
    case TensorRole::kAdapterMagnitude:
    case TensorRole::kHead:
    case TensorRole::kTie:
    case TensorRole::kAuxiliary:
      return axes;
    default:
      break;
  }
  for (size_t d = 0; d < axes.size(); ++d) switch (tensor.dimensions.at(d)) {
      case Dimension::kVocabulary:
      case Dimension::kQueryHeads:
      case Dimension::kKeyValueHeads:
      case Dimension::kIntermediate:
        axes[d] = {"mp"};
        break;
      case Dimension::kHidden:
        if (axes.size() > 1) axes[d] = {"fsdp"};
        break;
      default:
        break;
    }
  return axes;
}

std::vector<PartitionRule> parse_rules(std::string_view text, std::string_view name) {
  std::vector<PartitionRule> rules;
  YAML::Node root;
  try {
    root = YAML::Load(std::string(text));
  } catch (const YAML::Exception& error) {
    fail("{}: {}", name, error.what());
  }
  if (!root.IsMap()) fail("{}: expected a map from patterns to lists of axes, such as 'lora_A$: [null, fsdp]'", name);
  for (const auto& entry : root) {
    std::string place = fmt::format("{}:{}", name, entry.first.Mark().line + 1);
    if (!entry.first.IsScalar()) fail("{}: expected a pattern", place);
    PartitionRule rule{entry.first.as<std::string>(), {}};
    compile(rule.pattern, place);
    if (!entry.second.IsSequence() && !entry.second.IsNull())
      fail("{}: '{}': expected a list with an entry per dimension, such as [mp, fsdp]", place, rule.pattern);
    std::set<std::string> used;
    if (entry.second.IsSequence())
      for (const auto& dimension : entry.second) {
        rule.axes.push_back(parse_axes(dimension, place));
        for (const std::string& axis : rule.axes.back())
          if (!used.insert(axis).second) fail("{}: '{}': axis {} is used twice", place, rule.pattern, axis);
      }
    rules.push_back(std::move(rule));
  }
  return rules;
}

std::vector<PartitionRule> read_rules(const std::filesystem::path& path) {
  return parse_rules(read_text(path), path.string());
}

std::vector<std::string> dividing_axes(const Mesh& mesh, std::vector<std::string> axes, int64_t dimension) {
  std::erase_if(axes, [&](const std::string& axis) { return mesh.size(axis) == 1; });
  while (!axes.empty() && dimension % mesh.parts(axes) != 0) axes.pop_back();
  return axes;
}

DimensionAxes partition(const Mesh& mesh, const std::vector<PartitionRule>& rules, const std::string& name,
                        const TensorSpec& tensor, std::string_view without, std::vector<std::string>& notes) {
  const Shape& shape = tensor.shape;
  auto matches = [&](const PartitionRule& rule) {
    return std::regex_search(name, compile(rule.pattern, "mesh.rules"));
  };
  auto rule = std::find_if(rules.begin(), rules.end(), matches);
  if (rule != rules.end() && rule->axes.size() > shape.size())
    fail("mesh.rules: '{}' names {} dimensions, parameter {} has shape {}", rule->pattern, rule->axes.size(), name,
         to_string(shape));
  DimensionAxes asked = rule != rules.end() ? rule->axes : default_axes(tensor), axes(shape.size());
  for (size_t d = 0; d < asked.size(); ++d) {
    std::vector<std::string> wanted = asked[d];
    std::erase_if(wanted, [&](const std::string& axis) { return axis == without || mesh.size(axis) == 1; });
    axes[d] = dividing_axes(mesh, wanted, shape[d]);
    for (size_t i = axes[d].size(); i < wanted.size(); ++i) {
      std::string note = fmt::format("mesh {}: {} {}: dimension {} is not split over {}, which does not divide it",
                                     to_string(mesh), without_layer(name), to_string(shape), d, wanted[i]);
      if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(std::move(note));
    }
  }
  return axes;
}

}  // namespace gavel

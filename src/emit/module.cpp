#include "emit/module.h"

#include <fmt/ranges.h>

#include <map>
#include <set>

#include "emit/kernel_partition.h"
#include "graph/printer.h"

namespace gavel {

namespace {

void check_sharding(const ModuleSharding& sharding, const Graph& graph, const std::vector<Value>& outputs) {
  if (sharding.parameters.size() != graph.parameters().size() || sharding.outputs.size() != outputs.size())
    fail("emit_module: shardings for {} parameters and {} outputs, there are {} and {}", sharding.parameters.size(),
         sharding.outputs.size(), graph.parameters().size(), outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) shard_of(sharding.mesh, sharding.outputs[i], outputs[i].shape(), 0);
  for (size_t i = 0; i < graph.parameters().size(); ++i)
    shard_of(sharding.mesh, sharding.parameters[i], graph.parameters()[i].shape(), 0);
}

/** " {sdy.sharding = …, tf.aliasing_output = …}" or "". */
std::string attributes(const DimensionAxes* axes, const size_t* alias) {
  std::vector<std::string> parts;
  if (axes != nullptr) parts.push_back("sdy.sharding = #sdy.sharding" + sharding_text(*axes));
  if (alias != nullptr) parts.push_back(fmt::format("tf.aliasing_output = {} : i32", *alias));
  return parts.empty() ? "" : fmt::format(" {{{}}}", fmt::join(parts, ", "));
}

}  // namespace

std::string emit_module(const Graph& graph, const std::vector<Value>& outputs, const ModuleOptions& options) {
  std::map<size_t, size_t> aliases;
  std::set<size_t> taken;
  for (const Donation& donation : options.donations) {
    if (donation.parameter >= graph.parameters().size() || donation.output >= outputs.size())
      fail("emit_module: donation of parameter {} to output {}: there are {} and {}", donation.parameter,
           donation.output, graph.parameters().size(), outputs.size());
    const TensorType& from = graph.parameters()[donation.parameter].type();
    const TensorType& to = outputs[donation.output].type();
    if (from != to)
      fail("emit_module: parameter '{}' is {}, the output that takes its memory is {}",
           graph.parameter_name(donation.parameter), to_string(from), to_string(to));
    if (!taken.insert(donation.output).second || !aliases.emplace(donation.parameter, donation.output).second)
      fail("emit_module: parameter {} or output {} is donated twice", donation.parameter, donation.output);
  }

  const ModuleSharding* sharding = options.sharding ? &*options.sharding : nullptr;
  Printer printer;
  MeshForPrinter mesh;
  if (sharding != nullptr) {
    check_sharding(*sharding, graph, outputs);
    mesh = {mesh_axes(), [&](const std::vector<std::string>& axes) { return sharding->mesh.parts(axes); },
            [&](const KernelDimensions& dimensions, const std::vector<TensorType>& operands,
                const std::vector<TensorType>& results) {
              return partition_kernel(sharding->mesh, dimensions, operands, results);
            }};
    printer.set_mesh(&mesh);
  }
  std::vector<std::string> names, arguments, results_list;
  for (size_t i = 0; i < graph.parameters().size(); ++i) {
    names.push_back(fmt::format("%arg{}", i));
    auto alias = aliases.find(i);
    arguments.push_back(fmt::format("{}: {}{}", names.back(), to_string(graph.parameters()[i].type()),
                                    attributes(sharding != nullptr ? &sharding->parameters[i] : nullptr,
                                               alias != aliases.end() ? &alias->second : nullptr)));
  }
  std::vector<TensorType> types;
  for (size_t i = 0; i < outputs.size(); ++i) {
    types.push_back(outputs[i].type());
    results_list.push_back(to_string(types[i]) +
                           attributes(sharding != nullptr ? &sharding->outputs[i] : nullptr, nullptr));
  }
  printer.line("module @{} {{", options.name);
  printer.indent(1);
  if (sharding != nullptr)
    printer.line("sdy.mesh @mesh = <[\"dp\"={}, \"fsdp\"={}, \"mp\"={}]>", sharding->mesh.dp, sharding->mesh.fsdp,
                 sharding->mesh.mp);
  printer.line("func.func public @main({}) -> ({}) {{", fmt::join(arguments, ", "), fmt::join(results_list, ", "));
  printer.indent(1);
  std::vector<std::string> results = printer.print_nodes(graph, outputs, names);
  std::string list = type_list(types);
  printer.line("return {} : {}", fmt::join(results, ", "), list.substr(1, list.size() - 2));
  printer.indent(-1);
  printer.line("}}");
  printer.indent(-1);
  printer.line("}}");
  return printer.text();
}

}  // namespace gavel

#include "emit/module.h"

#include <fmt/ranges.h>

#include <map>
#include <set>

#include "graph/printer.h"

namespace gavel {

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

  Printer printer;
  std::vector<std::string> names, arguments;
  for (size_t i = 0; i < graph.parameters().size(); ++i) {
    names.push_back(fmt::format("%arg{}", i));
    auto alias = aliases.find(i);
    arguments.push_back(fmt::format(
        "{}: {}{}", names.back(), to_string(graph.parameters()[i].type()),
        alias == aliases.end() ? "" : fmt::format(" {{tf.aliasing_output = {} : i32}}", alias->second)));
  }
  std::vector<TensorType> types;
  for (const Value& output : outputs) types.push_back(output.type());
  printer.line("module @{} {{", options.name);
  printer.indent(1);
  printer.line("func.func public @main({}) -> {} {{", fmt::join(arguments, ", "), type_list(types));
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

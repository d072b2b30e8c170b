#include "graph/printer.h"

#include <fmt/ranges.h>

#include <cmath>

namespace gavel {

std::vector<std::string> Printer::print_nodes(const Graph& graph, std::span<const Value> outputs,
                                              const std::vector<std::string>& arguments) {
  auto used = graph.used_outputs(outputs);
  std::vector<std::vector<std::string>> names(static_cast<size_t>(graph.size()));
  for (size_t i = 0; i < graph.parameters().size(); ++i)
    names[static_cast<size_t>(graph.parameters()[i].node())] = {arguments[i]};
  auto name_of = [&](const Value& v) { return names[static_cast<size_t>(v.node())][static_cast<size_t>(v.index())]; };
  for (int32_t id = 0; id < graph.size(); ++id) {
    auto at = static_cast<size_t>(id);
    bool any = false;
    for (bool output : used[at]) any = any || output;
    if (!any || !names[at].empty()) continue;
    const Node& node = graph.node(id);
    std::vector<std::string> inputs;
    for (const Value& input : node.inputs) inputs.push_back(name_of(input));
    names[at] = node.op->print(*this, {node, std::move(inputs), used[at]});
  }
  std::vector<std::string> results;
  for (const Value& output : outputs) results.push_back(name_of(output));
  return results;
}

std::string Printer::simple(std::string_view op, const std::vector<std::string>& inputs, const TensorType& type) {
  std::string name = fresh();
  line("{} = stablehlo.{} {} : {}", name, op, fmt::join(inputs, ", "), to_string(type));
  return name;
}

std::string literal(DType dtype, double value) {
  if (dtype == DType::kBool) return value != 0 ? "true" : "false";
  if (!is_float(dtype)) return fmt::format("{}", static_cast<int64_t>(value));
  if (!std::isfinite(value)) {
    bool negative = std::signbit(value);
    bool infinite = std::isinf(value);
    switch (dtype) {
      case DType::kF64:
        return infinite ? (negative ? "0xFFF0000000000000" : "0x7FF0000000000000") : "0x7FF8000000000000";
      case DType::kF32:
        return infinite ? (negative ? "0xFF800000" : "0x7F800000") : "0x7FC00000";
      case DType::kBF16:
        return infinite ? (negative ? "0xFF80" : "0x7F80") : "0x7FC0";
      default:
        return infinite ? (negative ? "0xFC00" : "0x7C00") : "0x7E00";
    }
  }
  return dtype == DType::kF64 ? fmt::format("{:.17e}", value) : fmt::format("{:.9e}", value);
}

std::string int_list(const std::vector<int64_t>& values) {
  return fmt::format("[{}]", fmt::join(values, ", "));
}

std::string int_array(const std::vector<int64_t>& values) {
  return values.empty() ? "array<i64>" : fmt::format("array<i64: {}>", fmt::join(values, ", "));
}

std::string type_list(const std::vector<TensorType>& types) {
  std::string out = "(";
  for (size_t i = 0; i < types.size(); ++i) out += (i == 0 ? "" : ", ") + to_string(types[i]);
  return out + ")";
}

}  // namespace gavel

#pragma once
#include <fmt/format.h>

#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/partition.h"

namespace gavel {

/** Writes nodes as StableHLO lines. Names are numbers given in order, so the same graph always gives the same
 * text. */
class Printer {
 public:
  /** A new value name: "%0", "%1", … */
  std::string fresh() { return fmt::format("%{}", next_++); }

  /** Adds a line of text. */
  template <class... Args>
  void line(fmt::format_string<Args...> format, Args&&... args) {
    text_.append(static_cast<size_t>(indent_) * 2, ' ');
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    text_ += '\n';
  }
  /** Moves the lines that follow to the right, or back, by so many steps of two spaces. */
  void indent(int by) { indent_ += by; }

  /** Prints the nodes that `outputs` need; `arguments` are the names of the graph's parameters. Returns the
   * names of the outputs. */
  std::vector<std::string> print_nodes(const Graph& graph, std::span<const Value> outputs,
                                       const std::vector<std::string>& arguments);

  /** Adds a line "%x = stablehlo.op %a, %b : T", the form of most ops, and returns the name of its result. */
  std::string simple(std::string_view op, const std::vector<std::string>& inputs, const TensorType& type);

  const std::string& text() const { return text_; }

  /** The mesh that the program is for; null on one device. */
  const MeshForPrinter* mesh() const { return mesh_; }
  void set_mesh(const MeshForPrinter* mesh) { mesh_ = mesh; }

 private:
  std::string text_;
  int indent_ = 0;
  int64_t next_ = 0;
  const MeshForPrinter* mesh_ = nullptr;
};

/** A scalar as MLIR writes it in dense<…>: exact for the dtype, infinities and NaN as hexadecimal bits. */
std::string literal(DType dtype, double value);

/** "[1, 2]" */
std::string int_list(const std::vector<int64_t>& values);
/** "array<i64: 1, 2>", or "array<i64>" when empty. */
std::string int_array(const std::vector<int64_t>& values);
/** "(tensor<…>, tensor<…>)" */
std::string type_list(const std::vector<TensorType>& types);

}  // namespace gavel

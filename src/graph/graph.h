#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.h"

namespace gavel {

/** Element type and dimensions of a value in the graph. */
struct TensorType {
  DType dtype = DType::kF32;
  Shape shape;
  bool operator==(const TensorType&) const = default;
};

/** As StableHLO writes it: "tensor<2x3xf32>". */
std::string to_string(const TensorType& type);

class Graph;
class Op;
class Printer;

/** One output of one node; cheap to copy. A default-constructed Value is empty ("none") and false. */
class Value {
 public:
  Value() = default;
  Value(Graph* graph, int32_t node, int32_t index) : graph_(graph), node_(node), index_(index) {}
  explicit operator bool() const { return graph_ != nullptr; }
  bool operator==(const Value&) const = default;

  Graph& graph() const { return *graph_; }
  int32_t node() const { return node_; }
  int32_t index() const { return index_; }
  const TensorType& type() const;
  const Shape& shape() const { return type().shape; }
  DType dtype() const { return type().dtype; }
  int64_t rank() const { return static_cast<int64_t>(shape().size()); }
  /** Dimension i; negative i counts from the end. */
  int64_t dim(int64_t i) const;

 private:
  Graph* graph_ = nullptr;
  int32_t node_ = -1;
  int32_t index_ = 0;
};

/** One application of an op. */
struct Node {
  std::shared_ptr<const Op> op;
  std::vector<Value> inputs;
  std::vector<TensorType> outputs;
};

/** What the gradient rule of an op is given: a node, and the gradients that reach its outputs. The rule adds nodes to the
 * graph. */
struct GradientContext {
  Graph& graph;
  std::span<const Value> inputs;
  std::span<const Value> outputs;
  /** One per output; none where nothing flows back. At least one is there. */
  std::span<const Value> output_gradients;
  /** One per input: whether its gradient is wanted. Rules may leave the others none. */
  std::vector<bool> needed;
};

/** Names and types an op prints with. */
struct PrintContext {
  const Node& node;
  std::vector<std::string> inputs;
  /** Which outputs anything reads; an op may leave out the others. */
  std::vector<bool> used;
};

/** Floating-point operations of matrix products (Op::flops) by op, those of kernels by target. */
using FlopCount = std::map<std::string, double, std::less<>>;
double total(const FlopCount& count);

/** An operation: its text and its gradient rule in one place. Immutable, shared between nodes and graphs.
 * The types of its outputs are worked out by the function that builds the node (those of ops.h, for example). */
class Op {
 public:
  virtual ~Op() = default;
  virtual std::string_view name() const = 0;
  /** Gradients of the inputs, in order; none for inputs without one. Throws Error for an op that has no rule.
   */
  virtual std::vector<Value> gradient(const GradientContext& context) const;
  /** Writes the op's lines and returns the names of its outputs ("" for one left out). */
  virtual std::vector<std::string> print(Printer& printer, const PrintContext& context) const = 0;
  /** Floating-point operations of the matrix products that these outputs need, a multiplication and an addition being two.
   * All else counts nothing, as is the custom where speeds are compared. */
  virtual double flops(const Node& node, const std::vector<bool>& used) const;
  /** Adds these to `count` under the op's name, or for an op made of others under their names. */
  virtual void count_flops(const Node& node, const std::vector<bool>& used, FlopCount& count) const;
};

/** Nodes in the order they were made, which is an order of execution. */
class Graph {
 public:
  Graph() = default;
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /** A new argument; they are numbered in the order of the calls. */
  Value parameter(DType dtype, Shape shape, std::string name);
  /** Adds a node whose output types are already known. Throws when an input is empty or of another graph. */
  std::vector<Value> add(std::shared_ptr<const Op> op, std::vector<Value> inputs, std::vector<TensorType> outputs);

  const Node& node(int32_t id) const { return nodes_[static_cast<size_t>(id)]; }
  int32_t size() const { return static_cast<int32_t>(nodes_.size()); }
  const std::vector<Value>& parameters() const { return parameters_; }
  const std::string& parameter_name(size_t index) const { return parameter_names_[index]; }

  /** Copies the nodes of `body` that its `outputs` need into this graph, with `arguments` in place of its
   * parameters (one for each, same types). Returns the outputs here. */
  std::vector<Value> inline_body(const Graph& body, std::span<const Value> outputs, std::span<const Value> arguments);

  /** For every node, which of its outputs `roots` need, directly or not. */
  std::vector<std::vector<bool>> used_outputs(std::span<const Value> roots) const;

  /** Op::count_flops of every node that `roots` need. */
  FlopCount count_flops(std::span<const Value> roots) const;
  /** The sum of count_flops. */
  double flops(std::span<const Value> roots) const;

 private:
  std::vector<Node> nodes_;
  std::vector<Value> parameters_;
  std::vector<std::string> parameter_names_;
};

/** The number of the parameter that `value` is, or -1 for other values. */
int64_t parameter_index(const Value& value);

}  // namespace gavel

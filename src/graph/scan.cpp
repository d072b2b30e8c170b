#include "graph/scan.h"

#include <fmt/ranges.h>

#include "graph/gradients.h"
#include "graph/kept.h"
#include "graph/ops.h"
#include "graph/printer.h"

namespace gavel {

namespace {

struct Body {
  Graph graph;  // parameters: index, carries, slices, constants
  std::vector<Value> carries;
  std::vector<Value> stacked;
  std::vector<Value> kept;  // what keep() marks

  /** All that the body gives. */
  std::vector<Value> results() const {
    std::vector<Value> all = carries;
    all.insert(all.end(), stacked.begin(), stacked.end());
    return all;
  }
};

Shape with_length(int64_t length, Shape shape) {
  shape.insert(shape.begin(), length);
  return shape;
}

/** The parameters of a body's graph, for values of these types: the index, the carries, a row of each stacked input, the
 * constants. */
ScanInput declare_inputs(Graph& graph, const std::vector<Value>& carries, const std::vector<Value>& stacked,
                         const std::vector<Value>& constants) {
  ScanInput input{graph, {}, {}, {}, {}};
  input.index = graph.parameter(DType::kI32, {}, "index");
  for (const Value& value : carries) input.carries.push_back(graph.parameter(value.dtype(), value.shape(), "carry"));
  for (const Value& value : stacked)
    input.slices.push_back(graph.parameter(value.dtype(), {value.shape().begin() + 1, value.shape().end()}, "slice"));
  for (const Value& value : constants)
    input.constants.push_back(graph.parameter(value.dtype(), value.shape(), "constant"));
  return input;
}

/** Outputs: final carries, stacked results, the carries that entered each iteration, stacked, and what keep() marks, stacked;
 * the last two are there for the gradient and left out of the text when nothing reads them. */
class ScanOp : public Op {
 public:
  ScanOp(std::shared_ptr<const Body> body, int64_t length, bool reverse, size_t carries, size_t slices)
      : body_(std::move(body)), length_(length), reverse_(reverse), carries_(carries), slices_(slices) {}

  std::string_view name() const override { return "scan"; }
  std::vector<Value> gradient(const GradientContext& context) const override;
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override;

  double flops(const Node& node, const std::vector<bool>& used) const override {
    FlopCount count;
    count_flops(node, used, count);
    return total(count);
  }
  double kept_bytes(const Node& node, const std::vector<bool>& used) const {
    double bytes = 0;
    for (size_t i = first_kept(); i < node.outputs.size(); ++i)
      if (used[i])
        bytes += static_cast<double>(num_elements(node.outputs[i].shape)) *
                 static_cast<double>(byte_size(node.outputs[i].dtype));
    return bytes;
  }
  void count_flops(const Node&, const std::vector<bool>& used, FlopCount& count) const override {
    std::vector<Value> roots = body_->carries;
    for (size_t i = 0; i < body_->stacked.size(); ++i)
      if (used[carries_ + i]) roots.push_back(body_->stacked[i]);
    for (size_t i = 0; i < body_->kept.size(); ++i)
      if (used[first_kept() + i]) roots.push_back(body_->kept[i]);
    for (const auto& [name, flops] : body_->graph.count_flops(roots))
      count[name] += static_cast<double>(length_) * flops;
  }

 private:
  /** The scan of the gradient where something is kept: in the opposite order, of a body that is made with the marked ops and
   * then copied without them (kept.h), and of the stacked inputs from `first_saved` on only with those that are read. */
  ScanResult scan_reading(Graph& graph, const std::vector<Value>& carries, const std::vector<Value>& stacked,
                          const std::vector<Value>& constants, size_t first_saved,
                          const std::function<ScanOutput(const ScanInput&)>& body) const;
  /** The place among the outputs of the first that keep() marks. */
  size_t first_kept() const { return 2 * carries_ + body_->stacked.size(); }
  /** What the body must give for a stacked output, none for a carry that entered. */
  Value row_of(size_t output) const {
    const size_t results = carries_ + body_->stacked.size();
    if (output < results) return body_->stacked[output - carries_];
    return output < first_kept() ? Value() : body_->kept[output - first_kept()];
  }

  std::shared_ptr<const Body> body_;
  int64_t length_;
  bool reverse_;
  size_t carries_;
  size_t slices_;
};

std::vector<Value> ScanOp::gradient(const GradientContext& context) const {
  Graph& graph = context.graph;
  const auto& inputs = context.inputs;
  const size_t constants = inputs.size() - carries_ - slices_;
  const size_t results = body_->stacked.size();

  // Cotangents that flow through the loop: float carries. Those of constants add up in further carries.
  std::vector<size_t> float_carries, needed_slices, needed_constants, seeded_results;
  for (size_t i = 0; i < carries_; ++i)
    if (is_float(inputs[i].dtype())) float_carries.push_back(i);
  for (size_t i = 0; i < slices_; ++i)
    if (context.needed[carries_ + i]) needed_slices.push_back(i);
  for (size_t i = 0; i < constants; ++i)
    if (context.needed[carries_ + slices_ + i]) needed_constants.push_back(i);
  for (size_t i = 0; i < results; ++i)
    if (context.output_gradients[carries_ + i]) seeded_results.push_back(i);

  std::vector<Value> start;
  for (size_t i : float_carries) {
    const Value& dy = context.output_gradients[i];
    start.push_back(dy ? dy : full_like(inputs[i], 0));
  }
  for (size_t i : needed_constants) start.push_back(full_like(inputs[carries_ + slices_ + i], 0));

  std::vector<Value> stacked;
  for (size_t i = 0; i < carries_; ++i) stacked.push_back(context.outputs[carries_ + results + i]);
  for (size_t i = 0; i < slices_; ++i) stacked.push_back(inputs[carries_ + i]);
  for (size_t i : seeded_results) stacked.push_back(context.output_gradients[carries_ + i]);
  const size_t kept = body_->kept.size(), first_saved = stacked.size();
  for (size_t i = 0; i < kept; ++i) stacked.push_back(context.outputs[first_kept() + i]);
  std::vector<Value> fixed(inputs.begin() + static_cast<std::ptrdiff_t>(carries_ + slices_), inputs.end());

  auto backward = [&](const ScanInput& in) {
    std::vector<Value> arguments = {in.index};
    arguments.insert(arguments.end(), in.slices.begin(),
                     in.slices.begin() + static_cast<std::ptrdiff_t>(carries_ + slices_));
    arguments.insert(arguments.end(), in.constants.begin(), in.constants.end());
    std::vector<Value> outputs = inline_saved(in.graph, body_->graph, body_->results(), arguments, body_->kept,
                                              std::span(in.slices).subspan(first_saved));

    std::vector<Value> seeds(outputs.size());
    for (size_t i = 0; i < float_carries.size(); ++i) seeds[float_carries[i]] = in.carries[i];
    for (size_t i = 0; i < seeded_results.size(); ++i)
      seeds[carries_ + seeded_results[i]] = in.slices[carries_ + slices_ + i];

    std::vector<Value> wrt;
    for (size_t i : float_carries) wrt.push_back(arguments[1 + i]);
    for (size_t i : needed_slices) wrt.push_back(arguments[1 + carries_ + i]);
    for (size_t i : needed_constants) wrt.push_back(arguments[1 + carries_ + slices_ + i]);
    std::vector<Value> found = vjp(outputs, seeds, wrt);
    for (size_t i = 0; i < found.size(); ++i)
      if (!found[i]) found[i] = full_like(wrt[i], 0);

    ScanOutput out;
    size_t at = 0;
    for (size_t i = 0; i < float_carries.size(); ++i) out.carries.push_back(found[at++]);
    for (size_t i = 0; i < needed_slices.size(); ++i) out.stacked.push_back(found[at++]);
    for (size_t i = 0; i < needed_constants.size(); ++i)
      out.carries.push_back(add(in.carries[float_carries.size() + i], found[at++]));
    return out;
  };
  ScanResult result = kept == 0 ? scan(graph, length_, start, stacked, fixed, backward, !reverse_)
                                : scan_reading(graph, start, stacked, fixed, first_saved, backward);

  std::vector<Value> gradients(inputs.size());
  for (size_t i = 0; i < float_carries.size(); ++i) gradients[float_carries[i]] = result.carries[i];
  for (size_t i = 0; i < needed_slices.size(); ++i) {
    const Value& whole = inputs[carries_ + needed_slices[i]];
    std::vector<int64_t> low(static_cast<size_t>(whole.rank()), 0), high = low;
    high[0] = whole.dim(0) - length_;
    // Rows that the loop left out get none.
    gradients[carries_ + needed_slices[i]] = high[0] == 0 ? result.stacked[i] : pad(result.stacked[i], low, high);
  }
  for (size_t i = 0; i < needed_constants.size(); ++i)
    gradients[carries_ + slices_ + needed_constants[i]] = result.carries[float_carries.size() + i];
  return gradients;
}

ScanResult ScanOp::scan_reading(Graph& graph, const std::vector<Value>& carries, const std::vector<Value>& stacked,
                                const std::vector<Value>& constants, size_t first_saved,
                                const std::function<ScanOutput(const ScanInput&)>& body) const {
  Graph whole;
  const ScanInput all = declare_inputs(whole, carries, stacked, constants);
  const ScanOutput wanted = body(all);
  std::vector<Value> roots = wanted.carries;
  roots.insert(roots.end(), wanted.stacked.begin(), wanted.stacked.end());
  const std::vector<bool> read = read_parameters(whole, roots);
  const size_t first_slice = 1 + carries.size();
  auto is_there = [&](size_t slice) { return slice < first_saved || read[first_slice + slice]; };

  std::vector<Value> needed;
  for (size_t i = 0; i < stacked.size(); ++i)
    if (is_there(i)) needed.push_back(stacked[i]);
  auto reading = [&](const ScanInput& in) {
    std::vector<Value> arguments = {in.index};
    arguments.insert(arguments.end(), in.carries.begin(), in.carries.end());
    size_t next = 0;
    for (size_t i = 0; i < stacked.size(); ++i) arguments.push_back(is_there(i) ? in.slices[next++] : Value());
    arguments.insert(arguments.end(), in.constants.begin(), in.constants.end());
    std::vector<Value> found = inline_read(in.graph, whole, roots, arguments);
    const auto middle = found.begin() + static_cast<std::ptrdiff_t>(carries.size());
    return ScanOutput{{found.begin(), middle}, {middle, found.end()}};
  };
  return scan(graph, length_, carries, needed, constants, reading, !reverse_);
}

std::vector<std::string> ScanOp::print(Printer& printer, const PrintContext& context) const {
  const Node& node = context.node;
  const size_t results = body_->stacked.size();
  const std::string scalar = "tensor<i32>";

  // What the loop carries: the iteration number, the carries, and every stacked result that is read.
  std::vector<TensorType> types = {{DType::kI32, {}}};
  std::vector<std::string> initial;
  std::vector<size_t> kept;  // output indices, in loop order, from the first stacked one on
  std::string zero = printer.fresh();
  printer.line("{} = stablehlo.constant dense<0> : {}", zero, scalar);
  initial.push_back(zero);
  for (size_t i = 0; i < carries_; ++i) {
    types.push_back(node.outputs[i]);
    initial.push_back(context.inputs[i]);
  }
  for (size_t i = carries_; i < node.outputs.size(); ++i) {
    if (!context.used[i]) continue;
    kept.push_back(i);
    types.push_back(node.outputs[i]);
    std::string name = printer.fresh();
    printer.line("{} = stablehlo.constant dense<{}> : {}", name, literal(node.outputs[i].dtype, 0),
                 to_string(node.outputs[i]));
    initial.push_back(name);
  }

  auto block = [&](std::vector<std::string>& names) {
    std::string head = "^bb0(";
    for (size_t i = 0; i < types.size(); ++i) {
      names.push_back(printer.fresh());
      head += fmt::format("{}{}: {}", i == 0 ? "" : ", ", names.back(), to_string(types[i]));
    }
    printer.line("{}):", head);
  };
  std::string out = printer.fresh();
  printer.line("{}:{} = \"stablehlo.while\"({}) ({{", out, types.size(), fmt::join(initial, ", "));
  printer.indent(1);
  {
    std::vector<std::string> names;
    block(names);
    std::string limit = printer.fresh(), more = printer.fresh();
    printer.line("{} = stablehlo.constant dense<{}> : {}", limit, length_, scalar);
    printer.line("{} = stablehlo.compare LT, {}, {}, SIGNED : ({}, {}) -> tensor<i1>", more, names[0], limit, scalar,
                 scalar);
    printer.line("stablehlo.return {} : tensor<i1>", more);
  }
  printer.indent(-1);
  printer.line("}}, {{");
  printer.indent(1);
  {
    std::vector<std::string> names;
    block(names);
    std::string index = names[0];
    if (reverse_) {
      std::string last = printer.fresh();
      printer.line("{} = stablehlo.constant dense<{}> : {}", last, length_ - 1, scalar);
      index = printer.simple("subtract", {last, names[0]}, {DType::kI32, {}});
    }
    std::string origin = printer.fresh();
    printer.line("{} = stablehlo.constant dense<0> : {}", origin, scalar);
    auto position = [&](size_t rank) {
      std::vector<std::string> parts(rank, origin);
      parts[0] = index;
      return parts;
    };
    // "(T, tensor<i32>, …)"
    auto indexed = [&](std::vector<TensorType> operands, size_t rank) {
      for (size_t d = 0; d < rank; ++d) operands.push_back({DType::kI32, {}});
      return type_list(operands);
    };

    std::vector<Value> roots = body_->carries;
    for (size_t i : kept)
      if (Value row = row_of(i)) roots.push_back(row);
    auto used_slices = body_->graph.used_outputs(roots);
    std::vector<std::string> arguments = {index};
    for (size_t i = 0; i < carries_; ++i) arguments.push_back(names[1 + i]);
    for (size_t i = 0; i < slices_; ++i) {
      const Value& parameter = body_->graph.parameters()[1 + carries_ + i];
      if (!used_slices[static_cast<size_t>(parameter.node())][0]) {
        arguments.emplace_back();
        continue;
      }
      const TensorType& whole = node.inputs[carries_ + i].type();
      TensorType row = whole;
      row.shape[0] = 1;
      std::string part = printer.fresh();
      printer.line("{} = stablehlo.dynamic_slice {}, {}, sizes = {} : {} -> {}", part, context.inputs[carries_ + i],
                   fmt::join(position(whole.shape.size()), ", "), int_list(row.shape),
                   indexed({whole}, whole.shape.size()), to_string(row));
      arguments.push_back(printer.fresh());
      printer.line("{} = stablehlo.reshape {} : ({}) -> {}", arguments.back(), part, to_string(row),
                   to_string(parameter.type()));
    }
    for (size_t i = carries_ + slices_; i < context.inputs.size(); ++i) arguments.push_back(context.inputs[i]);

    std::vector<std::string> values = printer.print_nodes(body_->graph, roots, arguments);

    std::string one = printer.fresh();
    printer.line("{} = stablehlo.constant dense<1> : {}", one, scalar);
    std::vector<std::string> next = {printer.simple("add", {names[0], one}, {DType::kI32, {}})};
    for (size_t i = 0; i < carries_; ++i) next.push_back(values[i]);
    size_t result = carries_;
    for (size_t k = 0; k < kept.size(); ++k) {
      std::string row = row_of(kept[k]) ? values[result++] : names[1 + kept[k] - carries_ - results];
      const TensorType& whole = node.outputs[kept[k]];
      TensorType flat{whole.dtype, Shape(whole.shape.begin() + 1, whole.shape.end())};
      TensorType part = whole;
      part.shape[0] = 1;
      std::string shaped = printer.fresh();
      printer.line("{} = stablehlo.reshape {} : ({}) -> {}", shaped, row, to_string(flat), to_string(part));
      std::string updated = printer.fresh();
      printer.line("{} = stablehlo.dynamic_update_slice {}, {}, {} : {} -> {}", updated, names[1 + carries_ + k],
                   shaped, fmt::join(position(whole.shape.size()), ", "), indexed({whole, part}, whole.shape.size()),
                   to_string(whole));
      next.push_back(updated);
    }
    printer.line("stablehlo.return {} : {}", fmt::join(next, ", "), [&] {
      std::string list = type_list(types);
      return list.substr(1, list.size() - 2);
    }());
  }
  printer.indent(-1);
  printer.line("}}) : {} -> {}", type_list(types), type_list(types));

  std::vector<std::string> outputs(node.outputs.size());
  for (size_t i = 0; i < carries_; ++i) outputs[i] = fmt::format("{}#{}", out, 1 + i);
  for (size_t k = 0; k < kept.size(); ++k) outputs[kept[k]] = fmt::format("{}#{}", out, 1 + carries_ + k);
  return outputs;
}

}  // namespace

ScanResult scan(Graph& graph, int64_t length, const std::vector<Value>& carries, const std::vector<Value>& stacked,
                const std::vector<Value>& constants, const std::function<ScanOutput(const ScanInput&)>& body,
                bool reverse) {
  if (length < 1) fail("scan: length {}", length);
  auto made = std::make_shared<Body>();
  for (const Value& value : stacked)
    if (value.rank() < 1 || value.dim(0) < length)
      fail("scan: a stacked input is {}, the length is {}", to_string(value.type()), length);
  const ScanInput input = declare_inputs(made->graph, carries, stacked, constants);
  ScanOutput output = body(input);
  if (output.carries.size() != carries.size())
    fail("scan: {} carries go in, {} come out", carries.size(), output.carries.size());
  std::vector<TensorType> types;
  for (size_t i = 0; i < carries.size(); ++i) {
    if (output.carries[i].type() != carries[i].type())
      fail("scan: carry {} is {} before and {} after the body", i, to_string(carries[i].type()),
           to_string(output.carries[i].type()));
    types.push_back(carries[i].type());
  }
  for (const Value& value : output.stacked) types.push_back({value.dtype(), with_length(length, value.shape())});
  for (const Value& value : carries) types.push_back({value.dtype(), with_length(length, value.shape())});
  made->carries = output.carries;
  made->stacked = output.stacked;
  made->kept = kept_values(made->graph, made->results());
  for (const Value& value : made->kept) types.push_back({value.dtype(), with_length(length, value.shape())});

  std::vector<Value> inputs = carries;
  inputs.insert(inputs.end(), stacked.begin(), stacked.end());
  inputs.insert(inputs.end(), constants.begin(), constants.end());
  std::vector<Value> outputs =
      graph.add(std::make_shared<ScanOp>(made, length, reverse, carries.size(), stacked.size()), inputs, types);
  auto at = [&](size_t i) { return outputs.begin() + static_cast<std::ptrdiff_t>(i); };
  size_t results = output.stacked.size();
  return {{outputs.begin(), at(carries.size())}, {at(carries.size()), at(carries.size() + results)}};
}

double kept_bytes(const Graph& graph, std::span<const Value> roots) {
  const auto used = graph.used_outputs(roots);
  double bytes = 0;
  for (int32_t id = 0; id < graph.size(); ++id)
    if (const auto* loop = dynamic_cast<const ScanOp*>(graph.node(id).op.get()))
      bytes += loop->kept_bytes(graph.node(id), used[static_cast<size_t>(id)]);
  return bytes;
}

}  // namespace gavel

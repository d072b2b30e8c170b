#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "graph/ops.h"
#include "graph/printer.h"

namespace gavel {

namespace {

/** "%y = stablehlo.NAME %x, EXTRA : (T) -> U" */
std::string unary_line(Printer& printer, const PrintContext& context, std::string_view op, const std::string& extra) {
  std::string out = printer.fresh();
  printer.line("{} = stablehlo.{} {}{} : ({}) -> {}", out, op, context.inputs[0], extra,
               to_string(context.node.inputs[0].type()), to_string(context.node.outputs[0]));
  return out;
}

class ReshapeOp : public Op {
 public:
  std::string_view name() const override { return "reshape"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    return {reshape(context.output_gradients[0], context.inputs[0].shape())};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    return {unary_line(printer, context, name(), "")};
  }
};

class TransposeOp : public Op {
 public:
  explicit TransposeOp(std::vector<int64_t> permutation) : permutation_(std::move(permutation)) {}
  std::string_view name() const override { return "transpose"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    std::vector<int64_t> inverse(permutation_.size());
    for (size_t i = 0; i < permutation_.size(); ++i)
      inverse[static_cast<size_t>(permutation_[i])] = static_cast<int64_t>(i);
    return {transpose(context.output_gradients[0], inverse)};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    return {unary_line(printer, context, name(), ", dims = " + int_list(permutation_))};
  }

 private:
  std::vector<int64_t> permutation_;
};

class BroadcastOp : public Op {
 public:
  explicit BroadcastOp(std::vector<int64_t> dimensions) : dimensions_(std::move(dimensions)) {}
  std::string_view name() const override { return "broadcast_in_dim"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    const Value& dy = context.output_gradients[0];
    const Shape& input = context.inputs[0].shape();
    std::vector<int64_t> summed;
    for (int64_t d = 0; d < dy.rank(); ++d) {
      auto at = std::find(dimensions_.begin(), dimensions_.end(), d);
      bool repeated =
          at == dimensions_.end() || (input[static_cast<size_t>(at - dimensions_.begin())] == 1 && dy.dim(d) != 1);
      if (repeated) summed.push_back(d);
    }
    Value sum = summed.empty() ? dy : reduce_sum(dy, summed);
    return {sum.shape() == input ? sum : reshape(sum, input)};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    return {unary_line(printer, context, name(), ", dims = " + int_list(dimensions_))};
  }

 private:
  std::vector<int64_t> dimensions_;
};

class SliceOp : public Op {
 public:
  SliceOp(std::vector<int64_t> start, std::vector<int64_t> limit)
      : start_(std::move(start)), limit_(std::move(limit)) {}
  std::string_view name() const override { return "slice"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    std::vector<int64_t> high;
    for (size_t i = 0; i < limit_.size(); ++i) high.push_back(context.inputs[0].shape()[i] - limit_[i]);
    return {pad(context.output_gradients[0], start_, high)};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    std::vector<std::string> ranges;
    for (size_t i = 0; i < start_.size(); ++i) ranges.push_back(fmt::format("{}:{}", start_[i], limit_[i]));
    return {unary_line(printer, context, name(), fmt::format(" [{}]", fmt::join(ranges, ", ")))};
  }

 private:
  std::vector<int64_t> start_, limit_;
};

class ConcatenateOp : public Op {
 public:
  explicit ConcatenateOp(int64_t dimension) : dimension_(dimension) {}
  std::string_view name() const override { return "concatenate"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    std::vector<Value> parts;
    int64_t at = 0;
    for (size_t i = 0; i < context.inputs.size(); ++i) {
      int64_t size = context.inputs[i].dim(dimension_);
      parts.push_back(context.needed[i] ? slice_dim(context.output_gradients[0], dimension_, at, at + size) : Value());
      at += size;
    }
    return parts;
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    std::vector<TensorType> types;
    for (const Value& input : context.node.inputs) types.push_back(input.type());
    std::string out = printer.fresh();
    printer.line("{} = stablehlo.concatenate {}, dim = {} : {} -> {}", out, fmt::join(context.inputs, ", "), dimension_,
                 type_list(types), to_string(context.node.outputs[0]));
    return {out};
  }

 private:
  int64_t dimension_;
};

class PadOp : public Op {
 public:
  PadOp(std::vector<int64_t> low, std::vector<int64_t> high) : low_(std::move(low)), high_(std::move(high)) {}
  std::string_view name() const override { return "pad"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    std::vector<int64_t> limit;
    for (size_t i = 0; i < low_.size(); ++i) limit.push_back(low_[i] + context.inputs[0].shape()[i]);
    return {slice(context.output_gradients[0], low_, limit)};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    const TensorType& type = context.node.inputs[0].type();
    std::string scalar = to_string(TensorType{type.dtype, {}});
    std::string zero = printer.fresh();
    printer.line("{} = stablehlo.constant dense<{}> : {}", zero, literal(type.dtype, 0), scalar);
    std::string out = printer.fresh();
    printer.line("{} = stablehlo.pad {}, {}, low = {}, high = {}, interior = {} : ({}, {}) -> {}", out,
                 context.inputs[0], zero, int_list(low_), int_list(high_),
                 int_list(std::vector<int64_t>(low_.size(), 0)), to_string(type), scalar,
                 to_string(context.node.outputs[0]));
    return {out};
  }

 private:
  std::vector<int64_t> low_, high_;
};

class UnstackOp : public Op {
 public:
  std::string_view name() const override { return "unstack"; }
  std::vector<Value> gradient(const GradientContext& context) const override {
    std::vector<Value> parts(context.output_gradients.begin(), context.output_gradients.end());
    for (size_t i = 0; i < parts.size(); ++i)
      if (!parts[i]) parts[i] = full_like(context.outputs[i], 0);
    return {stack(parts)};
  }
  std::vector<std::string> print(Printer& printer, const PrintContext& context) const override {
    const TensorType& input = context.node.inputs[0].type();
    TensorType row = input;
    row.shape[0] = 1;
    std::vector<std::string> names;
    for (size_t i = 0; i < context.node.outputs.size(); ++i) {
      if (!context.used[i]) {
        names.emplace_back();
        continue;
      }
      std::vector<std::string> ranges = {fmt::format("{}:{}", i, i + 1)};
      for (size_t d = 1; d < input.shape.size(); ++d) ranges.push_back(fmt::format("0:{}", input.shape[d]));
      std::string part = printer.fresh();
      printer.line("{} = stablehlo.slice {} [{}] : ({}) -> {}", part, context.inputs[0], fmt::join(ranges, ", "),
                   to_string(input), to_string(row));
      names.push_back(printer.fresh());
      printer.line("{} = stablehlo.reshape {} : ({}) -> {}", names.back(), part, to_string(row),
                   to_string(context.node.outputs[i]));
    }
    return names;
  }
};

}  // namespace

Value reshape(const Value& a, const Shape& shape) {
  if (shape == a.shape()) return a;
  if (num_elements(shape) != num_elements(a.shape()))
    fail("reshape: {} can't become {}", to_string(a.shape()), to_string(shape));
  return a.graph().add(std::make_shared<ReshapeOp>(), {a}, {{a.dtype(), shape}})[0];
}

Value transpose(const Value& a, const std::vector<int64_t>& permutation) {
  std::vector<int64_t> sorted = permutation;
  std::sort(sorted.begin(), sorted.end());
  std::vector<int64_t> expected(static_cast<size_t>(a.rank()));
  std::iota(expected.begin(), expected.end(), int64_t{0});
  if (sorted != expected)
    fail("transpose: {} is not a permutation for shape {}", int_list(permutation), to_string(a.shape()));
  if (permutation == expected) return a;
  Shape shape;
  for (int64_t d : permutation) shape.push_back(a.dim(d));
  return a.graph().add(std::make_shared<TransposeOp>(permutation), {a}, {{a.dtype(), shape}})[0];
}

Value broadcast(const Value& a, const Shape& shape, const std::vector<int64_t>& dimensions) {
  bool fits = static_cast<int64_t>(dimensions.size()) == a.rank();
  for (size_t i = 0; fits && i < dimensions.size(); ++i) {
    int64_t d = dimensions[i];
    fits = d >= 0 && d < static_cast<int64_t>(shape.size()) && (i == 0 || d > dimensions[i - 1]) &&
           (a.shape()[i] == 1 || a.shape()[i] == shape[static_cast<size_t>(d)]);
  }
  if (!fits)
    fail("broadcast_in_dim: {} with dimensions {} can't become {}", to_string(a.shape()), int_list(dimensions),
         to_string(shape));
  if (shape == a.shape()) return a;
  return a.graph().add(std::make_shared<BroadcastOp>(dimensions), {a}, {{a.dtype(), shape}})[0];
}

Value broadcast_scalar(const Value& a, const Shape& shape) {
  return broadcast(a, shape, {});
}

Value slice(const Value& a, const std::vector<int64_t>& start, const std::vector<int64_t>& limit) {
  bool fits = static_cast<int64_t>(start.size()) == a.rank() && limit.size() == start.size();
  Shape shape;
  for (size_t i = 0; fits && i < start.size(); ++i) {
    fits = start[i] >= 0 && start[i] < limit[i] && limit[i] <= a.shape()[i];
    shape.push_back(limit[i] - start[i]);
  }
  if (!fits) fail("slice: {} to {} of shape {}", int_list(start), int_list(limit), to_string(a.shape()));
  if (shape == a.shape()) return a;
  return a.graph().add(std::make_shared<SliceOp>(start, limit), {a}, {{a.dtype(), shape}})[0];
}

Value slice_dim(const Value& a, int64_t dimension, int64_t start, int64_t limit) {
  if (dimension < 0) dimension += a.rank();
  if (dimension < 0 || dimension >= a.rank()) fail("slice: dimension {} of shape {}", dimension, to_string(a.shape()));
  std::vector<int64_t> from(static_cast<size_t>(a.rank()), 0), to = a.shape();
  from[static_cast<size_t>(dimension)] = start;
  to[static_cast<size_t>(dimension)] = limit;
  return slice(a, from, to);
}

Value concatenate(const std::vector<Value>& values, int64_t dimension) {
  if (values.empty()) fail("concatenate: no values");
  const Value& first = values[0];
  if (dimension < 0) dimension += first.rank();
  if (dimension < 0 || dimension >= first.rank())
    fail("concatenate: dimension {} of shape {}", dimension, to_string(first.shape()));
  auto at = static_cast<size_t>(dimension);
  Shape shape = first.shape();
  for (size_t i = 1; i < values.size(); ++i) {
    Shape other = values[i].shape();
    if (other.size() == shape.size()) {
      int64_t size = other[at];
      other[at] = shape[at];
      if (other == shape && values[i].dtype() == first.dtype()) {
        shape[at] += size;
        continue;
      }
    }
    fail("concatenate: value 0 is {}, value {} is {}", to_string(first.type()), i, to_string(values[i].type()));
  }
  if (values.size() == 1) return first;
  return first.graph().add(std::make_shared<ConcatenateOp>(dimension), values, {{first.dtype(), shape}})[0];
}

Value pad(const Value& a, const std::vector<int64_t>& low, const std::vector<int64_t>& high) {
  bool fits = static_cast<int64_t>(low.size()) == a.rank() && high.size() == low.size();
  Shape shape = a.shape();
  for (size_t i = 0; fits && i < low.size(); ++i) {
    fits = low[i] >= 0 && high[i] >= 0;
    shape[i] += low[i] + high[i];
  }
  if (!fits) fail("pad: low {} and high {} of shape {}", int_list(low), int_list(high), to_string(a.shape()));
  if (shape == a.shape()) return a;
  return a.graph().add(std::make_shared<PadOp>(low, high), {a}, {{a.dtype(), shape}})[0];
}

std::vector<Value> unstack(const Value& a) {
  if (a.rank() < 1) fail("unstack: a scalar has no rows");
  TensorType row{a.dtype(), Shape(a.shape().begin() + 1, a.shape().end())};
  return a.graph().add(std::make_shared<UnstackOp>(), {a}, std::vector<TensorType>(static_cast<size_t>(a.dim(0)), row));
}

Value stack(const std::vector<Value>& values) {
  std::vector<Value> rows;
  for (const Value& value : values) {
    Shape shape = value.shape();
    shape.insert(shape.begin(), 1);
    rows.push_back(reshape(value, shape));
  }
  return concatenate(rows, 0);
}

}  // namespace gavel

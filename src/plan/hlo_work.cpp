#include "plan/hlo_work.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "plan/hlo_module.h"

namespace gavel {

namespace {

using hlo::Computation;
using hlo::HloShape;
using hlo::Instruction;
using hlo::Module;

/** Products times two, by the rate that they run at. */
struct Products {
  double narrow = 0, float32 = 0, attention = 0;
  Products& operator+=(const Products& other) {
    narrow += other.narrow;
    float32 += other.float32;
    attention += other.attention;
    return *this;
  }
};

bool is_slice(std::string_view opcode) {
  return opcode == "dynamic-slice" || opcode == "slice" || opcode == "gather";
}

/** A number that stands in quotes or not behind `key` in a JSON text; 0 where there is none. */
double number_after(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return 0;
  const size_t digits = text.find_first_of("0123456789", at + key.size());
  double value = 0;
  if (digits != std::string_view::npos) std::from_chars(text.data() + digits, text.data() + text.size(), value);
  return value;
}

/** The numbers of the first list behind `key` in a JSON text. */
std::vector<uint64_t> list_after(std::string_view text, std::string_view key) {
  std::vector<uint64_t> values;
  size_t at = text.find(key);
  if (at == std::string_view::npos) return values;
  at = text.find('[', at);
  const size_t end = text.find(']', at);
  if (at == std::string_view::npos || end == std::string_view::npos) return values;
  for (at = text.find_first_of("0123456789", at); at < end; at = text.find_first_of("0123456789", at)) {
    uint64_t value = 0;
    const auto [next, error] = std::from_chars(text.data() + at, text.data() + end, value);
    if (error != std::errc()) break;
    values.push_back(value);
    at = static_cast<size_t>(next - text.data());
  }
  return values;
}

/** Instructions of a computation by their ids and by who reads them. */
class Index {
 public:
  explicit Index(const Computation& computation) {
    for (const Instruction& instruction : computation.instructions) {
      by_id_[instruction.id] = &instruction;
      for (uint64_t operand : instruction.operands) users_[operand].push_back(&instruction);
      if (instruction.opcode == "parameter") parameters_[instruction.parameter] = &instruction;
    }
    root_ = find(computation.root);
    if (root_ == nullptr && !computation.instructions.empty()) root_ = &computation.instructions.back();
  }
  const Instruction* find(uint64_t id) const {
    auto found = by_id_.find(id);
    return found == by_id_.end() ? nullptr : found->second;
  }
  const Instruction* operand(const Instruction& of, size_t number) const {
    return number < of.operands.size() ? find(of.operands[number]) : nullptr;
  }
  const Instruction* parameter(uint64_t number) const {
    auto found = parameters_.find(number);
    return found == parameters_.end() ? nullptr : found->second;
  }
  const Instruction* root() const { return root_; }
  /** Who reads it, bitcasts looked through: pairs of the reader and the id that it reads. */
  std::vector<std::pair<const Instruction*, uint64_t>> readers(uint64_t id, int depth = 0) const {
    std::vector<std::pair<const Instruction*, uint64_t>> found;
    auto users = users_.find(id);
    if (users == users_.end()) return found;
    for (const Instruction* user : users->second) {
      auto beyond = user->opcode == "bitcast" && depth < 8 ? readers(user->id, depth + 1) : decltype(found)();
      if (beyond.empty()) beyond.emplace_back(user, id);
      found.insert(found.end(), beyond.begin(), beyond.end());
    }
    return found;
  }

 private:
  std::map<uint64_t, const Instruction*> by_id_, parameters_;
  std::map<uint64_t, std::vector<const Instruction*>> users_;
  const Instruction* root_ = nullptr;
};

class WorkCounter {
 public:
  WorkCounter(const Module& module, const WorkRates& rates, int64_t unknown_trips)
      : module_(module), rates_(rates), unknown_trips_(unknown_trips) {}

  void visit(uint64_t id, double times, int depth = 0) {
    const Index* index = index_of(id);
    if (index == nullptr || depth > kDeepest) return;
    for (const Instruction& instruction : module_.computations.at(id).instructions) {
      const std::string_view op = instruction.opcode;
      static constexpr std::array<std::string_view, 9> kFree = {"parameter",    "tuple",      "get-tuple-element",
                                                                "constant",     "bitcast",    "after-all",
                                                                "partition-id", "replica-id", "opt-barrier"};
      if (std::ranges::find(kFree, op) != kFree.end() || op.ends_with("-done") || op == "async-update") continue;
      result.cycles += times * number_after(instruction.backend_config, "\"estimated_cycles\":");
      if (op == "while" || op == "call" || op == "conditional" || op == "async-start") {
        const double inner =
            op == "while" ? times * static_cast<double>(trip_count(instruction).value_or(unknown_trips_)) : times;
        for (uint64_t called : instruction.called) visit(called, inner, depth + 1);
        continue;
      }
      // What is sent between devices is counted elsewhere.
      if (op.starts_with("all-") || op.starts_with("reduce-scatter") || op.starts_with("collective-")) continue;
      run(instruction, *index, times);
    }
  }

  ExecutedWork result;

 private:
  static constexpr int kDeepest = 64;

  const Index* index_of(uint64_t id) {
    auto found = module_.computations.find(id);
    if (found == module_.computations.end()) return nullptr;
    return &indices_.try_emplace(id, found->second).first->second;
  }

  void run(const Instruction& instruction, const Index& index, double times) {
    const Products products = products_of(instruction, index, 0);
    const double bytes = bytes_of(instruction, index);
    auto seconds = [](double count, double rate) { return rate > 0 ? count / rate : 0; };
    const double computing = seconds(products.narrow, rates_.products) + seconds(products.float32, rates_.float32) +
                             seconds(products.attention, rates_.attention);
    result.flops += times * products.narrow;
    result.float32_flops += times * products.float32;
    result.attention_flops += times * products.attention;
    result.bytes += times * bytes;
    result.seconds += times * std::max({computing, seconds(bytes, rates_.memory), rates_.kernel});
    result.launches += static_cast<int64_t>(times);
  }

  /** Of a kernel with all that is fused into it. */
  Products products_of(const Instruction& instruction, const Index& index, int depth) {
    Products sum;
    if (depth > kDeepest) return sum;
    if (instruction.opcode == "fusion") {
      for (uint64_t called : instruction.called)
        if (const Index* inner = index_of(called))
          for (const Instruction& part : module_.computations.at(called).instructions)
            sum += products_of(part, *inner, depth + 1);
      return sum;
    }
    const Instruction* left = index.operand(instruction, 0);
    if (left == nullptr) return sum;
    const HloShape& from = left->shape.first();
    if (instruction.opcode == "dot") {
      add(sum, from, instruction.shape, instruction.contracted);
    } else if (instruction.opcode == "custom-call") {
      const std::string_view target = instruction.target;
      if (target.find("gemm") != std::string_view::npos || target.find("matmul") != std::string_view::npos)
        add(sum, from, instruction.shape.first(), list_after(instruction.backend_config, "lhs_contracting_dimensions"));
      const Instruction* keys = index.operand(instruction, 1);
      if (target.find("fmha") != std::string_view::npos && from.dimensions.size() == 4 && keys != nullptr &&
          keys->shape.first().dimensions.size() == 4) {
        // [batch, queries, heads, features]; two products, of a causal square half; five for the gradient.
        double scores = static_cast<double>(keys->shape.first().dimensions[1]);
        for (int64_t dimension : from.dimensions) scores *= static_cast<double>(dimension);
        sum.attention += 2 * scores * (target.find("Backward") != std::string_view::npos ? 2.5 : 1);
      }
    }
    return sum;
  }

  static void add(Products& sum, const HloShape& left, const HloShape& out, const std::vector<uint64_t>& contracted) {
    double flops = 2;
    for (int64_t dimension : out.dimensions) flops *= static_cast<double>(dimension);
    for (uint64_t dimension : contracted)
      if (dimension < left.dimensions.size()) flops *= static_cast<double>(left.dimensions[dimension]);
    (left.type == hlo::kF32 || left.type == hlo::kF64 ? sum.float32 : sum.narrow) += flops;
  }

  /** What a kernel reads and writes. */
  double bytes_of(const Instruction& instruction, const Index& index) {
    const std::string_view op = instruction.opcode;
    if (is_slice(op)) return 2 * instruction.shape.total();
    if (op == "dynamic-update-slice") {
      const Instruction* update = index.operand(instruction, 1);
      return update == nullptr ? 0 : 2 * update->shape.total();
    }
    if (op == "copy-start") return 2 * instruction.shape.first().total();
    if (op == "fusion" && !instruction.called.empty())
      if (const Index* inner = index_of(instruction.called.front())) {
        double bytes = inner->root() == nullptr ? 0 : written(*inner->root(), *inner, 0);
        for (size_t i = 0; i < instruction.operands.size(); ++i) bytes += read(*inner, i, 0);
        return bytes;
      }
    double bytes = instruction.shape.total();
    for (size_t i = 0; i < instruction.operands.size(); ++i)
      if (const Instruction* operand = index.operand(instruction, i)) bytes += operand->shape.total();
    return bytes;
  }

  /** Of a fused computation's parameter: of one that is only sliced, the slices. */
  double read(const Index& index, uint64_t number, int depth) {
    const Instruction* parameter = index.parameter(number);
    if (parameter == nullptr || depth > kDeepest) return 0;
    const double whole = parameter->shape.total();
    double bytes = 0;
    const auto readers = index.readers(parameter->id);
    for (const auto& [reader, id] : readers) {
      if (is_slice(reader->opcode)) {
        bytes += reader->shape.total();
      } else if (reader->opcode == "dynamic-update-slice" && !reader->operands.empty() && reader->operands[0] == id) {
        continue;  // written over in its place
      } else if (reader->opcode == "fusion" && !reader->called.empty()) {
        const Index* inner = index_of(reader->called.front());
        if (inner == nullptr) return whole;
        for (size_t i = 0; i < reader->operands.size(); ++i)
          if (reader->operands[i] == id) bytes += read(*inner, i, depth + 1);
      } else {
        return whole;
      }
    }
    return readers.empty() ? whole : std::min(bytes, whole);
  }

  double written(const Instruction& root, const Index& index, int depth) {
    if (depth > kDeepest) return 0;
    auto of_operand = [&](size_t number) {
      const Instruction* operand = index.operand(root, number);
      return operand == nullptr ? 0 : written(*operand, index, depth + 1);
    };
    if (root.opcode == "tuple") {
      double bytes = 0;
      for (size_t i = 0; i < root.operands.size(); ++i) bytes += of_operand(i);
      return bytes;
    }
    if (root.opcode == "bitcast") return of_operand(0);
    if (root.opcode == "dynamic-update-slice") {
      const Instruction* update = index.operand(root, 1);
      return update == nullptr ? 0 : update->shape.total();
    }
    if (root.opcode == "fusion" && !root.called.empty())
      if (const Index* inner = index_of(root.called.front()); inner != nullptr && inner->root() != nullptr)
        return written(*inner->root(), *inner, depth + 1);
    return root.shape.total();
  }

  const Module& module_;
  const WorkRates& rates_;
  int64_t unknown_trips_;
  std::map<uint64_t, Index> indices_;
};

}  // namespace

ExecutedWork count_work(const Module& module, const WorkRates& rates, int64_t unknown_trips) {
  WorkCounter counter(module, rates, unknown_trips);
  counter.visit(module.entry, 1);
  return counter.result;
}

}  // namespace gavel

#include "plan/hlo_stats.h"

#include <algorithm>
#include <set>

#include "plan/hlo_module.h"

namespace gavel {

namespace {

using hlo::Instruction;
using hlo::Module;

class Counter {
 public:
  Counter(const Module& module, int64_t unknown_trips, int64_t devices)
      : module_(module), unknown_trips_(unknown_trips), devices_(devices) {}

  /** `loop` stands for one run of the innermost loop's body; `beside`: what is called runs beside other work. */
  void visit(uint64_t id, int64_t times, int loop = 0, int depth = 0, bool beside = false) {
    auto found = module_.computations.find(id);
    if (found == module_.computations.end() || depth > 64) return;
    std::map<uint64_t, const Instruction*> by_id;
    for (const Instruction& instruction : found->second.instructions) by_id[instruction.id] = &instruction;
    for (const Instruction& instruction : found->second.instructions) {
      count(instruction, by_id, times, loop, beside);
      // The end of an asynchronous call names the computation that its start did.
      if (instruction.opcode == "async-update" || instruction.opcode == "async-done") continue;
      int64_t inner = times;
      int inner_loop = loop;
      if (instruction.opcode == "while") {
        auto trips = trip_count(instruction);
        if (!trips) ++result.unknown_loops;
        inner = times * trips.value_or(unknown_trips_);
        inner_loop = ++loops_;
      }
      for (uint64_t called : instruction.called)
        visit(called, inner, inner_loop, depth + 1, beside || is_beside(instruction));
    }
  }

  Collectives result;

 private:
  /** Whether what it calls runs while the program goes on: libtpu spreads gathers over fused computations. */
  static bool is_beside(const Instruction& instruction) {
    return instruction.opcode == "fusion" || instruction.opcode == "async-start";
  }

  void count(const Instruction& instruction, const std::map<uint64_t, const Instruction*>& by_id, int64_t times,
             int loop, bool beside) {
    for (std::string_view kind : {"all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all",
                                  "collective-permute", "collective-broadcast"}) {
      bool starts = instruction.opcode.starts_with(kind) && instruction.opcode.substr(kind.size()) == "-start";
      if (instruction.opcode != kind && !starts) continue;
      // A compiler that spreads a transfer over several fused computations repeats it in each, with its channel.
      if (instruction.channel != 0 && !seen_.emplace(loop, instruction.channel).second) continue;
      double result_bytes = instruction.shape.total(), operand_bytes = 0;
      for (uint64_t operand : instruction.operands)
        if (auto at = by_id.find(operand); at != by_id.end()) operand_bytes += at->second->shape.total();
      // A start gives its operands too: (operands, results, …).
      if (starts && kind != "all-reduce" && instruction.shape.parts.size() > 1) {
        operand_bytes = instruction.shape.parts[0].total();
        result_bytes = instruction.shape.parts[1].total();
      }
      const double runs = static_cast<double>(times),
                   taken = runs * received(kind, operand_bytes, result_bytes, instruction.group.value_or(devices_));
      result.bytes[std::string(kind)] += runs * (kind == "reduce-scatter" ? operand_bytes : result_bytes);
      result.calls[std::string(kind)] += times;
      result.received[std::string(kind)] += taken;
      // XLA notes of a start that no work came between it and its end.
      const bool waits =
          starts ? instruction.backend_config.find("\"is_sync\":true") != std::string_view::npos : !beside;
      if (waits) result.waited_for += taken;
    }
  }

  static double received(std::string_view kind, double operands, double results, int64_t group) {
    if (group <= 1) return 0;
    const double others = static_cast<double>(group - 1) / static_cast<double>(group);
    if (kind == "all-gather") return std::max(0.0, operands > 0 ? results - operands : results * others);
    if (kind == "reduce-scatter") return operands * others;
    if (kind == "all-reduce") return 2 * results * others;
    if (kind == "collective-permute" || kind == "collective-broadcast") return results;
    return results * others;
  }

  const Module& module_;
  int64_t unknown_trips_, devices_;
  int loops_ = 0;
  std::set<std::pair<int, uint64_t>> seen_;  // loop and channel
};

/** Counts what reads an instruction's result. What only chooses from a tuple, and what stands for an operand within a fusion,
 * is looked through. */
void count_readers(const Module& module, const hlo::Computation& computation, uint64_t id,
                   std::map<std::string, int64_t>& counts, int depth = 0) {
  if (depth > 64) return;
  for (const Instruction& reader : computation.instructions)
    for (size_t i = 0; i < reader.operands.size(); ++i) {
      if (reader.operands[i] != id) continue;
      if (reader.opcode == "get-tuple-element") {
        count_readers(module, computation, reader.id, counts, depth + 1);
      } else if (reader.opcode == "fusion" && !reader.called.empty()) {
        auto fused = module.computations.find(reader.called.front());
        if (fused == module.computations.end()) continue;
        for (const Instruction& inner : fused->second.instructions)
          if (inner.opcode == "parameter" && inner.parameter == i)
            count_readers(module, fused->second, inner.id, counts, depth + 1);
      } else {
        ++counts[std::string(reader.opcode)];
      }
    }
}

}  // namespace

std::map<std::string, int64_t> readers_of_calls(std::string_view proto, std::string_view target) {
  const Module module = hlo::read_module(proto);
  std::map<std::string, int64_t> counts;
  for (const auto& [id, computation] : module.computations)
    for (const Instruction& instruction : computation.instructions)
      if (instruction.opcode == "custom-call" && instruction.target == target)
        count_readers(module, computation, instruction.id, counts);
  return counts;
}

Collectives count_collectives(const hlo::Module& module, int64_t unknown_trips, int64_t devices) {
  Counter counter(module, unknown_trips, devices);
  counter.visit(module.entry, 1);
  return counter.result;
}

Collectives count_collectives(std::string_view proto, int64_t unknown_trips, int64_t devices) {
  return count_collectives(hlo::read_module(proto), unknown_trips, devices);
}

}  // namespace gavel

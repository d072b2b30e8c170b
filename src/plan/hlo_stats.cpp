#include "plan/hlo_stats.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <vector>

#include "base/error.h"

namespace gavel {

namespace {

/** One field of a protocol-buffer message. */
struct Field {
  int number = 0;
  int wire = 0;
  uint64_t integer = 0;    // wire 0
  std::string_view bytes;  // wire 2
};

/** Reads the fields of a message one after another; other wire types are stepped over. */
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes) : rest_(bytes) {}

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    Field field;
    uint64_t tag = varint();
    field.number = static_cast<int>(tag >> 3);
    field.wire = static_cast<int>(tag & 7);
    switch (field.wire) {
      case 0:
        field.integer = varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        take(4);
        break;
      default:
        fail("optimised program: not a protocol buffer (wire type {})", field.wire);
    }
    return field;
  }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    fail("optimised program: a number of more than ten bytes");
  }
  bool empty() const { return rest_.empty(); }

 private:
  std::string_view take(uint64_t count) {
    if (count > rest_.size()) fail("optimised program: cut off");
    std::string_view part = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return part;
  }
  std::string_view rest_;
};

std::vector<uint64_t> integers(const Field& field) {
  if (field.wire == 0) return {field.integer};
  std::vector<uint64_t> values;
  for (ProtoReader reader(field.bytes); !reader.empty();) values.push_back(reader.varint());
  return values;
}

/** Bytes of an element of xla.PrimitiveType. */
double element_bytes(uint64_t type) {
  switch (type) {
    case 4:
    case 8:
    case 11:
      return 4;  // S32, U32, F32
    case 5:
    case 9:
    case 12:
    case 15:
      return 8;  // S64, U64, F64, C64
    case 3:
    case 7:
    case 10:
    case 16:
      return 2;  // S16, U16, F16, BF16
    case 18:
      return 16;  // C128
    default:
      return 1;
  }
}

/** An xla.ShapeProto. */
struct HloShape {
  double bytes = 0;  // of an array
  std::vector<HloShape> parts;
  double total() const {
    double sum = bytes;
    for (const HloShape& part : parts) sum += part.total();
    return sum;
  }
};

HloShape parse_shape(std::string_view bytes) {
  HloShape shape;
  uint64_t type = 0;
  double elements = 1;
  ProtoReader reader(bytes);
  while (auto field = reader.next()) {
    if (field->number == 2) type = field->integer;
    if (field->number == 3)
      for (uint64_t dimension : integers(*field)) elements *= static_cast<double>(dimension);
    if (field->number == 4) shape.parts.push_back(parse_shape(field->bytes));
  }
  constexpr uint64_t kTuple = 13, kOpaque = 14, kToken = 17;
  if (type != kTuple && type != kOpaque && type != kToken) shape.bytes = elements * element_bytes(type);
  return shape;
}

struct Instruction {
  std::string_view opcode;
  HloShape shape;
  uint64_t id = 0;
  uint64_t channel = 0;  // 0: none
  std::vector<uint64_t> operands, called;
  std::optional<int64_t> group;  // devices of a group; none: all are one
  std::string_view backend_config;
  std::string_view target;  // of a custom call
  uint64_t parameter = 0;   // its number, of a parameter
};

using Computation = std::vector<Instruction>;

struct Module {
  std::map<uint64_t, Computation> computations;
  uint64_t entry = 0;
};

/** Devices of an xla.ReplicaGroup. */
int64_t group_size(std::string_view bytes) {
  int64_t count = 0;
  ProtoReader reader(bytes);
  while (auto field = reader.next())
    if (field->number == 1) count += static_cast<int64_t>(integers(*field).size());
  return count;
}

/** Devices of the groups of an xla.CollectiveDeviceListProto. In a form that is not known here, the fewest that exchange
 * anything: what is counted is a lower bound. */
std::optional<int64_t> listed_group_size(std::string_view bytes) {
  std::optional<int64_t> size;
  ProtoReader reader(bytes);
  while (auto field = reader.next()) {
    if (field->wire != 2) continue;
    size = size.value_or(2);
    if (field->number == 1) size = group_size(field->bytes);
    if (field->number == 2) {  // an IotaReplicaGroupListProto
      ProtoReader iota(field->bytes);
      while (auto part = iota.next())
        if (part->number == 2 && part->wire == 0) size = static_cast<int64_t>(part->integer);
    }
  }
  return size;
}

Instruction parse_instruction(std::string_view bytes) {
  Instruction instruction;
  ProtoReader reader(bytes);
  while (auto field = reader.next()) switch (field->number) {
      case 2:
        instruction.opcode = field->bytes;
        break;
      case 3:
        instruction.shape = parse_shape(field->bytes);
        break;
      case 9:
        instruction.parameter = field->integer;
        break;
      case 28:
        instruction.target = field->bytes;
        break;
      case 26:
        instruction.channel = field->integer;
        break;
      case 35:
        instruction.id = field->integer;
        break;
      case 36:
        for (uint64_t id : integers(*field)) instruction.operands.push_back(id);
        break;
      case 38:
        for (uint64_t id : integers(*field)) instruction.called.push_back(id);
        break;
      case 43:
        instruction.backend_config = field->bytes;
        break;
      case 49:
        if (field->wire == 2) instruction.group = group_size(field->bytes);
        break;
      case 87:
        if (field->wire == 2)
          if (auto size = listed_group_size(field->bytes)) instruction.group = size;
        break;
      default:
        break;
    }
  return instruction;
}

Module parse_module(std::string_view bytes) {
  Module module;
  ProtoReader reader(bytes);
  while (auto field = reader.next()) {
    if (field->number == 6 && field->wire == 0) module.entry = field->integer;
    if (field->number != 3 || field->wire != 2) continue;
    Computation computation;
    uint64_t id = 0;
    ProtoReader inner(field->bytes);
    while (auto part = inner.next()) {
      if (part->number == 2 && part->wire == 2) computation.push_back(parse_instruction(part->bytes));
      if (part->number == 5) id = part->integer;
    }
    module.computations[id] = std::move(computation);
  }
  return module;
}

/** How often a while loop runs, as XLA's loop analysis noted it: "known_trip_count":{"n":"32"}. */
std::optional<int64_t> trip_count(std::string_view config) {
  size_t at = config.find("known_trip_count");
  if (at == std::string_view::npos) return std::nullopt;
  at = config.find_first_of("0123456789", config.find("\"n\"", at));
  if (at == std::string_view::npos) return std::nullopt;
  int64_t count = 0;
  std::from_chars(config.data() + at, config.data() + config.size(), count);
  return count;
}

class Counter {
 public:
  Counter(const Module& module, int64_t unknown_trips, int64_t devices)
      : module_(module), unknown_trips_(unknown_trips), devices_(devices) {}

  /** `loop` stands for one run of the innermost loop's body. */
  void visit(uint64_t id, int64_t times, int loop = 0, int depth = 0) {
    auto found = module_.computations.find(id);
    if (found == module_.computations.end() || depth > 64) return;
    std::map<uint64_t, const Instruction*> by_id;
    for (const Instruction& instruction : found->second) by_id[instruction.id] = &instruction;
    for (const Instruction& instruction : found->second) {
      count(instruction, by_id, times, loop);
      // The end of an asynchronous call names the computation that its start did.
      if (instruction.opcode == "async-update" || instruction.opcode == "async-done") continue;
      int64_t inner = times;
      int inner_loop = loop;
      if (instruction.opcode == "while") {
        auto trips = trip_count(instruction.backend_config);
        if (!trips) ++result.unknown_loops;
        inner = times * trips.value_or(unknown_trips_);
        inner_loop = ++loops_;
      }
      for (uint64_t called : instruction.called) visit(called, inner, inner_loop, depth + 1);
    }
  }

  Collectives result;

 private:
  void count(const Instruction& instruction, const std::map<uint64_t, const Instruction*>& by_id, int64_t times,
             int loop) {
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
      const double runs = static_cast<double>(times);
      result.bytes[std::string(kind)] += runs * (kind == "reduce-scatter" ? operand_bytes : result_bytes);
      result.calls[std::string(kind)] += times;
      result.received[std::string(kind)] +=
          runs * received(kind, operand_bytes, result_bytes, instruction.group.value_or(devices_));
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

/** Of an xla.HloModuleProto, or of what is around one. */
Module read_module(std::string_view proto) {
  Module module = parse_module(proto);
  if (module.computations.empty()) {
    // HloProto and HloModuleProtoWithConfig hold the module in field 1.
    ProtoReader reader(proto);
    while (auto field = reader.next())
      if (field->number == 1 && field->wire == 2) module = parse_module(field->bytes);
  }
  if (module.computations.empty()) fail("optimised program: no computation in it");
  if (!module.computations.contains(module.entry)) module.entry = module.computations.rbegin()->first;
  return module;
}

/** Counts what reads an instruction's result. What only chooses from a tuple, and what stands for an operand within a fusion,
 * is looked through. */
void count_readers(const Module& module, const Computation& computation, uint64_t id,
                   std::map<std::string, int64_t>& counts, int depth = 0) {
  if (depth > 64) return;
  for (const Instruction& reader : computation)
    for (size_t i = 0; i < reader.operands.size(); ++i) {
      if (reader.operands[i] != id) continue;
      if (reader.opcode == "get-tuple-element") {
        count_readers(module, computation, reader.id, counts, depth + 1);
      } else if (reader.opcode == "fusion" && !reader.called.empty()) {
        auto fused = module.computations.find(reader.called.front());
        if (fused == module.computations.end()) continue;
        for (const Instruction& inner : fused->second)
          if (inner.opcode == "parameter" && inner.parameter == i)
            count_readers(module, fused->second, inner.id, counts, depth + 1);
      } else {
        ++counts[std::string(reader.opcode)];
      }
    }
}

}  // namespace

std::map<std::string, int64_t> readers_of_calls(std::string_view proto, std::string_view target) {
  const Module module = read_module(proto);
  std::map<std::string, int64_t> counts;
  for (const auto& [id, computation] : module.computations)
    for (const Instruction& instruction : computation)
      if (instruction.opcode == "custom-call" && instruction.target == target)
        count_readers(module, computation, instruction.id, counts);
  return counts;
}

Collectives count_collectives(std::string_view proto, int64_t unknown_trips, int64_t devices) {
  const Module module = read_module(proto);
  Counter counter(module, unknown_trips, devices);
  counter.visit(module.entry, 1);
  return counter.result;
}

}  // namespace gavel

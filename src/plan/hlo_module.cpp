#include "plan/hlo_module.h"

#include <charconv>
#include <string>

#include "base/error.h"

namespace gavel::hlo {

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
    case 21:
    case 22:
      return 0.5;  // S4, U4
    default:
      return 1;
  }
}

HloShape parse_shape(std::string_view bytes) {
  HloShape shape;
  double elements = 1;
  ProtoReader reader(bytes);
  while (auto field = reader.next()) {
    if (field->number == 2) shape.type = field->integer;
    if (field->number == 3)
      for (uint64_t dimension : integers(*field)) {
        elements *= static_cast<double>(dimension);
        shape.dimensions.push_back(static_cast<int64_t>(dimension));
      }
    if (field->number == 4) shape.parts.push_back(parse_shape(field->bytes));
  }
  constexpr uint64_t kTuple = 13, kOpaque = 14, kToken = 17;
  if (shape.type != kTuple && shape.type != kOpaque && shape.type != kToken)
    shape.bytes = elements * element_bytes(shape.type);
  return shape;
}

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

/** Of an xla.DotDimensionNumbers. */
std::vector<uint64_t> contracted_dimensions(std::string_view bytes) {
  std::vector<uint64_t> dimensions;
  ProtoReader reader(bytes);
  while (auto field = reader.next())
    if (field->number == 1)
      for (uint64_t dimension : integers(*field)) dimensions.push_back(dimension);
  return dimensions;
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
      case 26:
        instruction.channel = field->integer;
        break;
      case 28:
        instruction.target = field->bytes;
        break;
      case 30:
        instruction.contracted = contracted_dimensions(field->bytes);
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
      if (part->number == 2 && part->wire == 2) computation.instructions.push_back(parse_instruction(part->bytes));
      if (part->number == 5) id = part->integer;
      if (part->number == 6) computation.root = part->integer;
    }
    module.computations[id] = std::move(computation);
  }
  return module;
}

}  // namespace

double HloShape::total() const {
  double sum = bytes;
  for (const HloShape& part : parts) sum += part.total();
  return sum;
}

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

std::optional<int64_t> trip_count(const Instruction& loop) {
  // "known_trip_count":{"n":"32"}
  const std::string_view config = loop.backend_config;
  size_t at = config.find("known_trip_count");
  if (at == std::string_view::npos) return std::nullopt;
  at = config.find_first_of("0123456789", config.find("\"n\"", at));
  if (at == std::string_view::npos) return std::nullopt;
  int64_t count = 0;
  std::from_chars(config.data() + at, config.data() + config.size(), count);
  return count;
}

}  // namespace gavel::hlo

#include "pjrt/compile_options.h"

#include <bit>

namespace gavel::pjrt {

namespace {

/** Just enough of the protocol-buffer wire format: varints, 64-bit numbers and length-delimited fields. */
class ProtoWriter {
 public:
  void integer(int field, int64_t value) {
    tag(field, 0);
    varint(static_cast<uint64_t>(value));  // negative numbers take ten bytes, as protobuf's int64 does
  }
  void real(int field, double value) {
    tag(field, 1);
    auto bits = std::bit_cast<uint64_t>(value);
    for (int i = 0; i < 8; ++i) bytes_ += static_cast<char>(bits >> (8 * i) & 0xff);
  }
  void text(int field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    bytes_ += value;
  }
  void message(int field, const ProtoWriter& value) { text(field, value.bytes_); }
  const std::string& bytes() const { return bytes_; }

 private:
  void tag(int field, int wire_type) { varint(static_cast<uint64_t>(field) << 3 | wire_type); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

ProtoWriter encode_override(const std::string& name, const OptionValue& option) {
  ProtoWriter value;  // OptionOverrideProto
  if (auto* text = std::get_if<std::string>(&option))
    value.text(1, *text);
  else if (auto* flag = std::get_if<bool>(&option))
    value.integer(2, *flag);
  else if (auto* integer = std::get_if<int64_t>(&option))
    value.integer(3, *integer);
  else if (auto* number = std::get_if<float>(&option))
    value.real(4, *number);
  else
    fail("compile option {}: lists are not allowed here", name);
  ProtoWriter entry;  // map entry
  entry.text(1, name);
  entry.message(2, value);
  return entry;
}

}  // namespace

std::string encode(const CompileOptions& options) {
  if (options.num_partitions < 1)
    fail("compile options: expected num_partitions of at least 1, found {}", options.num_partitions);
  if (!options.device_ids.empty() && static_cast<int64_t>(options.device_ids.size()) != options.num_partitions)
    fail("compile options: {} device ids for {} partitions", options.device_ids.size(), options.num_partitions);

  ProtoWriter build;  // ExecutableBuildOptionsProto
  build.integer(1, -1);
  build.integer(4, 1);
  build.integer(5, options.num_partitions);
  build.integer(6, options.num_partitions > 1);
  if (!options.device_ids.empty()) {
    ProtoWriter assignment;  // DeviceAssignmentProto: one computation per partition, one replica each
    assignment.integer(1, 1);
    assignment.integer(2, options.num_partitions);
    for (int64_t id : options.device_ids) {
      ProtoWriter computation;
      computation.integer(1, id);
      assignment.message(3, computation);
    }
    build.message(9, assignment);
  }
  if (options.device_memory > 0) build.integer(15, options.device_memory);
  build.integer(19, options.use_shardy);

  ProtoWriter top;  // CompileOptionsProto
  top.message(3, build);
  for (const auto& [name, option] : options.preferences)
    if (!options.overrides.contains(name)) top.message(7, encode_override(name, option));
  for (const auto& [name, option] : options.overrides) top.message(7, encode_override(name, option));
  return top.bytes();
}

}  // namespace gavel::pjrt

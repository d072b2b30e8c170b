#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>

// Optimised programs for the tests.

namespace gavel::hlo_builder {

/** Writes protocol buffers by hand: the tests are of a reader that knows no schema. */
inline std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
inline std::string number(int field, uint64_t value) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(value);
}
inline std::string text(int field, const std::string& value) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(value.size()) + value;
}
inline std::string fixed(int field) {
  return varint(static_cast<uint64_t>(field) << 3 | 1) + std::string(8, '\1');
}

constexpr uint64_t kF32 = 11, kBF16 = 16, kTuple = 13;
inline std::string array(uint64_t type, std::initializer_list<uint64_t> dimensions) {
  std::string packed;
  for (uint64_t d : dimensions) packed += varint(d);
  return number(2, type) + text(3, packed);
}
inline std::string tuple(std::initializer_list<std::string> parts) {
  std::string out = number(2, kTuple);
  for (const std::string& part : parts) out += text(4, part);
  return out;
}
inline std::string instruction(const std::string& opcode, const std::string& shape, uint64_t id,
                               std::initializer_list<uint64_t> operands = {},
                               std::initializer_list<uint64_t> called = {}, const std::string& config = "") {
  std::string out = text(1, "name") + text(2, opcode) + text(3, shape) + fixed(99) + number(35, id);
  std::string packed;
  for (uint64_t operand : operands) packed += varint(operand);
  if (!packed.empty()) out += text(36, packed);
  for (uint64_t computation : called) out += number(38, computation);
  return config.empty() ? out : out + text(43, config);
}
inline std::string computation(uint64_t id, std::initializer_list<std::string> instructions) {
  std::string out = text(1, "c");
  for (const std::string& one : instructions) out += text(2, one);
  return out + number(5, id);
}

}  // namespace gavel::hlo_builder

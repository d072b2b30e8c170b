#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace gavel::hlo {

/** An xla.ShapeProto. */
struct HloShape {
  uint64_t type = 0;  // of xla.PrimitiveType
  double bytes = 0;   // of an array
  std::vector<int64_t> dimensions;
  std::vector<HloShape> parts;
  double total() const;
  /** Of an array, or of a tuple's first array. */
  const HloShape& first() const { return parts.empty() ? *this : parts.front().first(); }
};
constexpr uint64_t kF32 = 11, kF64 = 12;

struct Instruction {
  std::string_view opcode, target;  // `target`: of a custom call
  HloShape shape;
  uint64_t id = 0;
  uint64_t channel = 0;  // 0: none
  uint64_t parameter = 0;
  std::vector<uint64_t> operands, called;
  std::vector<uint64_t> contracted;  // dimensions of a dot's left side
  std::optional<int64_t> group;      // devices of a group; none: all are one
  std::string_view backend_config;
};

struct Computation {
  std::vector<Instruction> instructions;
  uint64_t root = 0;
};

/** An optimised program. Its texts are views of the bytes that it was read from. */
struct Module {
  std::map<uint64_t, Computation> computations;
  uint64_t entry = 0;
};

/** Reads an xla.HloModuleProto, or an HloProto or HloModuleProtoWithConfig around one, as plugins give it for the optimised program.
 * Throws Error when the bytes are none of these. */
Module read_module(std::string_view proto);

/** How often a while loop runs, as XLA's loop analysis noted it; nothing where it did not. */
std::optional<int64_t> trip_count(const Instruction& loop);

}  // namespace gavel::hlo

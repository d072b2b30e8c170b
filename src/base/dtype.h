#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace gavel {

/** Element types. Names as StableHLO spells them in comments. */
enum class DType : uint8_t {
  kBool,  // i1, one byte an element on the host
  kU8,    // ui8
  kI8,    // i8
  kU16,   // ui16
  kI16,   // i16
  kU32,   // ui32
  kI32,   // i32
  kU64,   // ui64
  kI64,   // i64
  kF16,   // f16
  kBF16,  // bf16
  kF32,   // f32
  kF64,   // f64
};

/** Bytes of one element on the host. */
size_t byte_size(DType dtype);

/** "f32", "bf16", "i32", "ui8", "i1", … */
std::string_view stablehlo_name(DType dtype);

/** "float32", "bfloat16", "int32", …, as recipes and messages spell them. */
std::string_view dtype_name(DType dtype);

bool is_float(DType dtype);
bool is_integer(DType dtype);  // false for kBool

/** bfloat16 is the upper half of a float32. */
inline float bf16_to_f32(uint16_t value) {
  return std::bit_cast<float>(uint32_t{value} << 16);
}

/** Round to nearest even; NaN stays NaN. */
inline uint16_t f32_to_bf16(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/** IEEE half precision, subnormals included. */
float f16_to_f32(uint16_t value);

}  // namespace gavel

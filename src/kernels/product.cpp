#include "kernels/product.h"

#include <cstring>

#include "base/error.h"
#include "kernels/convert.h"

namespace gavel {
void check_linear(const LinearShape& shape, std::initializer_list<DType> types) {
  if (shape.rows < 0 || shape.in < 1 || shape.out < 1)
    fail("linear: {} rows, {} inputs, {} outputs: expected at least 0, 1 and 1", shape.rows, shape.in, shape.out);
  for (DType type : types)
    if (type != DType::kF32 && type != DType::kBF16)
      fail("linear: expected float32 or bfloat16 operands, found {}", dtype_name(type));
}

void check_weight(const FrozenWeight& weight, int64_t in) {
  if (weight.group == 0) return check_linear({0, in, 1}, {weight.dtype});
  if (weight.dtype != DType::kI8 && weight.dtype != DType::kU8)
    fail("linear: expected codes in int8 or uint8, found {}", dtype_name(weight.dtype));
  if (weight.group < 2 || weight.group % 2 != 0 || in % weight.group != 0)
    fail("linear: groups of {} in rows of {}: expected an even number that divides them", weight.group, in);
  if (weight.in_blocks()) {
    if (weight.blocks.groups < 1 || in % (weight.group * weight.blocks.groups) != 0)
      fail("linear: blocks of {} groups of {} in rows of {}", weight.blocks.groups, weight.group, in);
    return;
  }
  check_linear({0, in, 1}, {weight.scales.dtype});
}

DType product_type(Compute compute, int64_t k) {
  return compute == Compute::kBF16 && k % 2 == 0 && has_native_bf16() ? DType::kBF16 : DType::kF32;
}

std::vector<float> widened_vector(ConstMatrix bias, int64_t size) {
  if (bias.data == nullptr) return {};
  if (bias.dtype != DType::kF32 && bias.dtype != DType::kBF16)
    fail("expected a bias or weight in float32 or bfloat16, found {}", dtype_name(bias.dtype));
  std::vector<float> result(static_cast<size_t>(size));
  copy_block(bias.dtype, bias.data, size, DType::kF32, result.data(), size, 1, size);
  return result;
}

void copy_block(DType from_type, const void* from, int64_t from_leading, DType to_type, void* to, int64_t to_leading,
                int64_t rows, int64_t columns, float scale) {
  if (from_leading == columns && to_leading == columns && rows > 0) {
    columns *= rows;
    rows = 1;
  }
  const auto n = static_cast<size_t>(columns);
  for (int64_t r = 0; r < rows; ++r) {
    const void* source = element(ConstMatrix(from_type, from), r * from_leading);
    void* target = element(Matrix{to_type, to}, r * to_leading);
    if (from_type == DType::kBF16) {
      if (to_type == DType::kBF16)
        std::memcpy(target, source, n * sizeof(uint16_t));
      else
        widen(static_cast<const uint16_t*>(source), static_cast<float*>(target), n);
    } else if (to_type == DType::kBF16) {
      narrow(static_cast<const float*>(source), static_cast<uint16_t*>(target), n, scale);
    } else {
      for (size_t i = 0; i < n; ++i) static_cast<float*>(target)[i] = static_cast<const float*>(source)[i] * scale;
    }
  }
}

int64_t copy_bytes(DType type, DType from, int64_t count) {
  return type == from ? 0 : count * static_cast<int64_t>(byte_size(type));
}

const void* as_type(DType type, ConstMatrix from, int64_t count, void* copy) {
  if (from.dtype == type) return from.data;
  copy_block(from.dtype, from.data, count, type, copy, count, 1, count);
  return copy;
}

}  // namespace gavel

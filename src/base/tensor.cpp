#include "base/tensor.h"

#include <fmt/ranges.h>

#include <atomic>
#include <cstdlib>

#include "base/half.h"
#include "base/parallel.h"

namespace gavel {

int64_t num_elements(const Shape& shape) {
  int64_t product = 1;
  for (int64_t dimension : shape) product *= dimension;
  return product;
}

std::string to_string(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

HostTensor::HostTensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)) {
  for (int64_t dimension : shape_)
    if (dimension < 0) fail("HostTensor: negative dimension in shape {}", to_string(shape_));
  // Aligned to a cache line, which also lets a CPU device use the memory without a copy.
  size_t size = (bytes() + 63) / 64 * 64;
  owned_ = std::aligned_alloc(64, size == 0 ? 64 : size);
  if (owned_ == nullptr) throw std::bad_alloc();
  std::memset(owned_, 0, size);
  keep_alive_ = std::shared_ptr<void>(owned_, std::free);
  data_ = owned_;
}

HostTensor::HostTensor(DType dtype, Shape shape, const void* data, std::shared_ptr<const void> keep_alive)
    : dtype_(dtype), shape_(std::move(shape)), data_(data), keep_alive_(std::move(keep_alive)) {}

void* HostTensor::mutable_data() {
  if (owned_ == nullptr) fail("HostTensor: a view of other memory can't be written to");
  return owned_;
}

namespace {

/** f16_to_f32 without branches, so that a loop of it becomes vector code; all bits are the same. */
inline float half_bits_to_float(uint16_t value) {
  uint32_t magnitude = (uint32_t{value} & 0x7fffu) << 13;
  uint32_t normal = magnitude + (112u << 23);
  // The mantissa of a subnormal counts units of 2^-24: put it behind 2^-14 and take that away again.
  float shifted = std::bit_cast<float>(magnitude | (113u << 23)) - 0x1p-14f;
  uint32_t finite = magnitude < (1u << 23) ? std::bit_cast<uint32_t>(shifted) : normal;
  uint32_t bits = magnitude >= (31u << 23) ? magnitude | 0x7f800000u : finite;
  return std::bit_cast<float>(bits | (uint32_t{value} & 0x8000u) << 16);
}

/** One simple loop per pair of types: the compiler makes vector code of it. */
template <class From, class To, class Convert>
void convert_all(const void* from, void* to, size_t count, Convert convert) {
  const From* __restrict in = static_cast<const From*>(from);
  To* __restrict out = static_cast<To*>(to);
  for (size_t i = 0; i < count; ++i) out[i] = convert(in[i]);
}

template <class From, class Read>
void convert_from(const void* from, DType dtype, void* to, size_t count, Read read) {
  if (dtype == DType::kF16)
    convert_all<From, uint16_t>(from, to, count, [&](From v) { return f32_to_f16(static_cast<float>(read(v))); });
  else if (dtype == DType::kBF16)
    convert_all<From, uint16_t>(from, to, count, [&](From v) { return f32_to_bf16(static_cast<float>(read(v))); });
  else if (dtype == DType::kF32)
    convert_all<From, float>(from, to, count, [&](From v) { return static_cast<float>(read(v)); });
  else
    convert_all<From, double>(from, to, count, [&](From v) { return static_cast<double>(read(v)); });
}

}  // namespace

HostTensor HostTensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  if (!is_float(dtype_) || !is_float(dtype))
    fail("HostTensor: no conversion from {} to {}", dtype_name(dtype_), dtype_name(dtype));
  HostTensor out(dtype, shape_);
  size_t count = static_cast<size_t>(size());
  switch (dtype_) {
    case DType::kF16:
      convert_from<uint16_t>(data_, dtype, out.owned_, count, half_bits_to_float);
      break;
    case DType::kBF16:
      convert_from<uint16_t>(data_, dtype, out.owned_, count, bf16_to_f32);
      break;
    case DType::kF32:
      convert_from<float>(data_, dtype, out.owned_, count, [](float v) { return v; });
      break;
    default:
      convert_from<double>(data_, dtype, out.owned_, count, [](double v) { return v; });
      break;
  }
  return out;
}

HostTensor HostTensor::reshaped(Shape shape) const {
  if (num_elements(shape) != size())
    fail("HostTensor: shape {} can't be viewed as {}", to_string(shape_), to_string(shape));
  HostTensor out = *this;
  out.shape_ = std::move(shape);
  return out;
}

namespace {

/** The first of the elements whose exponent's bits are all ones; `size` when there is none. */
template <class Bits>
size_t first_with_exponent(const Bits* bits, size_t size, Bits exponent) {
  constexpr size_t kAtOnce = 4096;
  for (size_t begin = 0; begin < size; begin += kAtOnce) {
    const size_t end = std::min(size, begin + kAtOnce);
    // Without a branch in the loop, which the compiler makes vectors of.
    bool any = false;
    for (size_t i = begin; i < end; ++i) any |= (bits[i] & exponent) == exponent;
    for (size_t i = begin; any && i < end; ++i)
      if ((bits[i] & exponent) == exponent) return i;
  }
  return size;
}

template <class Bits>
std::optional<int64_t> first_with_exponent(const HostTensor& tensor, Bits exponent) {
  const auto* bits = static_cast<const Bits*>(tensor.data());
  const auto size = static_cast<size_t>(tensor.size());
  std::atomic<size_t> first = size;
  parallel_for(size, size_t{1} << 20, 0, [&](size_t begin, size_t end) {
    const size_t found = begin + first_with_exponent(bits + begin, end - begin, exponent);
    size_t seen = first;
    while (found < end && found < seen && !first.compare_exchange_weak(seen, found)) {
    }
  });
  return first < size ? std::optional(static_cast<int64_t>(first.load())) : std::nullopt;
}

}  // namespace

std::optional<int64_t> first_not_finite(const HostTensor& tensor) {
  switch (tensor.dtype()) {
    case DType::kF16:
      return first_with_exponent<uint16_t>(tensor, 0x7c00);
    case DType::kBF16:
      return first_with_exponent<uint16_t>(tensor, 0x7f80);
    case DType::kF32:
      return first_with_exponent<uint32_t>(tensor, 0x7f800000);
    case DType::kF64:
      return first_with_exponent<uint64_t>(tensor, 0x7ff0000000000000);
    default:
      return std::nullopt;
  }
}

}  // namespace gavel

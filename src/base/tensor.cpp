#include "base/tensor.h"

#include <fmt/ranges.h>

#include <cstdlib>

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

HostTensor HostTensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  auto is_source = [](DType d) { return is_float(d); };
  if (!is_source(dtype_) || !is_source(dtype) || dtype == DType::kF16)
    fail("HostTensor: no conversion from {} to {}", dtype_name(dtype_), dtype_name(dtype));
  HostTensor out(dtype, shape_);
  size_t count = static_cast<size_t>(size());
  auto read = [&](size_t i) -> double {
    switch (dtype_) {
      case DType::kF16:
        return f16_to_f32(static_cast<const uint16_t*>(data_)[i]);
      case DType::kBF16:
        return bf16_to_f32(static_cast<const uint16_t*>(data_)[i]);
      case DType::kF32:
        return static_cast<const float*>(data_)[i];
      default:
        return static_cast<const double*>(data_)[i];
    }
  };
  for (size_t i = 0; i < count; ++i) {
    double value = read(i);
    switch (dtype) {
      case DType::kBF16:
        static_cast<uint16_t*>(out.owned_)[i] = f32_to_bf16(static_cast<float>(value));
        break;
      case DType::kF32:
        static_cast<float*>(out.owned_)[i] = static_cast<float>(value);
        break;
      default:
        static_cast<double*>(out.owned_)[i] = value;
        break;
    }
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

}  // namespace gavel

#pragma once
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"

namespace gavel {

/** Dimensions, outermost first; {} is a scalar. */
using Shape = std::vector<int64_t>;

/** Product of the dimensions; 1 for a scalar. */
int64_t num_elements(const Shape& shape);

/** "[2, 3]" */
std::string to_string(const Shape& shape);

/** Row-major host data: either owned, or a view into something that `keep_alive` holds (a memory-mapped
 * file). Copies share the data. */
class HostTensor {
 public:
  HostTensor() = default;
  /** Owned and zeroed. */
  HostTensor(DType dtype, Shape shape);
  /** A view of `data`, which `keep_alive` must keep valid. */
  HostTensor(DType dtype, Shape shape, const void* data, std::shared_ptr<const void> keep_alive);

  /** Owned copy of values; dtype from T (float, int32_t, int64_t, uint32_t, uint16_t, uint8_t, double). */
  template <class T>
  static HostTensor from(const std::vector<T>& values, Shape shape);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const { return num_elements(shape_); }
  size_t bytes() const { return static_cast<size_t>(size()) * byte_size(dtype_); }
  const void* data() const { return data_; }
  /** Whether the data belong to somebody else (the `keep_alive` of the constructor). */
  bool is_view() const { return owned_ == nullptr; }
  /** Throws Error when the tensor is a view. */
  void* mutable_data();

  /** Typed access; throws Error when T does not fit the dtype (bf16 and f16 are read as uint16_t, bool as uint8_t). */
  template <class T>
  std::span<const T> as() const;
  template <class T>
  std::span<T> as_mutable();

  /** A copy with every element converted from a float type to bf16 (rounded to nearest even), f32 or f64. Returns *this
   * (shared) when the dtype is the same already; throws Error for any other conversion. */
  HostTensor to(DType dtype) const;
  /** Shares the data, with another shape. Throws Error when its size is another. */
  HostTensor reshaped(Shape shape) const;

 private:
  DType dtype_ = DType::kF32;
  Shape shape_;
  const void* data_ = nullptr;
  void* owned_ = nullptr;
  std::shared_ptr<const void> keep_alive_;
};

/** The flat index of the first element that is infinite or not a number; none in integers. On all cores. */
std::optional<int64_t> first_not_finite(const HostTensor& tensor);

namespace detail {
template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::kF32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::kF64;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::kI32;
}
template <>
constexpr DType dtype_of<int64_t>() {
  return DType::kI64;
}
template <>
constexpr DType dtype_of<uint32_t>() {
  return DType::kU32;
}
template <>
constexpr DType dtype_of<uint64_t>() {
  return DType::kU64;
}
template <>
constexpr DType dtype_of<uint16_t>() {
  return DType::kU16;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::kU8;
}
template <>
constexpr DType dtype_of<int8_t>() {
  return DType::kI8;
}

inline bool same_storage(DType have, DType want) {
  if (have == want) return true;
  if (want == DType::kU16) return have == DType::kBF16 || have == DType::kF16;
  return want == DType::kU8 && have == DType::kBool;
}
}  // namespace detail

template <class T>
std::span<const T> HostTensor::as() const {
  if (!detail::same_storage(dtype_, detail::dtype_of<T>()))
    fail("HostTensor::as: expected {}, the tensor holds {}", dtype_name(detail::dtype_of<T>()), dtype_name(dtype_));
  return {static_cast<const T*>(data_), static_cast<size_t>(size())};
}

template <class T>
std::span<T> HostTensor::as_mutable() {
  if (!detail::same_storage(dtype_, detail::dtype_of<T>()))
    fail("HostTensor::as_mutable: expected {}, the tensor holds {}", dtype_name(detail::dtype_of<T>()),
         dtype_name(dtype_));
  return {static_cast<T*>(mutable_data()), static_cast<size_t>(size())};
}

template <class T>
HostTensor HostTensor::from(const std::vector<T>& values, Shape shape) {
  HostTensor out(detail::dtype_of<T>(), std::move(shape));
  if (out.size() != static_cast<int64_t>(values.size()))
    fail("HostTensor::from: {} values do not fill shape {}", values.size(), to_string(out.shape()));
  std::memcpy(out.mutable_data(), values.data(), out.bytes());
  return out;
}

}  // namespace gavel

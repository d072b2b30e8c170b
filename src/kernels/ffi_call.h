#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/tensor.h"

struct XLA_FFI_Error;
struct XLA_FFI_CallFrame;

namespace gavel {

/** An array as a handler sees it. */
struct FfiArray {
  DType dtype = DType::kF32;
  Shape shape;
  void* data = nullptr;

  int64_t size() const { return num_elements(shape); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

/** What a custom call gives its handler, checked as it is read. Every check throws Error with what
 * was expected and what was found. */
class FfiCall {
 public:
  FfiCall(std::vector<FfiArray> operands, std::vector<FfiArray> results,
          std::vector<std::pair<std::string, std::variant<int64_t, double>>> attributes)
      : operands_(std::move(operands)), results_(std::move(results)), attributes_(std::move(attributes)) {}

  /** Throws unless the numbers of arrays are in range. */
  void expect(size_t fewest_operands, size_t most_operands, size_t results) const;
  size_t operand_count() const { return operands_.size(); }

  const FfiArray& operand(size_t index) const { return operands_.at(index); }
  const FfiArray& result(size_t index) const { return results_.at(index); }
  /** The same, with the shape and, unless none is given, the type checked. */
  const FfiArray& operand(size_t index, const Shape& shape, std::optional<DType> type = {}) const;
  const FfiArray& result(size_t index, const Shape& shape, std::optional<DType> type = {}) const;

  float number(std::string_view name) const;
  int64_t integer(std::string_view name, int64_t otherwise) const;

 private:
  const FfiArray& check(const char* kind, const std::vector<FfiArray>& arrays, size_t index,
                        const Shape& shape, std::optional<DType> type) const;

  std::vector<FfiArray> operands_, results_;
  std::vector<std::pair<std::string, std::variant<int64_t, double>>> attributes_;
};

/** A handler without XLA: reads the call, runs a kernel, throws on errors. */
struct FfiKernel {
  const char* target;
  void (*run)(const FfiCall& call);
};

/** Reads XLA's frame into an FfiCall, runs the kernel, turns what it throws into an XLA error. */
XLA_FFI_Error* run_ffi_kernel(XLA_FFI_CallFrame* frame, const FfiKernel& kernel);

inline constexpr int kLinearKernels = 6, kAttentionKernels = 2, kElementwiseKernels = 6, kMlpKernels = 3;
extern const FfiKernel linear_kernels[kLinearKernels];
extern const FfiKernel attention_kernels[kAttentionKernels];
extern const FfiKernel elementwise_kernels[kElementwiseKernels];
extern const FfiKernel mlp_kernels[kMlpKernels];

}  // namespace gavel

#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/tensor.h"
#include "kernels/linear.h"

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

/** The arrays and attributes of one custom call, checked as they are read. Every check throws Error with what was
 * expected and what was found. */
class FfiCall {
 public:
  FfiCall(std::vector<FfiArray> operands, std::vector<FfiArray> results,
          std::vector<std::pair<std::string, std::variant<int64_t, double>>> attributes)
      : operands_(std::move(operands)), results_(std::move(results)), attributes_(std::move(attributes)) {}

  /** Throws unless there are so many operands and results. */
  void expect(size_t fewest_operands, size_t most_operands, size_t results) const;
  size_t operand_count() const { return operands_.size(); }

  const FfiArray& operand(size_t index) const { return operands_.at(index); }
  /** An array whose shape is checked, and its type too where one is given. */
  const FfiArray& operand(size_t index, const Shape& shape, std::optional<DType> type = {}) const;
  const FfiArray& result(size_t index, const Shape& shape, std::optional<DType> type = {}) const;

  /** A floating-point attribute, which must be there. */
  float number(std::string_view name) const;
  /** An integer or boolean attribute, which must be there. */
  int64_t integer(std::string_view name) const;
  /** As above, and `otherwise` where the call has no attribute of this name. */
  float number(std::string_view name, float otherwise) const;
  int64_t integer(std::string_view name, int64_t otherwise) const;

 private:
  bool has(std::string_view name) const;
  const FfiArray& check(const char* kind, const std::vector<FfiArray>& arrays, size_t index, const Shape& shape,
                        std::optional<DType> type) const;

  std::vector<FfiArray> operands_, results_;
  std::vector<std::pair<std::string, std::variant<int64_t, double>>> attributes_;
};

/** The attribute `compute`. */
Compute compute_of(const FfiCall& call);

/** A quantised weight of operands: codes int8 [N, K] or uint8 [N, K / 2], two in a byte, and scales [N, K / group], or
 * float16 [N, K / block, numbers of a block]. */
FrozenWeight quantised_weight(const FfiCall& call, size_t codes, size_t scales);
/** K of such a weight. */
int64_t inputs_of_codes(const FfiArray& codes);

/** A custom call's name and what it runs, free of XLA's types: reads the call, runs a kernel, throws on errors. */
struct FfiKernel {
  const char* target;
  void (*run)(const FfiCall& call);
};

/** Reads the call that XLA describes in `frame`, runs the kernel, turns what it throws into an XLA error. */
XLA_FFI_Error* run_ffi_kernel(XLA_FFI_CallFrame* frame, const FfiKernel& kernel);

inline constexpr int kLinearKernels = 12, kAttentionKernels = 2, kElementwiseKernels = 9, kMlpKernels = 6;
// One table per source file (linear_handlers.cpp, attention_handlers.cpp, …).
extern const FfiKernel linear_kernels[kLinearKernels];
extern const FfiKernel attention_kernels[kAttentionKernels];
extern const FfiKernel elementwise_kernels[kElementwiseKernels];
extern const FfiKernel mlp_kernels[kMlpKernels];

}  // namespace gavel

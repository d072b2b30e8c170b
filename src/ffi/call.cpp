#include "ffi/call.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "ffi/handlers.h"
#include "kernels/kernel_profile.h"
#include "pjrt/ffi.h"
#include "xla/ffi/api/ffi.h"

namespace gavel {
namespace {

namespace ffi = xla::ffi;

DType dtype_of_ffi(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::PRED:
      return DType::kBool;
    case ffi::DataType::S8:
      return DType::kI8;
    case ffi::DataType::S16:
      return DType::kI16;
    case ffi::DataType::S32:
      return DType::kI32;
    case ffi::DataType::S64:
      return DType::kI64;
    case ffi::DataType::U8:
      return DType::kU8;
    case ffi::DataType::U16:
      return DType::kU16;
    case ffi::DataType::U32:
      return DType::kU32;
    case ffi::DataType::U64:
      return DType::kU64;
    case ffi::DataType::F16:
      return DType::kF16;
    case ffi::DataType::BF16:
      return DType::kBF16;
    case ffi::DataType::F32:
      return DType::kF32;
    case ffi::DataType::F64:
      return DType::kF64;
    default:
      fail("XLA's data type {} is not one that kernels take", static_cast<int>(type));
  }
}

FfiArray to_array(const ffi::AnyBuffer& buffer) {
  const auto dims = buffer.dimensions();
  return {dtype_of_ffi(buffer.element_type()), Shape(dims.begin(), dims.end()), buffer.untyped_data()};
}

using Attributes = std::vector<std::pair<std::string, std::variant<int64_t, double>>>;

Attributes to_attributes(const ffi::Dictionary& dictionary) {
  Attributes out;
  for (auto it = dictionary.begin(); it != dictionary.end(); ++it) {
    // By name: this header's get by iterator passes every value through an integer.
    const std::string name(*it);
    if (dictionary.isa<float>(it))
      out.emplace_back(name, double{*dictionary.get<float>(*it)});
    else if (dictionary.isa<bool>(it))
      out.emplace_back(name, int64_t{*dictionary.get<bool>(*it)});
    else if (dictionary.isa<int32_t>(it))
      out.emplace_back(name, int64_t{*dictionary.get<int32_t>(*it)});
    else
      fail("attribute '{}': expected f32, i32 or i1", name);
  }
  return out;
}

// XLA calls on one thread from frame to kernel, and one handler object serves all kernels.
thread_local const FfiKernel* current = nullptr;

ffi::Error run(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Dictionary attributes) try {
  std::vector<FfiArray> operands, results;
  for (size_t i = 0; i < args.size(); ++i) {
    auto buffer = args.get<ffi::AnyBuffer>(i);
    if (buffer.has_error()) return buffer.error();
    operands.push_back(to_array(*buffer));
  }
  for (size_t i = 0; i < rets.size(); ++i) {
    auto buffer = rets.get<ffi::AnyBuffer>(i);
    if (buffer.has_error()) return buffer.error();
    results.push_back(to_array(**buffer));
  }
  const KernelTimer timer(current->target);
  current->run({std::move(operands), std::move(results), to_attributes(attributes)});
  return ffi::Error::Success();
} catch (const std::exception& error) {
  return ffi::Error::InvalidArgument(fmt::format("{}: {}", current->target, error.what()));
}

template <const FfiKernel* kKernels, int kIndex>
XLA_FFI_Error* entry(XLA_FFI_CallFrame* frame) {
  return run_ffi_kernel(frame, kKernels[kIndex]);
}

template <const FfiKernel* kKernels, int... kIndices>
void append(std::vector<FfiHandler>& out, std::integer_sequence<int, kIndices...>) {
  (out.push_back({kKernels[kIndices].target, reinterpret_cast<void*>(&entry<kKernels, kIndices>)}), ...);
}

}  // namespace

XLA_FFI_Error* run_ffi_kernel(XLA_FFI_CallFrame* frame, const FfiKernel& kernel) {
  static auto* const handler =
      ffi::Ffi::Bind().RemainingArgs().RemainingRets().Attrs<ffi::Dictionary>().To(run).release();
  current = &kernel;
  return handler->Call(frame);
}

std::vector<FfiHandler> cpu_ffi_handlers() {
  std::vector<FfiHandler> out;
  append<linear_kernels>(out, std::make_integer_sequence<int, kLinearKernels>());
  append<attention_kernels>(out, std::make_integer_sequence<int, kAttentionKernels>());
  append<elementwise_kernels>(out, std::make_integer_sequence<int, kElementwiseKernels>());
  append<mlp_kernels>(out, std::make_integer_sequence<int, kMlpKernels>());
  return out;
}

void register_cpu_kernels(const pjrt::Plugin& plugin) {
  for (const FfiHandler& handler : cpu_ffi_handlers())
    pjrt::register_ffi_handler(plugin, handler.target, "Host", handler.handler);
}

void FfiCall::expect(size_t fewest_operands, size_t most_operands, size_t results) const {
  if (operands_.size() < fewest_operands || operands_.size() > most_operands)
    fail("expected {} to {} operands, found {}", fewest_operands, most_operands, operands_.size());
  if (results_.size() != results) fail("expected {} results, found {}", results, results_.size());
}

const FfiArray& FfiCall::check(const char* kind, const std::vector<FfiArray>& arrays, size_t index, const Shape& shape,
                               std::optional<DType> type) const {
  const FfiArray& array = arrays.at(index);
  if (array.shape != shape)
    fail("{} {}: expected shape {}, found {}", kind, index, to_string(shape), to_string(array.shape));
  if (type && array.dtype != *type)
    fail("{} {}: expected {}, found {}", kind, index, dtype_name(*type), dtype_name(array.dtype));
  return array;
}

const FfiArray& FfiCall::operand(size_t index, const Shape& shape, std::optional<DType> type) const {
  return check("operand", operands_, index, shape, type);
}

const FfiArray& FfiCall::result(size_t index, const Shape& shape, std::optional<DType> type) const {
  return check("result", results_, index, shape, type);
}

float FfiCall::number(std::string_view name) const {
  for (const auto& [key, value] : attributes_)
    if (key == name && std::holds_alternative<double>(value)) return static_cast<float>(std::get<double>(value));
  fail("expected a floating-point attribute '{}'", name);
}

int64_t FfiCall::integer(std::string_view name) const {
  for (const auto& [key, value] : attributes_)
    if (key == name && std::holds_alternative<int64_t>(value)) return std::get<int64_t>(value);
  fail("expected an integer attribute '{}'", name);
}

bool FfiCall::has(std::string_view name) const {
  return std::any_of(attributes_.begin(), attributes_.end(), [&](const auto& one) { return one.first == name; });
}

float FfiCall::number(std::string_view name, float otherwise) const {
  return has(name) ? number(name) : otherwise;
}

int64_t FfiCall::integer(std::string_view name, int64_t otherwise) const {
  return has(name) ? integer(name) : otherwise;
}

Compute compute_of(const FfiCall& call) {
  const int64_t value = call.integer("compute");
  if (value != static_cast<int64_t>(Compute::kBF16) && value != static_cast<int64_t>(Compute::kF32))
    fail("attribute 'compute': expected {} (bf16) or {} (float32), found {}", static_cast<int>(Compute::kBF16),
         static_cast<int>(Compute::kF32), value);
  return static_cast<Compute>(value);
}

int64_t inputs_of_codes(const FfiArray& codes) {
  return codes.shape.at(1) * (codes.dtype == DType::kU8 ? 2 : 1);
}

FrozenWeight quantised_weight(const FfiCall& call, size_t codes, size_t scales) {
  const FfiArray &w = call.operand(codes), &s = call.operand(scales);
  if (w.dtype != DType::kI8 && w.dtype != DType::kU8)
    fail("operand {}: expected codes in int8 or uint8, found {}", codes, dtype_name(w.dtype));
  const bool in_blocks = s.shape.size() == 3 && s.dtype == DType::kF16;
  if (w.shape.size() != 2 || (s.shape.size() != 2 && !in_blocks) || s.shape[0] != w.shape[0] || s.shape[1] < 1)
    fail("operands {} and {}: expected codes [N, K] and scales [N, K / group], found {} and {}", codes, scales,
         to_string(w.shape), to_string(s.shape));
  const int64_t in = inputs_of_codes(w), unit = in / s.shape[1];
  if (in % s.shape[1] != 0)
    fail("operands {} and {}: {} inputs for {} scales, which do not divide them", codes, scales, in, s.shape[1]);
  if (!in_blocks) return {{w.dtype, w.data}, {s.dtype, s.data}, unit};
  const std::optional<BlockScales> blocks = BlockScales::of_count(s.shape[2]);
  if (!blocks || unit % blocks->groups != 0)
    fail("operand {}: expected numbers of blocks of {}, found {} of each", scales, unit, s.shape[2]);
  return {{w.dtype, w.data}, {s.dtype, s.data}, unit / blocks->groups, *blocks};
}

}  // namespace gavel

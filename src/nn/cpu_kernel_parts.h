#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "nn/cpu_kernels.h"

/** What the definitions of the CPU's kernels share, of plain weights and of quantised ones. */
namespace gavel::cpu_kernel_parts {

using Types = std::vector<TensorType>;

inline const KernelDefinition& kernel(std::string_view target) {
  return cpu_kernels().definition(target);
}

/** The kernels' `compute` attribute: the type of the values is the type of the products. */
inline int32_t compute_of(const Value& x) {
  return x.dtype() == DType::kBF16 ? 1 : 2;
}

inline double size(const TensorType& type, size_t dimension) {
  return static_cast<double>(type.shape.at(dimension));
}

/** Of the products with A and B, forward; they are made twice more going back. FLOPs. */
inline double rank_flops(const TensorType& a, const TensorType& b, double tokens) {
  return 2 * size(a, 0) * (size(a, 1) + size(b, 0)) * tokens;
}

}  // namespace gavel::cpu_kernel_parts

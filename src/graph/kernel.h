#pragma once
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "graph/graph.h"
#include "graph/partition.h"

namespace gavel {

/** A call of a function that the device's runtime knows by name (XLA FFI, api_version 4). */
struct Kernel {
  std::string target;
  /** Written as f32, i32 and i1. */
  std::vector<std::pair<std::string, std::variant<double, int32_t, bool>>> attributes;
  /** As Op::gradient; empty for a kernel without one. */
  std::function<std::vector<Value>(const GradientContext&)> gradient;
  /** Matrix-product work of one call. */
  double flops = 0;
  /** The kernel that gives the first output alone, called when nothing reads the others (what the gradient would have). */
  std::string first_output_target = {};
  /** How a mesh cuts it; a program for a mesh can't be emitted when this is not stated. */
  KernelDimensions dimensions = {};
};

std::vector<Value> call_kernel(Kernel kernel, const std::vector<Value>& inputs, std::vector<TensorType> outputs);

}  // namespace gavel

#pragma once
#include <functional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "graph/graph.h"
#include "graph/partition.h"

namespace gavel {

/** Names and values that a kernel is told besides its operands; written as f32, i32 and i1. */
using KernelAttributes = std::vector<std::pair<std::string, std::variant<double, int32_t, bool>>>;

/** One call of a kernel as it stands in a program: on one device's part where a mesh cuts it. */
struct PrintedCall {
  const KernelAttributes& attributes;
  const std::vector<std::string>& names;  // of the operands
  const std::vector<TensorType>& operands;
  const std::vector<TensorType>& results;
  /** Which results anything reads; the others may be left out. */
  const std::vector<bool>& used;
};

/** Writes a call and returns the names of its results, "" for one left out. */
using KernelWriter = std::function<std::vector<std::string>(Printer& printer, const PrintedCall& call)>;

/** Row-major layouts, which kernels take for granted: "[dense<[1, 0]> : tensor<2xindex>, …]". Without them the compiler
 * may hand over what lies transposed in memory, as it does after gathering along the last dimension. */
std::string layouts_text(const std::vector<TensorType>& types);

/** A call of a function that was registered with the device's plugin under a name (a custom call of XLA FFI, api_version 4),
 * or of one that the compiler knows of itself, which is written by `write`. */
struct Kernel {
  std::string target;
  KernelAttributes attributes;
  /** As Op::gradient; empty for a kernel without a rule, whose gradient can't be asked for. */
  std::function<std::vector<Value>(const GradientContext&)> gradient;
  /** As Op::flops, of one call. */
  double flops = 0;
  /** The kernel that gives the first output alone, called where nothing reads the others, which are there for the gradient.
   * Not used in programs for a mesh. "" = there is none. */
  std::string first_output_target = {};
  /** How the call is split over a mesh; a program for a mesh can't be emitted when this is not stated. */
  KernelDimensions dimensions = {};
  /** Writes the call in its own form; empty: as a call of XLA FFI. */
  KernelWriter write = {};
};

/** The outputs of the call, which have the types `outputs`. There must be an input. */
std::vector<Value> call_kernel(Kernel kernel, const std::vector<Value>& inputs, std::vector<TensorType> outputs);

}  // namespace gavel

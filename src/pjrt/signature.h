#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "base/tensor.h"

namespace gavel::pjrt {

/** One argument of a program's @main as its text declares it: the whole array, not a device's shard. */
struct ArgumentSpec {
  DType dtype = DType::kF32;
  Shape shape;
  /** Carries tf.aliasing_output or jax.buffer_donor: the buffer is used up by an execution. */
  bool donated = false;
};

/** Reads the arguments of `func.func … @main(…)` from StableHLO text. The C API can't be asked for them, and plugins
 * compare only sizes in bytes, so an i32 passed for an f32 would be taken silently. Returns nothing when the text has
 * no such function in the usual form, or has types other than ranked tensors; checks are then left to the plugin. */
std::optional<std::vector<ArgumentSpec>> parse_arguments(std::string_view mlir);

}  // namespace gavel::pjrt

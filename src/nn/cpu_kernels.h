#pragma once
#include "nn/kernel_registry.h"

namespace gavel {

/** The kernels of src/kernels, which programs for the CPU call through XLA FFI. Values are float32 or bfloat16, frozen
 * weights either of the two. ffi/handlers.h lists the targets with their operands. */
const KernelSet& cpu_kernels();

}  // namespace gavel

#pragma once
#include "nn/kernel_registry.h"

namespace gavel {

/** The kernels of src/kernels, called through XLA FFI. float32 or bfloat16 values; weights of either type. Targets and
 * operands: kernels/ffi_handlers.h. */
const KernelSet& cpu_kernels();

}  // namespace gavel

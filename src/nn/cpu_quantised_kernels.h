#pragma once
#include "nn/kernel_registry.h"

namespace gavel {

/** Adds the kernels of linears and feed-forward blocks whose weights are quantised. */
void add_quantised_cpu_kernels(KernelSet& set);

}  // namespace gavel

#pragma once
#include "spec/family.h"

namespace gavel {

/** Qwen2 and Qwen2.5 (Yang et al., 2024): biases on q, k and v; layers from max_window_layers on may have a window. */
Family qwen2_family();

/** Qwen3 (Yang et al., 2025): heads of queries and keys are normed before rotary; no biases unless the config says so. */
Family qwen3_family();

}  // namespace gavel

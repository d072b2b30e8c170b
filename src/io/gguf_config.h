#pragma once
#include "io/gguf.h"
#include "spec/model_config.h"

namespace gavel {

/** The tensor of a GGUF file that lists RopeSpec::freq_factors. */
inline constexpr const char* kRopeFactors = "rope_freqs.weight";

/** The config that a GGUF file's metadata and tensors tell. Frequency factors that Llama 3.1's rule gives become rope
 * type llama3; others stay in RopeSpec::freq_factors. Throws Error naming the file and the key. */
ModelConfig gguf_config(const GgufFile& file);

}  // namespace gavel

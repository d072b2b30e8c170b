#pragma once
#include "io/gguf.h"
#include "spec/model_config.h"

namespace gavel {

/** The tensor of a GGUF file that lists RopeSpec::freq_factors. */
inline constexpr const char* kRopeFactors = "rope_freqs.weight";

/** The config that a GGUF file's metadata and tensors tell. Llama 3.1's frequency factors become rope type
 * llama3 where they are the rule's, else they stay in rope_freq_factors. Throws Error naming the file and the
 * key. */
ModelConfig gguf_config(const GgufFile& file);

}  // namespace gavel

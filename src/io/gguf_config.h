#pragma once
#include "io/gguf.h"
#include "io/llama_config.h"

namespace gavel {

/** The config that a GGUF file's metadata and tensors tell. Llama 3.1's frequency factors become rope type
 * llama3 where they are the rule's, else they stay in rope_freq_factors. Throws Error naming the file and the
 * key. */
LlamaConfig gguf_config(const GgufFile& file);

/** The divisors of the rotary frequencies [head_dim / 2] that rope type llama3 stands for (Llama 3.1:
 * long wavelengths are stretched by the factor, short ones kept, those between blended). */
std::vector<double> llama3_factors(double rope_theta, int64_t head_dim, const RopeScaling& scaling);

}  // namespace gavel

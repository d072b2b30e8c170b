#pragma once
#include "spec/family.h"

namespace gavel {

/** Mistral 7B and its kin (Jiang et al., 2023): a Llama whose queries may see a window of tokens alone. GGUF files call it
 * llama. */
Family mistral_family();

}  // namespace gavel

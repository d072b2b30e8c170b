#pragma once
#include "spec/family.h"

namespace gavel {

/** Llama 1 to 3.3, SmolLM2, TinyLlama and others that say model_type llama (Touvron et al., 2023). */
Family llama_family();

}  // namespace gavel

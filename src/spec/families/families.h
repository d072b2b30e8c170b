#pragma once
#include "spec/family.h"

namespace gavel {

/** Llama 1 to 3.3, SmolLM2, TinyLlama and others that say model_type llama (Touvron et al., 2023). */
Family llama_family();

/** Mistral 7B (Jiang et al., 2023): a Llama whose queries see the last sliding_window keys. Its GGUF files call
 * themselves llama. */
Family mistral_family();

/** Qwen2 and Qwen2.5 (Yang et al., 2024): biases on q, k and v; layers from max_window_layers on may have a window. */
Family qwen2_family();

/** Qwen3 (Yang et al., 2025): heads of queries and keys are normed before rotary; no biases unless the config says so. */
Family qwen3_family();

/** Gemma 2 (Gemma Team, 2024): norms before and after each part, whose weights are distances from 1; embeddings scaled by
 * the square root of hidden_size; a soft cap on scores; a window on every other layer. */
Family gemma2_family();

/** Gemma 3's text models (Gemma Team, 2025): Gemma 2 with norms of queries' and keys' heads, without the cap, and with a
 * window and a rope of its own on five of six layers. */
Family gemma3_family();

/** SmolLM3 (Hugging Face, 2025): a Llama whose every fourth layer has no positions. */
Family smollm3_family();

/** All of them, in the order in which messages name them. */
inline constexpr Family (*kFamilies[])() = {llama_family,  mistral_family, qwen2_family,  qwen3_family,
                                            gemma2_family, gemma3_family,  smollm3_family};

}  // namespace gavel

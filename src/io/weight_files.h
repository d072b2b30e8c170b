#pragma once
#include <filesystem>

namespace gavel {

/** The file of a Hugging Face folder that transformers reads the weights from: model.safetensors where it is there, else
 * model.safetensors.index.json. Throws Error that says what was found in their place, and what to do. */
std::filesystem::path find_weights(const std::filesystem::path& folder);

/** Throws Error when config.json is not there; it says what was found and what to do. */
void require_config(const std::filesystem::path& folder);

}  // namespace gavel

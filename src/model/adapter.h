#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "model/lora.h"

namespace gavel {

/** What PEFT's adapter_config.json says, as far as it matters here. */
struct AdapterConfig {
  LoraConfig lora;
  std::string base_model;  // base_model_name_or_path; may be empty
};

/** Writes adapter_config.json and adapter_model.safetensors (head included, float32) as PEFT does for task
 * type SEQ_CLS, so that PeftModel.from_pretrained opens the folder unchanged. `values` are in the order of
 * trainable_layout. Both files are replaced as wholes. */
void save_adapter(const std::filesystem::path& folder, const DecoderSpec& spec, const AdapterConfig& adapter,
                  const std::vector<HostTensor>& values);

/** Reads adapter_config.json. Throws when it is not a LoRA adapter or uses what Gavel does not have (DoRA,
 * biases, rank patterns, only some layers, …), naming the key. */
AdapterConfig read_adapter_config(const std::filesystem::path& folder);

/** The weights in the order of trainable_layout, float32. Throws when a tensor is missing, unknown, or of
 * another shape than this base model calls for (an adapter of another model). */
std::vector<HostTensor> read_adapter_weights(const std::filesystem::path& folder, const DecoderSpec& spec,
                                             const AdapterConfig& adapter, int64_t num_labels);

}  // namespace gavel

#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "io/model_files.h"
#include "model/lora.h"
#include "model/peft_config.h"

namespace gavel {

/** What an adapter's folder says beside its weights. */
struct AdapterConfig {
  LoraConfig lora;
  std::string base_model;  // base_model_name_or_path; may be empty
  /** Whether the last of the values is the logit of ties of a reward (TrainableLayout::tie). */
  bool learns_tie = false;
};

/** An adapter of a model, its weights float32 in the order of trainable_layout. */
struct LoadedAdapterWeights {
  AdapterConfig config;
  std::vector<HostTensor> values;
};

/** Writes adapter_config.json and adapter_model.safetensors (head included, float32) as PEFT does for task
 * type SEQ_CLS, so that PeftModel.from_pretrained opens the folder unchanged. `values` are in the order of
 * trainable_layout. The logit of ties, which PEFT has no place for, is written to reward.json. Files are replaced as
 * wholes. */
void save_adapter(const std::filesystem::path& folder, const DecoderSpec& spec, const AdapterConfig& adapter,
                  const std::vector<HostTensor>& values);

/** The settings that an adapter of the model `spec` has as read_adapter gives it. Throws Error when it adapts no linear of
 * the model, or other modules. */
LoraConfig adapter_settings(const PeftConfig& config, const DecoderSpec& spec);

/** The adapter of a folder, of the model `spec`, with the function that PEFT computes of it. Where layers or linears have
 * ranks or scalings of their own (rank_pattern, layers_to_transform, …) all are held with the largest rank, zeros behind
 * what is there, and with one scaling, what differs from it being in B. `base` is needed where use_dora is on a linear of
 * some layers alone: in the others the magnitudes are the base's. Throws Error when a tensor is missing, has no place, or
 * is of another shape than this base model calls for, when the adapter holds what Gavel leaves as it is in the base
 * (embeddings, norms, biases), or when its head does not have `num_labels` outputs. With one output, reward.json
 * beside the adapter gives the logit of
 * ties; without that file, as in rewards of other tools, there is none. */
LoadedAdapterWeights read_adapter(const PeftConfig& config, const DecoderSpec& spec, int64_t num_labels,
                                  const ModelFiles* base = nullptr);

}  // namespace gavel

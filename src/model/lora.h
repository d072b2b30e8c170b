#pragma once
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/tensor.h"
#include "io/llama_config.h"

namespace gavel {

/** Low-rank adapters (Hu et al., "LoRA", 2021), with PEFT's names. y = W x + scaling * B A dropout(x). */
struct LoraConfig {
  int64_t r = 4;
  double lora_alpha = 8;
  double lora_dropout = 0;
  std::vector<std::string> target_modules;
  /** alpha / sqrt(r) in place of alpha / r (Kalajdzievski, 2023). */
  bool use_rslora = false;

  double scaling() const;
  bool targets(std::string_view module) const;
};

/** One of the seven linears of a Llama layer. */
struct LinearModule {
  std::string name;  // "q_proj"
  std::string path;  // "self_attn.q_proj"
  int64_t in_features;
  int64_t out_features;
  bool has_bias;
};

/** q, k, v, o, gate, up, down, in this order. */
std::vector<LinearModule> linear_modules(const LlamaConfig& config);

/** Names of the modules that LoRA can adapt. */
std::vector<std::string> linear_module_names();

/** What training changes. Adapters of all layers are held as one tensor [layers, …]. */
struct TrainableParameter {
  std::string name;  // "layers.*.self_attn.v_proj.lora_A", or "score"
  Shape shape;       // [layers, r, in], [layers, out, r], or [num_labels, hidden]
  bool stacked;
  /** The names that PEFT writes to adapter_model.safetensors, one per layer (one in all for the head). */
  std::vector<std::string> peft_names;
  /** The rank of its place in the list of random streams. */
  enum class Kind { kLoraA, kLoraB, kScore } kind;
};

/** Adapters in the order of linear_modules (A then B), then the head. Throws when a target module is unknown
 * or the rank is not positive. */
std::vector<TrainableParameter> trainable_parameters(const LlamaConfig& config, const LoraConfig& lora,
                                                     int64_t num_labels);

/** PEFT's start: A uniform in ±1/sqrt(in) (Kaiming with a = sqrt(5)), B zero; the head uniform-free: normal
 * with initializer_range, as transformers makes a new classification head. float32, a pure function of the
 * seed. */
HostTensor initial_value(const TrainableParameter& parameter, double initializer_range, uint64_t seed);

}  // namespace gavel

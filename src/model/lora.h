#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/tensor.h"
#include "spec/decoder_spec.h"

namespace gavel {

/** Low-rank adapters (Hu et al., "LoRA", 2021), with PEFT's names. y = W x + scaling * B A dropout(x). */
struct LoraConfig {
  int64_t r = 4;
  double lora_alpha = 8;
  double lora_dropout = 0;
  std::vector<std::string> target_modules;
  /** alpha / sqrt(r) in place of alpha / r (Kalajdzievski, 2023). */
  bool use_rslora = false;
  /** y = m * (W x + scaling * B A dropout(x)) / |W + scaling * B A|, the length of each row of the sum, with a magnitude m
   * for each feature of y (Liu et al., "DoRA", 2024). The lengths count as constants in gradients, as in PEFT, which
   * also gives dropout(x) to W in what m / length differs from 1. */
  bool use_dora = false;
  /** Layers that have adapters, rising; empty = all. In the others A and B are zero, and stay so. */
  std::vector<int64_t> layers_to_transform;

  double scaling() const;
  bool targets(std::string_view module) const;
  bool adapts(int64_t layer) const;
  bool operator==(const LoraConfig&) const = default;
};

/** What training changes. Adapters of all layers are held as one tensor [layers, …]. */
struct TrainableParameter {
  std::string name;   // "layers.*.self_attn.v_proj.lora_A", or "score"
  TensorSpec tensor;  // of one layer: [r, in], [out, r], [out] for a magnitude, or [num_labels, hidden]
  bool stacked = false;
  Shape shape;  // the tensor's, [layers, …] when stacked
  /** The names that PEFT writes to adapter_model.safetensors, one per layer (one in all for the head), also of layers that
   * LoraConfig::layers_to_transform leaves out. */
  std::vector<std::string> peft_names;
  /** Stays at its start, without gradient and decay. It is among the trained all the same, so that state, checkpoints
   * and adapter files are the same lists whatever is held. */
  bool held = false;
};

/** All that training changes, and what is what in a list of their values. */
struct TrainableLayout {
  std::vector<TrainableParameter> parameters;
  /** Of one linear: the places of its A and B, and of its magnitude with use_dora. */
  struct Adapter {
    std::string linear;  // LinearSpec::name
    TensorSpec weight;   // what it adds to
    size_t a, b;
    std::optional<size_t> magnitude;
    /** All of them, in their order. */
    std::vector<size_t> parts() const { return magnitude ? std::vector{a, b, *magnitude} : std::vector{a, b}; }
  };
  std::vector<Adapter> adapters;
  size_t head = 0;
  /** Of the logit of a tie, a number [1], where the task learns one. */
  std::optional<size_t> tie;
  /** Of a second head [outputs, hidden] that training alone has: the last parameter, and in no adapter file. */
  std::optional<size_t> auxiliary;

  /** The head's labels, of a list of values. */
  int64_t num_labels(const std::vector<HostTensor>& values) const { return values.at(head).shape().at(0); }
};

/** Adapters in the order of BlockSpec::linears (A, B, magnitude), then the head, then with `learns_tie` the tie's
 * logit, then with `auxiliary_outputs` the auxiliary head. Throws when a target module or a layer is unknown or the rank is not
 * positive. */
TrainableLayout trainable_layout(const DecoderSpec& spec, const LoraConfig& lora, int64_t num_labels,
                                 bool learns_tie = false, int64_t auxiliary_outputs = 0);

/** Numbers of a parameter that can move: of a stacked one those of the layers with adapters. */
int64_t movable_elements(const TrainableParameter& parameter, const LoraConfig& lora);

/** PEFT's start: A uniform in ±1/sqrt(in) (Kaiming with a = sqrt(5)) and zero in layers without adapters, B zero; the head
 * normal with initializer_range, as transformers makes a new classification head; an auxiliary head zero, so that it moves
 * nothing at first. float32, a pure function of the seed.
 * Throws for a magnitude, which starts from the base's weights: row_lengths(). */
HostTensor initial_value(const TrainableParameter& parameter, const LoraConfig& lora, double initializer_range,
                         uint64_t seed);

/** The length of each row of a weight [out, in], float32 [out]: what a magnitude is while B A is zero. */
HostTensor row_lengths(const HostTensor& weight);

}  // namespace gavel

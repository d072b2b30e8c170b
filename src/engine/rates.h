#pragma once
#include <cstdint>
#include <vector>

#include "engine/optimizer.h"
#include "graph/graph.h"
#include "model/lora.h"

namespace gavel {

/** How the learning rates of what is trained differ, as factors of the step's. The head's counts for the tie's logit and an
 * auxiliary head too. */
struct RateOptions {
  double head = 1;
  double lora_b = 1;       // of lora_B (Hayou et al., "LoRA+", 2024)
  double layer_decay = 1;  // of each layer's adapters over those of the layer above
  /** First steps in which the adapters are held: their moments stay, and AdamW counts their steps from the first one that
   * they take part in, as PyTorch does for parameters without a gradient. */
  int64_t head_only_steps = 0;

  /** Whether all have the step's rate and count in every step. */
  bool alike() const { return head == 1 && lora_b == 1 && layer_decay == 1 && head_only_steps == 0; }
};

/** The rates of each trained tensor in a step, made on the host in double precision and given to a program as one float32
 * argument: another recipe's rates need no other program. */
class RateTable {
 public:
  /** `parameters` in the order of trainable_layout. */
  RateTable(const RateOptions& options, const std::vector<TrainableParameter>& parameters);

  /** Elements of the argument. */
  int64_t size() const { return size_; }
  /** `step` counts from 0. */
  HostTensor values(const AdamW& adam, int64_t step, double learning_rate) const;

  /** Of each parameter, from the argument. */
  std::vector<UpdateRates> update_rates(const AdamW& adam, const Value& argument) const;

 private:
  struct Entry {
    std::vector<double> factors;  // of the step's rate: one, or one for each layer
    int64_t first_step;           // that it takes part in
    int64_t start;                // in the argument: rates, step sizes, root correction
  };
  std::vector<Entry> entries_;
  int64_t size_ = 0;
};

}  // namespace gavel

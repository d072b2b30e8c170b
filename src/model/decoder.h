#pragma once
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "model/lora.h"
#include "nn/kernel_registry.h"
#include "nn/placement.h"
#include "spec/base_storage.h"
#include "spec/decoder_spec.h"

namespace gavel {

enum class LayerForm {
  kScan,      // one layer body in a loop; the gradient computes each layer again
  kUnrolled,  // every layer written out; activations are kept
};

/** What the gradient of a scan computes again of each layer. What it need not is kept in memory from the forward pass on. */
enum class Recompute {
  kAll,        // the whole layer; kept is what enters it
  kAttention,  // all but attention and what it reads: rotated queries and keys, values, what it gives
  kNone,       // norms, gates and what attention does of itself: no linear is computed twice
};

struct ModelOptions {
  DecoderSpec spec;
  LoraConfig lora;
  bool freeze_head = false;       // the head is not trained
  bool freeze_adapters = false;   // the adapters are not
  int64_t num_labels = 3;         // outputs of the head
  bool learns_tie = false;        // there is a logit of ties among what is trained
  int64_t auxiliary_outputs = 0;  // of a second head, for training alone; 0: there is none
  DType dtype = DType::kF32;      // how base weights are held that are not quantised
  std::optional<Quantisation> quantisation;
  bool as_file = false;               // as BaseStorage::as_file
  DType compute_dtype = DType::kF32;  // of hidden states and matrix products
  LayerForm form = LayerForm::kUnrolled;
  Recompute recompute = Recompute::kAll;  // layers that are written out keep everything anyway
  Kernels kernels;                        // what layers may be computed by; the default is plain StableHLO
  bool dropout = false;                   // LoRA dropout is in the graph (training)
  /** Texts that begin alike may hold their beginning once (base/segments.h). */
  bool prefixes = false;
  /** No batch has several texts in one sequence. */
  bool one_text = false;
  /** Gradients are the same to the bit at each run, which costs time and memory where kernels have a faster form. */
  bool deterministic = false;
  Placement placement;  // on a mesh; the default is one device

  BaseStorage storage() const { return {dtype, quantisation, as_file}; }
};

/** A frozen tensor of the program. */
struct FrozenParameter {
  std::string name;   // of the argument: the Hugging Face name, with "*" for the layer when stacked
  TensorSpec tensor;  // of one layer, as it is held
  bool stacked = false;
  Shape shape;  // the tensor's, [layers, …] when stacked
  DType dtype = DType::kF32;
  /** Where the values are in the model's files; several when stacked. */
  std::vector<std::string> sources;
  HeldPart part = HeldPart::kValues;
  Shape whole;  // of the model's tensor that this, or with others, stands for, in one layer
  std::optional<Quantisation> quantisation;

  /** How many of the model's numbers it stands for; scales count none. */
  int64_t parameters() const {
    if (part == HeldPart::kScales) return 0;
    return num_elements(whole) * (stacked ? shape.front() : 1);
  }
};

/** In the order of the program's arguments. Unrolled: every tensor by itself; scan: the layers' tensors
 * stacked. The scales of a quantised weight come behind its codes. */
std::vector<FrozenParameter> frozen_parameters(const ModelOptions& options);

/** With freeze_head its head is held, with freeze_adapters all else but the head and the tie. */
TrainableLayout trainable_layout(const ModelOptions& options);

/** One line per axis that a parameter of the model could not be split over. */
std::vector<std::string> placement_notes(const ModelOptions& options);

/** The batch as the graph sees it; see data/batcher.h. T = batch * length tokens. */
struct BatchValues {
  Value input_ids;     // i32 [B, S]
  Value positions;     // i32 [B, S]
  Value segment_ids;   // i32 [B, S], 0 on padding; with ModelOptions::prefixes as in base/segments.h
  Value dropout_rows;  // i32 [B, S], the row's number in the whole optimizer batch
  Value last_index;    // i32 [R], place of each row's pooled token in the B * S tokens
};

/** What the heads give on the pooled tokens. */
struct HeadValues {
  Value logits;     // float32 [R, num_labels]
  Value auxiliary;  // float32 [R, auxiliary_outputs]; none without such a head
};

/** Logits of the family's …ForSequenceClassification: layers, then for each row's pooled token
 * the final norm and the head. `frozen` and `trainable` are the program's values in the order of
 * frozen_parameters and trainable_layout. `dropout_key` is a ui32 scalar that differs from step to step;
 * none without dropout. The last layer computes only keys and values for all tokens, the rest for pooled ones. */
HeadValues build_heads(const ModelOptions& options, const std::vector<Value>& frozen,
                       const std::vector<Value>& trainable, const BatchValues& batch, const Value& dropout_key);

}  // namespace gavel

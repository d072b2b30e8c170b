#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/rope.h"
#include "spec/tensor_spec.h"

namespace gavel {

/** Causal grouped-query attention of one kind of layer. */
struct AttentionSpec {
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  LinearSpec q_proj, k_proj, v_proj, o_proj;
  /** RMS norms, weight [head_dim], of each head of queries and keys, before the rotary embedding; one or none. */
  std::vector<TensorSpec> q_norm, k_norm;
  /** What scores are multiplied by. */
  double scale = 1;
  /** A key is seen while query - key < sliding_window, counted in the row's own positions; none = all before. */
  std::optional<int64_t> sliding_window;
  /** cap * tanh(scores / cap) before the mask; none = scores as they are. */
  std::optional<double> logit_softcapping;
  /** Index into DecoderSpec::ropes. */
  size_t rope = 0;

  int64_t query_features() const { return num_attention_heads * head_dim; }
};

enum class Activation : uint8_t { kSilu, kGeluTanh };

/** down(activation(gate(x)) * up(x)) */
struct FeedForwardSpec {
  LinearSpec gate_proj, up_proj, down_proj;
  Activation activation = Activation::kSilu;
};

/** One kind of layer: x += attention(norm(x)), then x += feed_forward(norm(x)). */
struct BlockSpec {
  TensorSpec attention_norm, feed_forward_norm;
  /** Norms of what attention or feed-forward gives, before it is added to x; one or none. */
  std::vector<TensorSpec> attention_output_norm, feed_forward_output_norm;
  AttentionSpec attention;
  FeedForwardSpec feed_forward;

  /** q, k, v, o, gate, up, down. */
  std::vector<const LinearSpec*> linears() const;
  std::vector<LinearSpec*> linears();
  /** All norms, also of heads. */
  std::vector<TensorSpec*> norms();
  /** All, in the order of a program's arguments: norms, then each linear's weight and bias. */
  std::vector<const TensorSpec*> tensors() const;
};

/** RMS norm: x / sqrt(mean(x²) + eps) * (weight + offset) (Zhang & Sennrich, 2019). */
struct NormRule {
  double eps = 1e-6;
  double offset = 0;
};

/** A decoder as every part of Gavel sees it: which tensors there are, their names in Hugging Face's and GGUF's files,
 * what their dimensions mean, and how a layer computes. Made from a ModelConfig by its family (family.h). Programs, the
 * loading of files, LoRA's targets, partitioning, merging, export and tables all read it. */
struct DecoderSpec {
  std::string model_type;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  double initializer_range = 0.02;
  /** Embeddings are multiplied by it. */
  double embedding_scale = 1;
  NormRule norm;
  std::vector<RopeSpec> ropes;
  int64_t max_position_embeddings = 0;
  /** Layer i is blocks[i % blocks.size()]; the tensors of all of them have the same names and shapes. */
  std::vector<BlockSpec> blocks;
  TensorSpec embeddings, final_norm;
  /** Of the language model that the base was; a judge does not read it. */
  TensorSpec language_model_head;

  /** The longest text that can be computed, in tokens; none = any (see longest_text of rope.h). */
  std::optional<int64_t> longest_text() const;
  const BlockSpec& block(int64_t layer) const { return blocks[static_cast<size_t>(layer) % blocks.size()]; }
  /** One tensor of one layer, or one outside the layers. */
  struct NamedTensor {
    std::string name;  // with the layer's number
    std::string gguf_name;
    TensorSpec spec;
  };
  /** What a judge needs of the base: embeddings, final norm, then each layer's tensors one by one. */
  std::vector<NamedTensor> base_tensors() const;
  /** Names of the linears that an adapter can be put on, in the order of BlockSpec::linears. */
  std::vector<std::string> linear_names() const;
};

/** The classifier's head, "score.weight" [num_labels, hidden_size], named as transformers does. */
TensorSpec head_spec(const DecoderSpec& spec, int64_t num_labels);

/** The first part of the base's names, which folders saved without a head leave out. */
inline constexpr std::string_view kBasePrefix = "model.";

}  // namespace gavel

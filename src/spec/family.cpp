#include "spec/family.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "spec/families/families.h"

namespace gavel {

namespace {

template <class Get>
const Family& find_family(std::string_view wanted, std::string_view name, std::string_view key, Get get) {
  std::string known;
  for (const Family& family : families()) {
    if (get(family).empty()) continue;
    if (get(family) == wanted) return family;
    known += (known.empty() ? "" : ", ") + std::string(get(family));
  }
  fail("{}: {} is '{}'; only {} models are supported", name, key, wanted, known);
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all = [] {
    std::vector<Family> made;
    for (auto family : kFamilies) made.push_back(family());
    return made;
  }();
  return all;
}

const Family& family_of(std::string_view model_type, std::string_view name) {
  return find_family(model_type, name, "model_type", [](const Family& family) { return family.model_type; });
}

const Family& family_of_gguf(std::string_view gguf_architecture, std::string_view name) {
  return find_family(gguf_architecture, name, "general.architecture",
                     [](const Family& family) { return family.gguf_architecture; });
}

DecoderSpec decoder_spec(const ModelConfig& config) {
  return family_of(config.model_type, "model").describe(config);
}

std::vector<LayerType> listed_layer_types(const ConfigKeys& keys, int64_t num_hidden_layers) {
  std::vector<LayerType> types;
  if (!keys.has("layer_types")) return types;
  for (const std::string& type : keys.texts("layer_types")) {
    const bool full = type == "full_attention" || type == "attention";  // the older name
    if (!full && type != "sliding_attention")
      fail("{}: 'layer_types' has '{}'; only full_attention and sliding_attention are supported", keys.name(), type);
    types.push_back(full ? LayerType::kFullAttention : LayerType::kSlidingAttention);
  }
  if (static_cast<int64_t>(types.size()) != num_hidden_layers)
    fail("{}: 'layer_types' lists {} layers, 'num_hidden_layers' is {}", keys.name(), types.size(), num_hidden_layers);
  return types;
}

std::optional<int64_t> read_sliding_window(const ConfigKeys& keys) {
  if (!keys.mentions("sliding_window")) return 4096;
  if (!keys.has("sliding_window")) return std::nullopt;
  return keys.integer("sliding_window");
}

nlohmann::ordered_json layer_types_json(const ModelConfig& config) {
  auto types = config.layer_types;
  if (types.empty())
    types.resize(static_cast<size_t>(config.num_hidden_layers),
                 config.sliding_window ? LayerType::kSlidingAttention : LayerType::kFullAttention);
  auto names = nlohmann::ordered_json::array();
  for (LayerType type : types)
    names.push_back(type == LayerType::kFullAttention ? "full_attention" : "sliding_attention");
  return names;
}

std::vector<std::string> all_linear_names() {
  ModelConfig any;
  std::vector<std::string> names;
  for (const Family& family : families())
    for (const std::string& name : family.describe(any).linear_names())
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  return names;
}

namespace standard {

TensorSpec norm(std::string name, std::string gguf_name, int64_t size) {
  TensorSpec tensor;
  tensor.name = std::move(name);
  tensor.shape = {size};
  tensor.dimensions = {Dimension::kHidden};
  tensor.role = TensorRole::kNorm;
  tensor.gguf_name = std::move(gguf_name);
  return tensor;
}

LinearSpec linear(const std::string& path, const std::string& gguf, int64_t out, Dimension out_dimension, int64_t in,
                  Dimension in_dimension, bool bias, GgufRows rows) {
  const std::string name = "model.layers.*." + path, gguf_name = "blk.*." + gguf;
  LinearSpec linear;
  linear.path = path;
  linear.name = path.substr(path.rfind('.') + 1);
  linear.weight = {
      name + ".weight",      {out, in}, {out_dimension, in_dimension}, TensorRole::kLinear, Storage::kModelType,
      gguf_name + ".weight", rows};
  if (bias)
    linear.bias = {
        {name + ".bias", {out}, {out_dimension}, TensorRole::kBias, Storage::kModelType, gguf_name + ".bias", rows}};
  return linear;
}

TensorSpec matrix(std::string name, std::string gguf_name, TensorRole role, const ModelConfig& c) {
  return {std::move(name),
          {c.vocab_size, c.hidden_size},
          {Dimension::kVocabulary, Dimension::kHidden},
          role,
          Storage::kModelType,
          std::move(gguf_name),
          GgufRows::kSame};
}

DecoderSpec decoder(const ModelConfig& c, GgufRows query_rows) {
  const int64_t query = c.num_attention_heads * c.head_dim, key = c.num_key_value_heads * c.head_dim;
  using enum Dimension;
  BlockSpec block;
  block.attention_norm = norm("model.layers.*.input_layernorm.weight", "blk.*.attn_norm.weight", c.hidden_size);
  block.feed_forward_norm =
      norm("model.layers.*.post_attention_layernorm.weight", "blk.*.ffn_norm.weight", c.hidden_size);
  AttentionSpec& attention = block.attention;
  attention.num_attention_heads = c.num_attention_heads;
  attention.num_key_value_heads = c.num_key_value_heads;
  attention.head_dim = c.head_dim;
  attention.scale = 1.0 / std::sqrt(static_cast<double>(c.query_pre_attn_scalar.value_or(c.head_dim)));
  attention.logit_softcapping = c.attn_logit_softcapping;
  const bool bias = c.attention_bias;
  attention.q_proj = linear("self_attn.q_proj", "attn_q", query, kQueryHeads, c.hidden_size, kHidden, bias, query_rows);
  attention.k_proj =
      linear("self_attn.k_proj", "attn_k", key, kKeyValueHeads, c.hidden_size, kHidden, bias, query_rows);
  attention.v_proj = linear("self_attn.v_proj", "attn_v", key, kKeyValueHeads, c.hidden_size, kHidden, bias);
  attention.o_proj = linear("self_attn.o_proj", "attn_output", c.hidden_size, kHidden, query, kQueryHeads, bias);
  FeedForwardSpec& mlp = block.feed_forward;
  mlp.gate_proj =
      linear("mlp.gate_proj", "ffn_gate", c.intermediate_size, kIntermediate, c.hidden_size, kHidden, c.mlp_bias);
  mlp.up_proj = linear("mlp.up_proj", "ffn_up", c.intermediate_size, kIntermediate, c.hidden_size, kHidden, c.mlp_bias);
  mlp.down_proj =
      linear("mlp.down_proj", "ffn_down", c.hidden_size, kHidden, c.intermediate_size, kIntermediate, c.mlp_bias);

  DecoderSpec spec;
  spec.model_type = c.model_type;
  spec.vocab_size = c.vocab_size;
  spec.hidden_size = c.hidden_size;
  spec.num_hidden_layers = c.num_hidden_layers;
  spec.initializer_range = c.initializer_range;
  spec.norm.eps = c.rms_norm_eps;
  spec.ropes = {c.rope};
  spec.max_position_embeddings = c.max_position_embeddings;
  spec.blocks = {std::move(block)};
  spec.embeddings = matrix("model.embed_tokens.weight", "token_embd.weight", TensorRole::kEmbedding, c);
  spec.final_norm = norm("model.norm.weight", "output_norm.weight", c.hidden_size);
  spec.language_model_head = matrix("lm_head.weight", "output.weight", TensorRole::kLanguageModelHead, c);
  return spec;
}

void add_head_norms(const ModelConfig& config, BlockSpec& block) {
  auto head_norm = [&](const char* name, const char* gguf_name) {
    TensorSpec tensor = norm(name, gguf_name, config.head_dim);
    tensor.dimensions = {Dimension::kHeadDim};
    return std::vector<TensorSpec>{tensor};
  };
  block.attention.q_norm = head_norm("model.layers.*.self_attn.q_norm.weight", "blk.*.attn_q_norm.weight");
  block.attention.k_norm = head_norm("model.layers.*.self_attn.k_norm.weight", "blk.*.attn_k_norm.weight");
}

void by_layer_types(const ModelConfig& config, DecoderSpec& spec) {
  const auto& types = config.layer_types;
  const size_t period = period_of(types);
  if (config.sliding_rope) spec.ropes.push_back(*config.sliding_rope);
  spec.blocks.resize(period, spec.blocks.front());
  for (size_t kind = 0; kind < period; ++kind) {
    if (kind < types.size() && types[kind] == LayerType::kFullAttention) continue;
    AttentionSpec& attention = spec.blocks[kind].attention;
    attention.sliding_window = config.sliding_window;
    if (config.sliding_rope) attention.rope = spec.ropes.size() - 1;
  }
}

}  // namespace standard

}  // namespace gavel

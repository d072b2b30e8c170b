#include "model/llama.h"

#include <cmath>
#include <numbers>

#include "graph/ops.h"
#include "graph/scan.h"
#include "model/attention.h"
#include "model/cpu_kernels.h"

namespace gavel {

namespace {

/** Multipliers of the token hash; any odd numbers with well-mixed bits do. */
constexpr double kRowMultiplier = 0x9E3779B1u;
constexpr double kPlaceMultiplier = 0x85EBCA77u;
constexpr double kFeatureMultiplier = 0xC2B2AE3Du;
constexpr double kModuleMultiplier = 0x27D4EB2Fu;

/** MurmurHash3's 32-bit finaliser (Appleby): every bit of the result depends on every bit of h. */
Value mix32(Value h) {
  h = bit_xor(h, shift_right_logical(h, full_like(h, 16)));
  h = mul(h, full_like(h, 0x85EBCA6Bu));
  h = bit_xor(h, shift_right_logical(h, full_like(h, 13)));
  h = mul(h, full_like(h, 0xC2B2AE35u));
  return bit_xor(h, shift_right_logical(h, full_like(h, 16)));
}

/** One layer's tensors, found by their path within the layer ("self_attn.q_proj.weight"). */
using LayerTensors = std::map<std::string, Value>;

const Value& find(const LayerTensors& tensors, const std::string& name) {
  auto at = tensors.find(name);
  if (at == tensors.end()) fail("llama: no tensor '{}' in the layer", name);
  return at->second;
}

struct TensorPath {
  std::string path;  // within the layer
  Shape shape;
};

std::vector<TensorPath> layer_tensors(const LlamaConfig& config) {
  std::vector<TensorPath> paths = {{"input_layernorm.weight", {config.hidden_size}},
                                   {"post_attention_layernorm.weight", {config.hidden_size}}};
  for (const LinearModule& module : linear_modules(config)) {
    paths.push_back({module.path + ".weight", {module.out_features, module.in_features}});
    if (module.has_bias) paths.push_back({module.path + ".bias", {module.out_features}});
  }
  return paths;
}

/** What all layers share. */
struct Shared {
  Value segment_ids;  // [B, S]
  Value token_hash;   // ui32 [T]; none without dropout
  Value dropout_key;  // ui32 scalar
  Rotary rotary;      // [B, S, D/2]
};

class LayerBuilder {
 public:
  LayerBuilder(const ModelOptions& options, const Shared& shared, const LayerTensors& tensors,
               const Value& layer)
      : options_(options), config_(options.config), shared_(shared), tensors_(tensors), layer_(layer) {}

  /** x [T, hidden] → [T, hidden]. */
  Value all_tokens(const Value& x) const {
    int64_t b = shared_.segment_ids.dim(0), s = shared_.segment_ids.dim(1), d = config_.head_dim;
    int64_t heads = config_.num_attention_heads, kv = config_.num_key_value_heads;
    Value normed = norm(x, "input_layernorm");
    const Value& hash = shared_.token_hash;
    const Placement& place = options_.placement;
    Value q = place.heads(reshape(linear(normed, "q_proj", hash), {b, s, heads, d}));
    Value k = place.heads(reshape(linear(normed, "k_proj", hash), {b, s, kv, d}));
    Value v = place.heads(reshape(linear(normed, "v_proj", hash), {b, s, kv, d}));
    Value o = on_cpu() ? cpu_attention(rotate(q), rotate(k), v, shared_.segment_ids, scale())
               : s > kLongestWholeScores
                   ? blockwise_attention(rotate(q), rotate(k), v, shared_.segment_ids, scale())
                   : causal_attention(rotate(q), rotate(k), v, shared_.segment_ids, scale());
    return rest(x, reshape(o, {b * s, heads * d}), hash);
  }

  /** Keys and values for all of x [T, hidden], the rest for the tokens at index i32 [R] only → [R, hidden].
   */
  Value pooled_tokens(const Value& x, const Value& index) const {
    int64_t b = shared_.segment_ids.dim(0), s = shared_.segment_ids.dim(1), d = config_.head_dim,
            r = index.dim(0);
    int64_t heads = config_.num_attention_heads, kv = config_.num_key_value_heads;
    Value normed = norm(x, "input_layernorm");
    Value k = reshape(linear(normed, "k_proj", shared_.token_hash), {b, s, kv, d});
    Value v = reshape(linear(normed, "v_proj", shared_.token_hash), {b, s, kv, d});
    Value hash = shared_.token_hash ? take(shared_.token_hash, index) : Value();
    Value q = reshape(linear(take(normed, index), "q_proj", hash), {r, heads, d});
    auto at_index = [&](const Value& angles) { return take(reshape(angles, {b * s, d / 2}), index); };
    Rotary rotary{at_index(shared_.rotary.cos), at_index(shared_.rotary.sin)};
    if (on_cpu() && b == 1) {
      Value o = cpu_attention_at(apply_rotary(q, rotary), rotate(k), v, shared_.segment_ids, index, scale());
      return rest(take(x, index), reshape(o, {r, heads * d}), hash);
    }
    Value length = full_like(index, static_cast<double>(s));
    Value rows = div(index, length);
    Value places = sub(index, mul(rows, length));
    Value o = gathered_attention(apply_rotary(q, rotary), rotate(k), v, shared_.segment_ids, rows, places, scale());
    return rest(take(x, index), reshape(o, {r, heads * d}), hash);
  }

 private:
  double scale() const { return 1.0 / std::sqrt(static_cast<double>(config_.head_dim)); }

  bool on_cpu() const { return options_.kernels == Kernels::kCpu; }

  Value norm(const Value& x, const std::string& name) const {
    const Value& weight = find(tensors_, name + ".weight");
    return on_cpu() ? cpu_rms_norm(x, weight, config_.rms_norm_eps) : rms_norm(x, weight, config_.rms_norm_eps);
  }

  /** All heads of all tokens: x [B, S, H, D]. */
  Value rotate(const Value& x) const {
    return on_cpu() ? cpu_rotary(x, shared_.rotary) : apply_rotary(x, shared_.rotary);
  }

  /** After attention: output projection and the feed-forward block, with their residuals. */
  Value rest(const Value& x, const Value& attended, const Value& hash) const {
    Value middle = add(x, linear(attended, "o_proj", hash));
    if (on_cpu() && plain_mlp() && !options_.placement.split())
      return cpu_mlp(middle, find(tensors_, "post_attention_layernorm.weight"), config_.rms_norm_eps,
                     find(tensors_, "mlp.gate_proj.weight"), find(tensors_, "mlp.up_proj.weight"),
                     find(tensors_, "mlp.down_proj.weight"));
    Value normed = norm(middle, "post_attention_layernorm");
    Value gate = linear(normed, "gate_proj", hash), up = linear(normed, "up_proj", hash);
    Value gated = on_cpu() ? cpu_swiglu(gate, up) : mul(silu(gate), up);
    return add(middle, linear(gated, "down_proj", hash));
  }

  /** Whether the feed-forward block has neither adapters nor biases, so that one kernel does it all. */
  bool plain_mlp() const {
    for (const LinearModule& module : linear_modules(config_))
      if (module.path.starts_with("mlp.") && (module.has_bias || options_.lora.targets(module.name))) return false;
    return true;
  }

  Value linear(const Value& x, const std::string& name, const Value& hash) const {
    const auto modules = linear_modules(config_);
    size_t number = 0;
    while (modules[number].name != name) ++number;
    const LinearModule& module = modules[number];
    const Value& weight = find(tensors_, module.path + ".weight");
    Value bias = module.has_bias ? find(tensors_, module.path + ".bias") : Value();
    bool adapted = options_.lora.targets(name);
    if (on_cpu()) {
      if (!adapted) return cpu_linear(x, weight, bias);
      return cpu_linear_lora(x, lora_input(x, hash, number), weight, find(tensors_, module.path + ".lora_A"),
                             find(tensors_, module.path + ".lora_B"), bias, options_.lora.scaling());
    }
    Value y = matmul_nt(x, convert(options_.placement.layer_weight(weight, "model.layers.*." + module.path + ".weight"), x.dtype()));
    if (bias) y = add(y, broadcast_last(convert(bias, y.dtype()), y.shape()));
    if (!adapted) return y;
    Value branch = matmul_nt(lora_input(convert(x, DType::kF32), hash, number), find(tensors_, module.path + ".lora_A"));
    branch = matmul_nt(branch, find(tensors_, module.path + ".lora_B"));
    return add(y, convert(mul(branch, options_.lora.scaling()), y.dtype()));
  }

  Value lora_input(const Value& x, const Value& hash, size_t module) const {
    return hash && options_.lora.lora_dropout > 0 ? dropout(x, hash, module) : x;
  }

  /** Keeps each element with probability 1 - p, by a hash of (key, layer, module, token, feature). */
  Value dropout(const Value& x, const Value& hash, size_t module) const {
    double p = options_.lora.lora_dropout;
    Value place = add(mul(convert(layer_, DType::kU32), 8), static_cast<double>(module + 1));
    Value key = mix32(add(shared_.dropout_key, mul(place, kModuleMultiplier)));
    Value token = mix32(add(hash, broadcast_scalar(key, hash.shape())));
    Value feature = mul(iota(x.graph(), DType::kU32, x.shape(), 1), kFeatureMultiplier);
    Value bits = mix32(add(broadcast(token, x.shape(), {0}), feature));
    Value kept = compare(Compare::kGe, bits, full_like(bits, std::floor(p * 4294967296.0)));
    return select(kept, mul(x, 1 / (1 - p)), full_like(x, 0));
  }

  const ModelOptions& options_;
  const LlamaConfig& config_;
  const Shared& shared_;
  const LayerTensors& tensors_;
  const Value& layer_;
};

}  // namespace

std::vector<FrozenParameter> frozen_parameters(const ModelOptions& options) {
  const LlamaConfig& c = options.config;
  const std::string embeddings = "model.embed_tokens.weight", final_norm = "model.norm.weight";
  std::vector<FrozenParameter> parameters = {{embeddings, {c.vocab_size, c.hidden_size}, {embeddings}}};
  auto paths = layer_tensors(c);
  auto source = [](int64_t layer, const std::string& path) {
    return fmt::format("model.layers.{}.{}", layer, path);
  };
  if (options.form == LayerForm::kScan) {
    for (const auto& [path, shape] : paths) {
      FrozenParameter p{"model.layers.*." + path, shape, {}};
      p.shape.insert(p.shape.begin(), c.num_hidden_layers);
      for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) p.sources.push_back(source(layer, path));
      parameters.push_back(std::move(p));
    }
  } else {
    for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer)
      for (const auto& [path, shape] : paths)
        parameters.push_back({source(layer, path), shape, {source(layer, path)}});
  }
  parameters.push_back({final_norm, {c.hidden_size}, {final_norm}});
  return parameters;
}

Value build_logits(const ModelOptions& options, const std::vector<Value>& frozen,
                   const std::vector<Value>& trainable, const BatchValues& batch, const Value& dropout_key) {
  const LlamaConfig& config = options.config;
  int64_t b = batch.input_ids.dim(0), s = batch.input_ids.dim(1), layers = config.num_hidden_layers;
  auto specs = trainable_parameters(config, options.lora, options.num_labels);
  auto paths = layer_tensors(config);
  if (trainable.size() != specs.size() || frozen.size() != frozen_parameters(options).size())
    fail("build_logits: {} frozen and {} trainable values given", frozen.size(), trainable.size());
  // "layers.*.self_attn.v_proj.lora_A" → "self_attn.v_proj.lora_A"
  auto path_of = [](const TrainableParameter& spec) {
    return spec.name.substr(std::string("layers.*.").size());
  };
  size_t adapters = specs.size() - 1;

  Shared shared;
  shared.segment_ids = batch.segment_ids;
  shared.rotary = rotary_angles(batch.positions, inverse_frequencies(config));
  if (options.dropout && options.lora.lora_dropout > 0) {
    shared.dropout_key = dropout_key;
    auto flat = [&](const Value& v) { return convert(reshape(v, {b * s}), DType::kU32); };
    shared.token_hash = mix32(
        add(mul(flat(batch.dropout_rows), kRowMultiplier), mul(flat(batch.positions), kPlaceMultiplier)));
  }

  const Placement& place = options.placement;
  Value x = take(frozen[0], reshape(batch.input_ids, {b * s}));
  x = convert(place.embedded(x, "model.embed_tokens.weight", frozen[0].shape()), options.compute_dtype);
  Graph& graph = x.graph();
  Value pooled;
  if (options.form == LayerForm::kUnrolled) {
    std::vector<std::vector<Value>> adapter_layers;
    for (size_t i = 0; i < adapters; ++i) adapter_layers.push_back(unstack(trainable[i]));
    for (int64_t layer = 0; layer < layers; ++layer) {
      LayerTensors tensors;
      auto l = static_cast<size_t>(layer);
      for (size_t i = 0; i < paths.size(); ++i) tensors[paths[i].path] = frozen[1 + l * paths.size() + i];
      for (size_t i = 0; i < adapters; ++i) tensors[path_of(specs[i])] = adapter_layers[i][l];
      Value number = full(graph, DType::kI32, {}, static_cast<double>(layer));
      LayerBuilder builder(options, shared, tensors, number);
      if (layer + 1 < layers)
        x = builder.all_tokens(x);
      else
        pooled = builder.pooled_tokens(x, batch.last_index);
    }
  } else {
    std::vector<Value> stacked(frozen.begin() + 1, frozen.end() - 1);
    stacked.insert(stacked.end(), trainable.begin(), trainable.end() - 1);
    std::vector<Value> constants = {shared.segment_ids, shared.rotary.cos, shared.rotary.sin};
    if (shared.token_hash) constants.insert(constants.end(), {shared.token_hash, shared.dropout_key});
    auto body = [&](const ScanInput& in) {
      Shared inner;
      inner.segment_ids = in.constants[0];
      inner.rotary = {in.constants[1], in.constants[2]};
      if (shared.token_hash) {
        inner.token_hash = in.constants[3];
        inner.dropout_key = in.constants[4];
      }
      LayerTensors tensors;
      for (size_t i = 0; i < paths.size(); ++i) tensors[paths[i].path] = in.slices[i];
      for (size_t i = 0; i < adapters; ++i) tensors[path_of(specs[i])] = in.slices[paths.size() + i];
      Value out = LayerBuilder(options, inner, tensors, in.index).all_tokens(place.tokens(in.carries[0]));
      return ScanOutput{{place.tokens(out)}, {}};
    };
    x = scan(graph, layers, {x}, stacked, constants, body).carries[0];
    pooled = place.whole(take(place.tokens(x), batch.last_index));
  }
  // The head works on few rows, so it can afford float32 all through.
  Value hidden = rms_norm(convert(pooled, DType::kF32), frozen.back(), config.rms_norm_eps);
  return matmul_nt(hidden, trainable.back());
}

std::vector<double> inverse_frequencies(const LlamaConfig& config) {
  // float32 arithmetic where transformers has float32: an angle is a product with positions up to thousands.
  const RopeScaling& scaling = config.rope_scaling;
  std::vector<double> frequencies;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    float frequency = 1.0f / std::pow(static_cast<float>(config.rope_theta), exponent);
    if (scaling.type == "linear") {
      frequency /= static_cast<float>(scaling.factor);
    } else if (scaling.type == "llama3" && config.rope_freq_factors.empty()) {
      // Long wavelengths are stretched by the factor, short ones kept, those between blended (Llama 3.1).
      double wavelength = 2 * std::numbers::pi / frequency;
      auto original = static_cast<double>(scaling.original_max_position_embeddings);
      double low = original / scaling.low_freq_factor, high = original / scaling.high_freq_factor;
      auto stretched = static_cast<float>(frequency / scaling.factor);
      if (wavelength > low) {
        frequency = stretched;
      } else if (wavelength >= high) {
        auto smooth = static_cast<float>((original / wavelength - scaling.low_freq_factor) /
                                         (scaling.high_freq_factor - scaling.low_freq_factor));
        frequency = (1 - smooth) * stretched + smooth * frequency;
      }
    }
    if (!config.rope_freq_factors.empty()) frequency /= config.rope_freq_factors[static_cast<size_t>(i)];
    frequencies.push_back(frequency);
  }
  return frequencies;
}

}  // namespace gavel

#include "model/decoder.h"

#include <map>
#include <numeric>

#include "graph/keep.h"
#include "graph/ops.h"
#include "graph/scan.h"
#include "nn/attention.h"
#include "nn/layers.h"

namespace gavel {

namespace {

/** One layer's values, by what they are. */
class BlockValues {
 public:
  void set(const TensorSpec& tensor, Value value) { values_[tensor.name] = std::move(value); }
  /** `parts` as TrainableLayout::Adapter has them. */
  void set_adapter(const std::string& linear, const std::vector<Value>& parts) {
    adapters_[linear] = {parts.at(0), parts.at(1), parts.size() > 2 ? parts[2] : Value()};
  }

  const Value& of(const TensorSpec& tensor) const {
    auto at = values_.find(tensor.name);
    if (at == values_.end()) fail("decoder: no tensor '{}' in the layer", tensor.name);
    return at->second;
  }
  /** None for a weight that is not quantised. */
  Value scales_of(const LinearSpec& linear) const {
    auto at = values_.find(scales_name(linear.weight.name));
    return at == values_.end() ? Value() : at->second;
  }
  struct Adapter {
    Value a, b;
    Value magnitude;  // with use_dora
  };
  /** nullptr for a linear without one. */
  const Adapter* adapter(const LinearSpec& linear) const {
    auto at = adapters_.find(linear.name);
    return at == adapters_.end() ? nullptr : &at->second;
  }

 private:
  std::map<std::string, Value> values_;      // by TensorSpec::name
  std::map<std::string, Adapter> adapters_;  // by LinearSpec::name
};

/** What all layers share. */
struct Shared {
  Value segment_ids;             // [B, S]
  Value token_hash;              // ui32 [T]; none without dropout
  Value dropout_key;             // ui32 scalar
  std::vector<Rotary> rotaries;  // of each of DecoderSpec::ropes, [B, S, D/2]
};

class BlockBuilder {
 public:
  /** `recompute`: of the scan in whose body the block is; kAll outside of one. */
  BlockBuilder(const ModelOptions& options, const BlockSpec& block, const Shared& shared, const BlockValues& values,
               const Value& layer, Recompute recompute = Recompute::kAll)
      : options_(options),
        block_(block),
        attention_(block.attention),
        shared_(shared),
        values_(values),
        layer_(layer),
        recompute_(recompute),
        layers_(options.kernels, options.placement) {}

  /** x [T, hidden] → [T, hidden]. */
  Value all_tokens(const Value& x) const {
    const int64_t b = sequences(), s = length();
    const Placement& place = options_.placement;
    Value normed = norm(x, block_.attention_norm);
    const Value& hash = shared_.token_hash;
    auto heads = [&](const LinearSpec& spec, int64_t count) {
      return place.heads(reshape(linear(normed, spec, hash), {b, s, count, attention_.head_dim}));
    };
    // Kept before their norms too, whose gradient reads it; what nothing reads of all this is not stored (keep.h).
    Value q = for_attention(heads(attention_.q_proj, attention_.num_attention_heads));
    Value k = for_attention(heads(attention_.k_proj, attention_.num_key_value_heads));
    Value v = for_attention(heads(attention_.v_proj, attention_.num_key_value_heads));
    Value turned_k = for_attention(layers_.rotary({norm_if_any(k, attention_.k_norm), rotary()}));
    Value turned_q = for_attention(layers_.rotary({norm_if_any(q, attention_.q_norm), rotary()}));
    Value o = for_attention(layers_.attention(AttentionCall{turned_q, turned_k, v, shared_.segment_ids, rule()}));
    return rest(x, reshape(o, {b * s, attention_.query_features()}), hash);
  }

  /** Keys and values for all of x [T, hidden], the rest for the tokens at index i32 [R] only → [R, hidden].
   */
  Value pooled_tokens(const Value& x, const Value& index) const {
    const int64_t b = sequences(), s = length(), d = attention_.head_dim, r = index.dim(0);
    Value normed = norm(x, block_.attention_norm);
    auto keys = [&](const LinearSpec& spec) {
      return reshape(linear(normed, spec, shared_.token_hash), {b, s, attention_.num_key_value_heads, d});
    };
    Value k = keys(attention_.k_proj);
    Value v = keys(attention_.v_proj);
    Value hash = shared_.token_hash ? take(shared_.token_hash, index) : Value();
    Value q = reshape(linear(take(normed, index), attention_.q_proj, hash), {r, attention_.num_attention_heads, d});
    auto at_index = [&](const Value& angles) { return take(reshape(angles, {b * s, d / 2}), index); };
    Rotary turns{at_index(rotary().cos), at_index(rotary().sin)};
    const TokenPlaces places = places_of(index, s);
    Value turned_k = layers_.rotary({norm_if_any(k, attention_.k_norm), rotary()});
    Value turned_q = layers_.rotary({norm_if_any(q, attention_.q_norm), turns});
    Value o = layers_.attention(PooledAttentionCall{turned_q, turned_k, v, shared_.segment_ids, places, rule()});
    return rest(take(x, index), reshape(o, {r, attention_.query_features()}), hash);
  }

 private:
  int64_t sequences() const { return shared_.segment_ids.dim(0); }
  int64_t length() const { return shared_.segment_ids.dim(1); }
  /** What a gradient reads that does not compute attention again, or no product at all. */
  Value for_attention(const Value& value) const { return recompute_ == Recompute::kAll ? value : keep(value); }
  Value for_products(const Value& value) const { return recompute_ == Recompute::kNone ? keep(value) : value; }
  const Rotary& rotary() const { return shared_.rotaries.at(attention_.rope); }
  /** Where texts share prefixes, no window leaves any of them out (step_options), so there is none. */
  AttentionRule rule() const {
    return {attention_.scale,
            options_.prefixes ? std::nullopt : attention_.sliding_window,
            attention_.logit_softcapping,
            options_.prefixes,
            options_.one_text,
            options_.deterministic};
  }

  Value norm(const Value& x, const TensorSpec& weight) const {
    return layers_.norm({x, values_.of(weight), options_.spec.norm});
  }
  /** Of each head, or of what a part of the block gives, where the block has such a norm. */
  Value norm_if_any(const Value& x, const std::vector<TensorSpec>& weight) const {
    return weight.empty() ? x : norm(x, weight.front());
  }

  /** After attention: output projection and the feed-forward block, with their residuals. */
  Value rest(const Value& x, const Value& attended, const Value& hash) const {
    Value middle =
        for_products(add(x, norm_if_any(linear(attended, attention_.o_proj, hash), block_.attention_output_norm)));
    const FeedForwardSpec& mlp = block_.feed_forward;
    auto weight = [&](const LinearSpec& spec) { return values_.of(spec.weight); };
    if (Value whole = layers_.feed_forward({middle, values_.of(block_.feed_forward_norm), options_.spec.norm,
                                            weight(mlp.gate_proj), weight(mlp.up_proj), weight(mlp.down_proj),
                                            mlp.activation, bare_feed_forward(), values_.scales_of(mlp.gate_proj),
                                            values_.scales_of(mlp.up_proj), values_.scales_of(mlp.down_proj)}))
      return for_products(whole);
    Value normed = norm(middle, block_.feed_forward_norm);
    Value gate = linear(normed, mlp.gate_proj, hash), up = linear(normed, mlp.up_proj, hash);
    Value gated = layers_.gated({gate, up, mlp.activation});
    return add(middle, norm_if_any(linear(gated, mlp.down_proj, hash), block_.feed_forward_output_norm));
  }

  bool bare_feed_forward() const {
    const FeedForwardSpec& mlp = block_.feed_forward;
    for (const LinearSpec* linear : {&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj})
      if (linear->has_bias() || values_.adapter(*linear) != nullptr) return false;
    return block_.feed_forward_output_norm.empty();
  }

  Value linear(const Value& x, const LinearSpec& spec, const Value& hash) const {
    LinearCall call{x, values_.of(spec.weight), spec.has_bias() ? values_.of(spec.bias.front()) : Value(), spec,
                    values_.scales_of(spec)};
    const BlockValues::Adapter* adapter = values_.adapter(spec);
    if (adapter == nullptr) return for_products(layers_.linear(call));
    Dropout dropout{options_.lora.lora_dropout, hash, shared_.dropout_key, layer_, place_of(spec)};
    const AdaptedLinearCall adapted{
        call, adapter->a, adapter->b, options_.lora.scaling(), dropout, recompute_ == Recompute::kNone};
    return adapter->magnitude ? layers_.linear(DecomposedLinearCall{adapted, adapter->magnitude})
                              : layers_.linear(adapted);
  }

  /** The linear's number in its block, which its dropout masks depend on. */
  size_t place_of(const LinearSpec& wanted) const {
    size_t place = 0;
    for (const LinearSpec* linear : block_.linears()) {
      if (linear == &wanted) return place;
      ++place;
    }
    fail("decoder: '{}' is no linear of the block", wanted.name);
  }

  const ModelOptions& options_;
  const BlockSpec& block_;
  const AttentionSpec& attention_;
  const Shared& shared_;
  const BlockValues& values_;
  const Value& layer_;
  Recompute recompute_;
  Layers layers_;
};

/** One program's graph of the decoder. */
class DecoderBuilder {
 public:
  DecoderBuilder(const ModelOptions& options, const std::vector<Value>& frozen, const std::vector<Value>& trainable)
      : options_(options), spec_(options.spec), layout_(trainable_layout(options)), trainable_(trainable) {
    auto parameters = frozen_parameters(options);
    if (trainable.size() != layout_.parameters.size() || frozen.size() != parameters.size())
      fail("build_heads: {} frozen and {} trainable values given", frozen.size(), trainable.size());
    for (size_t i = 0; i < frozen.size(); ++i) frozen_[parameters[i].name] = frozen[i];
  }

  HeadValues heads(const BatchValues& batch, const Value& dropout_key) {
    share(batch, dropout_key);
    Value x = embed(batch.input_ids);
    Value pooled = options_.form == LayerForm::kUnrolled ? unrolled(x, batch.last_index) : scanned(x, batch.last_index);
    // The head works on few rows, so it can afford float32 all through.
    Value hidden = norm_composition({convert(pooled, DType::kF32), frozen_.at(spec_.final_norm.name), spec_.norm});
    HeadValues out{matmul_nt(hidden, trainable_.at(layout_.head)), {}};
    if (layout_.auxiliary) out.auxiliary = matmul_nt(hidden, trainable_.at(*layout_.auxiliary));
    return out;
  }

 private:
  void share(const BatchValues& batch, const Value& dropout_key) {
    shared_.segment_ids = batch.segment_ids;
    for (const RopeSpec& rope : spec_.ropes)
      shared_.rotaries.push_back(
          rotary_angles(batch.positions, inverse_frequencies(rope, head_dim()), rotary_scale(rope.scaling)));
    if (!options_.dropout || options_.lora.lora_dropout <= 0) return;
    shared_.dropout_key = dropout_key;
    shared_.token_hash = token_hash(batch.dropout_rows, batch.positions);
  }

  int64_t head_dim() const { return spec_.blocks.front().attention.head_dim; }

  /** Rows of the embedding table for ids i32 [B, S] → [T, hidden]. */
  Value embed(const Value& input_ids) {
    Value x = take(frozen_.at(spec_.embeddings.name), reshape(input_ids, {num_elements(input_ids.shape())}));
    x = options_.placement.embedded(x, spec_.embeddings);
    if (spec_.embedding_scale != 1) x = mul(x, spec_.embedding_scale);
    return convert(x, options_.compute_dtype);
  }

  Value unrolled(Value x, const Value& last_index) {
    std::map<size_t, std::vector<Value>> by_layer;  // of each stacked parameter
    for (const auto& adapter : layout_.adapters)
      for (size_t part : adapter.parts()) by_layer[part] = unstack(trainable_[part]);
    for (int64_t layer = 0;; ++layer) {
      const BlockSpec& block = spec_.block(layer);
      BlockValues values;
      for (const HeldTensor& held : held_tensors(block, options_.storage()))
        values.set(held.spec, frozen_.at(name_in_layer(held.spec.name, layer)));
      for (const auto& adapter : layout_.adapters) {
        // Below the lowest adapted layer nothing then flows back.
        if (!options_.lora.adapts(layer)) break;
        std::vector<Value> parts;
        for (size_t part : adapter.parts()) parts.push_back(by_layer.at(part).at(static_cast<size_t>(layer)));
        values.set_adapter(adapter.linear, parts);
      }
      Value number = full(x.graph(), DType::kI32, {}, static_cast<double>(layer));
      BlockBuilder builder(options_, block, shared_, values, number);
      if (layer + 1 == spec_.num_hidden_layers) return builder.pooled_tokens(x, last_index);
      x = builder.all_tokens(x);
    }
  }

  /** A loop whose body is one layer, or one period of layers of several kinds. The last layer, which computes little more than
   * the pooled tokens, comes behind the loop, and so does what is before it of its period. */
  Value scanned(Value x, const Value& last_index) {
    const auto period = static_cast<int64_t>(spec_.blocks.size());
    const int64_t rounds = (spec_.num_hidden_layers - 1) / period;
    std::vector<Value> stacks = stacked_values();
    if (rounds > 0) x = looped(x, stacks, rounds, period);
    const Placement& place = options_.placement;
    for (int64_t number = rounds * period;; ++number) {
      std::vector<Value> values;
      for (const Value& stack : stacks) values.push_back(row(stack, number));
      const BlockSpec& block = spec_.block(number);
      const BlockValues named = block_values(block, values);
      const Value place_of_layer = full(x.graph(), DType::kI32, {}, static_cast<double>(number));
      const BlockBuilder builder(options_, block, shared_, named, place_of_layer);
      if (number + 1 == spec_.num_hidden_layers) return place.whole(builder.pooled_tokens(place.tokens(x), last_index));
      x = place.tokens(builder.all_tokens(place.tokens(x)));
    }
  }

  Value looped(const Value& x, const std::vector<Value>& stacks, int64_t rounds, int64_t period) {
    const Placement& place = options_.placement;
    std::vector<Value> stacked, constants = {shared_.segment_ids};
    for (const Value& stack : stacks) stacked.push_back(in_periods(stack, period));
    for (const Rotary& rotary : shared_.rotaries) {
      constants.push_back(rotary.cos);
      constants.push_back(rotary.sin);
    }
    const bool dropout = static_cast<bool>(shared_.token_hash);
    if (dropout) {
      constants.push_back(shared_.token_hash);
      constants.push_back(shared_.dropout_key);
    }
    auto layer = [&](const Value& carried, const BlockSpec& block, const std::vector<Value>& values,
                     const Shared& shared, const Value& number) {
      BlockValues named = block_values(block, values);
      const BlockBuilder builder(options_, block, shared, named, number, options_.recompute);
      return place.tokens(builder.all_tokens(place.tokens(carried)));
    };
    auto body = [&](const ScanInput& in) {
      // In the order in which they were put in.
      auto constant = in.constants.begin();
      Shared inner;
      inner.segment_ids = *constant++;
      for (size_t kind = 0; kind < shared_.rotaries.size(); ++kind) {
        Rotary& rotary = inner.rotaries.emplace_back();
        rotary.cos = *constant++;
        rotary.sin = *constant++;
      }
      if (dropout) {
        inner.token_hash = *constant++;
        inner.dropout_key = *constant++;
      }
      if (period == 1)
        return ScanOutput{{layer(in.carries.front(), spec_.blocks.front(), in.slices, inner, in.index)}, {}};
      Value carried = in.carries.front(), first = mul(in.index, static_cast<double>(period));
      for (int64_t kind = 0; kind < period; ++kind) {
        std::vector<Value> values;
        for (const Value& slice : in.slices) values.push_back(row(slice, kind));
        carried = layer(carried, spec_.block(kind), values, inner, add(first, static_cast<double>(kind)));
      }
      return ScanOutput{{carried}, {}};
    };
    return scan(x.graph(), rounds, {x}, stacked, constants, body).carries.front();
  }

  /** The layers' tensors and adapters, each [layers, …]. */
  std::vector<Value> stacked_values() const {
    std::vector<Value> stacks;
    for (const HeldTensor& held : held_tensors(spec_.blocks.front(), options_.storage()))
      stacks.push_back(frozen_.at(held.spec.name));
    for (const auto& adapter : layout_.adapters)
      for (size_t part : adapter.parts()) stacks.push_back(trainable_[part]);
    return stacks;
  }

  /** One layer's values of stacked_values(), by what they are. */
  BlockValues block_values(const BlockSpec& block, const std::vector<Value>& in_order) const {
    BlockValues values;
    auto value = in_order.begin();
    for (const HeldTensor& held : held_tensors(block, options_.storage())) values.set(held.spec, *value++);
    for (const auto& adapter : layout_.adapters) {
      std::vector<Value> parts;
      for (size_t i = 0; i < adapter.parts().size(); ++i) parts.push_back(*value++);
      values.set_adapter(adapter.linear, parts);
    }
    return values;
  }

  /** Row `number` of a stack. */
  static Value row(const Value& stack, int64_t number) {
    return reshape(slice_dim(stack, 0, number, number + 1), {stack.shape().begin() + 1, stack.shape().end()});
  }

  /** A stack as [rounds, period, …], without what its length leaves of a last period; with a period of 1 the stack itself. */
  static Value in_periods(const Value& stack, int64_t period) {
    if (period == 1) return stack;
    const int64_t rounds = stack.dim(0) / period;
    Shape shape = stack.shape();
    shape.front() = period;
    shape.insert(shape.begin(), rounds);
    return reshape(rounds * period == stack.dim(0) ? stack : slice_dim(stack, 0, 0, rounds * period), shape);
  }

  const ModelOptions& options_;
  const DecoderSpec& spec_;
  TrainableLayout layout_;
  std::map<std::string, Value> frozen_;  // by the argument's name
  const std::vector<Value>& trainable_;
  Shared shared_;
};

}  // namespace

std::vector<FrozenParameter> frozen_parameters(const ModelOptions& options) {
  const DecoderSpec& spec = options.spec;
  std::vector<FrozenParameter> parameters;
  // All that a tensor is held as; `layers`: the numbers of those that are stacked, or that it is of; none = of no layer.
  auto add = [&](const TensorSpec& tensor, bool stacked, const std::vector<int64_t>& layers) {
    for (HeldTensor& held : held_as(tensor, options.storage())) {
      const std::string name =
          stacked || layers.empty() ? held.spec.name : name_in_layer(held.spec.name, layers.front());
      FrozenParameter p{name,      std::move(held.spec), stacked,          {}, held.dtype, {},
                        held.part, tensor.shape,         held.quantisation};
      p.shape = p.tensor.shape;
      if (stacked) p.shape.insert(p.shape.begin(), static_cast<int64_t>(layers.size()));
      for (int64_t layer : layers) p.sources.push_back(name_in_layer(tensor.name, layer));
      if (layers.empty()) p.sources.push_back(tensor.name);
      parameters.push_back(std::move(p));
    }
  };
  add(spec.embeddings, false, {});
  if (options.form == LayerForm::kScan) {
    std::vector<int64_t> layers(static_cast<size_t>(spec.num_hidden_layers));
    std::iota(layers.begin(), layers.end(), 0);
    for (const TensorSpec* tensor : spec.blocks.front().tensors()) add(*tensor, true, layers);
  } else {
    for (int64_t layer = 0; layer < spec.num_hidden_layers; ++layer)
      for (const TensorSpec* tensor : spec.block(layer).tensors()) add(*tensor, false, {layer});
  }
  add(spec.final_norm, false, {});
  return parameters;
}

TrainableLayout trainable_layout(const ModelOptions& options) {
  TrainableLayout layout =
      trainable_layout(options.spec, options.lora, options.num_labels, options.learns_tie, options.auxiliary_outputs);
  layout.parameters[layout.head].held = options.freeze_head;
  for (const auto& adapter : layout.adapters)
    for (size_t part : adapter.parts()) layout.parameters[part].held = options.freeze_adapters;
  return layout;
}

std::vector<std::string> placement_notes(const ModelOptions& options) {
  std::vector<std::string> notes;
  const Placement& placement = options.placement;
  if (!placement.split()) return notes;
  if (!placement.splits_heads()) {
    const AttentionSpec& attention = options.spec.blocks.front().attention;
    notes.push_back(
        fmt::format("mesh {}: {} heads and {} key-value heads: attention is not split over mp, which must divide both",
                    to_string(placement.mesh()), attention.num_attention_heads, attention.num_key_value_heads));
  }
  for (const FrozenParameter& p : frozen_parameters(options)) placement.parameter(p.name, p.tensor, p.stacked, notes);
  for (const TrainableParameter& p : trainable_layout(options).parameters)
    placement.parameter(p.name, p.tensor, p.stacked, notes);
  return notes;
}

HeadValues build_heads(const ModelOptions& options, const std::vector<Value>& frozen,
                       const std::vector<Value>& trainable, const BatchValues& batch, const Value& dropout_key) {
  return DecoderBuilder(options, frozen, trainable).heads(batch, dropout_key);
}

}  // namespace gavel

#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "base/tensor.h"
#include "io/gguf.h"
#include "spec/model_config.h"

// GGUF files that tests write.
namespace gavel {

/** The number's bytes, lowest first. */
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/** Writes GGUF files, right ones and wrong ones. */
class GgufWriter {
 public:
  struct Tensor {
    std::string name;
    Shape shape;  // outermost first
    uint32_t type = 0;
    std::string data;
    uint64_t offset = ~uint64_t{0};  // given, or behind the one before
  };

  static std::string text(const std::string& value) { return raw(uint64_t{value.size()}) + value; }
  void add(const std::string& key, uint32_t type, const std::string& value) {
    keys_.push_back(text(key) + raw(type) + value);
  }
  void add_integer(const std::string& key, uint32_t value) { add(key, 4, raw(value)); }
  void add_float(const std::string& key, float value) { add(key, 6, raw(value)); }
  void add_text(const std::string& key, const std::string& value) { add(key, 8, text(value)); }
  void add_tensor(Tensor tensor) { tensors_.push_back(std::move(tensor)); }
  void add_f32(const std::string& name, const Shape& shape, const std::vector<float>& values) {
    std::string data(values.size() * 4, '\0');
    std::memcpy(data.data(), values.data(), data.size());
    add_tensor({name, shape, 0, data});
  }
  std::vector<Tensor>& tensors() { return tensors_; }

  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t more_keys = 0, more_tensors = 0;  // claimed beside those that are there

  std::string bytes() const {
    std::string out =
        magic + raw(version) + raw(uint64_t{tensors_.size()} + more_tensors) + raw(uint64_t{keys_.size()} + more_keys);
    for (const auto& key : keys_) out += key;
    std::string data;
    for (const auto& tensor : tensors_) {
      out += text(tensor.name) + raw(static_cast<uint32_t>(tensor.shape.size()));
      for (size_t d = tensor.shape.size(); d-- > 0;) out += raw(static_cast<uint64_t>(tensor.shape[d]));
      out += raw(tensor.type) + raw(tensor.offset != ~uint64_t{0} ? tensor.offset : uint64_t{data.size()});
      data += tensor.data;
      data.resize((data.size() + 31) / 32 * 32);
    }
    out.resize((out.size() + 31) / 32 * 32);
    return out + data;
  }

 private:
  std::vector<std::string> keys_;
  std::vector<Tensor> tensors_;
};

/** Two layers, four heads of eight, two of keys. */
inline ModelConfig tiny_config() {
  ModelConfig config;
  config.vocab_size = 20;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.rms_norm_eps = 0.0009765625;
  config.rope.rope_theta = 500000;
  config.bos_token_id = 1;
  config.eos_token_id = 2;
  return config;
}

/** The tensors that the config calls for, with Hugging Face's names and numbers that differ everywhere. */
inline std::vector<std::pair<std::string, HostTensor>> tiny_tensors(const ModelConfig& c, DType dtype) {
  std::vector<std::pair<std::string, HostTensor>> tensors;
  float next = 0;
  auto add = [&](const std::string& name, Shape shape) {
    std::vector<float> values(static_cast<size_t>(num_elements(shape)));
    for (float& value : values) value = (next += 0.03125f);
    tensors.emplace_back(name, HostTensor::from(values, std::move(shape)).to(dtype));
  };
  int64_t query = c.num_attention_heads * c.head_dim, key = c.num_key_value_heads * c.head_dim;
  add("model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
  add("model.norm.weight", {c.hidden_size});
  for (int64_t i = 0; i < c.num_hidden_layers; ++i) {
    auto layer = [&](const char* name) { return fmt::format("model.layers.{}.{}.weight", i, name); };
    add(layer("input_layernorm"), {c.hidden_size});
    add(layer("post_attention_layernorm"), {c.hidden_size});
    add(layer("self_attn.q_proj"), {query, c.hidden_size});
    add(layer("self_attn.k_proj"), {key, c.hidden_size});
    add(layer("self_attn.v_proj"), {key, c.hidden_size});
    add(layer("self_attn.o_proj"), {c.hidden_size, query});
    add(layer("mlp.gate_proj"), {c.intermediate_size, c.hidden_size});
    add(layer("mlp.up_proj"), {c.intermediate_size, c.hidden_size});
    add(layer("mlp.down_proj"), {c.hidden_size, c.intermediate_size});
  }
  return tensors;
}

/** The same model as float32 GGUF; q and k in ggml's order of rows (first and second halves of a head
 * interleaved), as llama.cpp's converter writes them. */
inline GgufWriter tiny_gguf(const ModelConfig& c) {
  GgufWriter gguf;
  gguf.add_text("general.architecture", "llama");
  gguf.add_integer("llama.embedding_length", static_cast<uint32_t>(c.hidden_size));
  gguf.add_integer("llama.feed_forward_length", static_cast<uint32_t>(c.intermediate_size));
  gguf.add_integer("llama.block_count", static_cast<uint32_t>(c.num_hidden_layers));
  gguf.add_integer("llama.attention.head_count", static_cast<uint32_t>(c.num_attention_heads));
  gguf.add_integer("llama.attention.head_count_kv", static_cast<uint32_t>(c.num_key_value_heads));
  gguf.add_float("llama.attention.layer_norm_rms_epsilon", static_cast<float>(c.rms_norm_eps));
  gguf.add_float("llama.rope.freq_base", static_cast<float>(c.rope.rope_theta));
  gguf.add_integer("tokenizer.ggml.bos_token_id", 1);
  gguf.add_integer("tokenizer.ggml.eos_token_id", 2);
  const std::vector<std::pair<std::string, std::string>> renamed = {
      {"model.embed_tokens.", "token_embd."}, {"model.norm.", "output_norm."},
      {"input_layernorm", "attn_norm"},       {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_proj", "attn_q"},         {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},         {"self_attn.o_proj", "attn_output"},
      {"mlp.gate_proj", "ffn_gate"},          {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"},          {"model.layers.", "blk."}};
  for (const auto& [name, tensor] : tiny_tensors(c, DType::kF32)) {
    std::string theirs = name;
    for (const auto& [from, to] : renamed)
      if (auto at = theirs.find(from); at != std::string::npos) theirs.replace(at, from.size(), to);
    auto values = tensor.as<float>();
    std::vector<float> data(values.begin(), values.end());
    bool query = theirs.ends_with("attn_q.weight");
    if (query || theirs.ends_with("attn_k.weight")) {
      auto columns = static_cast<size_t>(c.hidden_size), half = static_cast<size_t>(c.head_dim / 2);
      auto heads = static_cast<size_t>(query ? c.num_attention_heads : c.num_key_value_heads);
      for (size_t head = 0; head < heads; ++head)
        for (size_t second = 0; second < 2; ++second)
          for (size_t i = 0; i < half; ++i)
            std::copy_n(values.data() + (head * 2 * half + second * half + i) * columns, columns,
                        data.data() + (head * 2 * half + 2 * i + second) * columns);
    }
    gguf.add_f32(theirs, tensor.shape(), data);
  }
  return gguf;
}

/** Whole blocks of a quantised type, all their bits random but the numbers that scales are multiples of: those are of such a
 * size, and of either sign, that weights spread about `spread` around zero. */
inline std::string random_blocks(GgmlType type, int64_t count, uint64_t seed, double spread) {
  struct Layout {
    GgmlType type;
    size_t factor;          // where the float16 is
    double size;            // of a weight for a factor of 1
    size_t minimum = 0;     // where the float16 is, in types that have one
    double per_factor = 0;  // and what it is for weights around zero
  };
  static constexpr Layout kLayouts[] = {
      {GgmlType::kQ4_0, 0, 5},           {GgmlType::kQ4_1, 0, 5, 2, -7.5},  {GgmlType::kQ5_0, 0, 9},
      {GgmlType::kQ5_1, 0, 9, 2, -15.5}, {GgmlType::kQ8_0, 0, 74},          {GgmlType::kQ2_K, 80, 10, 82, 1.5},
      {GgmlType::kQ3_K, 108, 42},        {GgmlType::kQ4_K, 0, 160, 2, 7.5}, {GgmlType::kQ5_K, 0, 330, 2, 15.5},
      {GgmlType::kQ6_K, 208, 1360},      {GgmlType::kIQ4_NL, 0, 66},        {GgmlType::kIQ4_XS, 0, 1200},
      {GgmlType::kTQ1_0, 52, 0.8},       {GgmlType::kTQ2_0, 64, 1}};
  const auto layout =
      std::find_if(std::begin(kLayouts), std::end(kLayouts), [&](const Layout& l) { return l.type == type; });
  const GgmlBlock block = *ggml_block(static_cast<uint32_t>(type));
  if (layout == std::end(kLayouts) || count % block.elements != 0) fail("random_blocks: {} of {}", count, block.name);
  std::string bytes(static_cast<size_t>(count / block.elements) * block.bytes, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(random_bits(seed, i) & 0xff);
  for (size_t at = 0; at < bytes.size(); at += block.bytes) {
    const double u = random_uniform(seed + 1, at), sign = random_bits(seed + 2, at) % 2 == 0 ? 1 : -1;
    const auto factor = static_cast<float>(sign * spread / layout->size * (0.5 + u));
    auto put = [&](size_t where, float value) {
      const uint16_t half = f32_to_f16(value);
      std::memcpy(bytes.data() + at + where, &half, 2);
    };
    put(layout->factor, factor);
    if (layout->per_factor != 0) put(layout->minimum, factor * static_cast<float>(layout->per_factor));
  }
  return bytes;
}

/** The weights of all layers' linears in quantised types, at random; `type_of` is asked with the name in the file. */
inline void in_blocks(GgufWriter& gguf, const std::function<GgmlType(const std::string& name)>& type_of) {
  uint64_t seed = 77;
  for (GgufWriter::Tensor& tensor : gguf.tensors()) {
    if (!tensor.name.starts_with("blk.") || tensor.shape.size() != 2) continue;
    const GgmlType type = type_of(tensor.name);
    tensor.type = static_cast<uint32_t>(type);
    tensor.data = random_blocks(type, num_elements(tensor.shape), seed += 3, 0.08);
  }
}

/** Three layers whose linears' inputs superblocks of 256 divide. */
inline ModelConfig k_quant_config() {
  ModelConfig config = tiny_config();
  config.vocab_size = 64;
  config.hidden_size = 256;
  config.intermediate_size = 512;
  config.num_hidden_layers = 3;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 64;
  return config;
}

/** Such a file as llama.cpp's Q4_K_M: some layers' values and down projections in Q6_K, all else in Q4_K but the keys, in Q5_0
 * as where 256 does not divide the inputs. Embeddings and norms are of a size that trains. */
inline GgufWriter k_quant_gguf(const ModelConfig& config) {
  GgufWriter gguf = tiny_gguf(config);
  for (GgufWriter::Tensor& tensor : gguf.tensors()) {
    auto* const numbers = reinterpret_cast<float*>(tensor.data.data());
    const bool norm = tensor.shape.size() == 1;
    for (size_t i = 0; i < tensor.data.size() / 4; ++i)
      numbers[i] = static_cast<float>((norm ? 1 : 0) + 0.3 * (random_uniform(tensor.data.size(), i) - 0.5));
  }
  in_blocks(gguf, [](const std::string& name) {
    const bool more =
        (name.ends_with("attn_v.weight") || name.ends_with("ffn_down.weight")) && !name.starts_with("blk.1.");
    return more ? GgmlType::kQ6_K : name.ends_with("attn_k.weight") ? GgmlType::kQ5_0 : GgmlType::kQ4_K;
  });
  return gguf;
}

}  // namespace gavel

#pragma once
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"
#include "base/tensor.h"
#include "io/gguf.h"
#include "spec/model_config.h"

namespace gavel {

/** A folder that goes with the object. */
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "gavel_io_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail("{}: no temporary folder", name);
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  /** Writes a file and gives its path. */
  std::filesystem::path file(const std::string& name, std::string_view text) const {
    // Not write_file: its sync to disk would take most of a test's time.
    std::ofstream out(path_ / name, std::ios::binary | std::ios::trunc);
    if (!out.write(text.data(), static_cast<std::streamsize>(text.size()))) fail("{}: can't be written", name);
    return path_ / name;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/** The number's bytes, lowest first. */
template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/** A safetensors file of any header text. */
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  return raw(uint64_t{header.size()}) + header + data;
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

}  // namespace gavel

#include <nlohmann/json.hpp>
#include <cstring>
#include "io/model_files.h"
namespace gavel {
using J = nlohmann::json;
std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& p) {
  auto s = std::make_shared<SafetensorsFile>(); s->f_ = MappedFile::open(p); auto b = s->f_->text();
  uint64_t n; std::memcpy(&n, b.data(), 8); auto j = J::parse(b.substr(8, n)); s->base_ = 8 + n;
  for (auto& [k, v] : j.items()) { if (k == "__metadata__") continue; TensorInfo i; i.dtype = v["dtype"] == "F32" ? DType::kF32 : DType::kI32; i.shape = v["shape"].get<Shape>(); i.begin = v["data_offsets"][0]; i.end = v["data_offsets"][1]; s->t_[k] = i; }
  return s; }
HostTensor SafetensorsFile::tensor(const std::string& n) const { auto it = t_.find(n); if (it == t_.end()) fail("tensor {} missing", n); return HostTensor(it->second.dtype, it->second.shape, f_->bytes().data() + base_ + it->second.begin, f_); }
void write_safetensors(const std::filesystem::path&, const std::vector<std::pair<std::string, HostTensor>>&, const std::map<std::string, std::string>&) {}
ModelFiles ModelFiles::open(const std::filesystem::path& p) { ModelFiles m; m.f_ = SafetensorsFile::open(p / "model.safetensors"); auto j = J::parse(read_text(p / "config.json")); auto& c = m.c_;
 c.vocab_size = j["vocab_size"]; c.hidden_size = j["hidden_size"]; c.intermediate_size = j["intermediate_size"]; c.num_hidden_layers = j["num_hidden_layers"]; c.num_attention_heads = j["num_attention_heads"]; c.num_key_value_heads = j["num_key_value_heads"]; c.head_dim = j["head_dim"]; c.rms_norm_eps = j["rms_norm_eps"]; auto r = j["rope_parameters"]; c.rope_theta = r["rope_theta"]; c.attention_bias = j["attention_bias"]; c.pad_token_id = j["pad_token_id"];
 c.rope_scaling.type = r["rope_type"]; if (r.contains("factor")) { c.rope_scaling.factor = r["factor"]; c.rope_scaling.low_freq_factor = r["low_freq_factor"]; c.rope_scaling.high_freq_factor = r["high_freq_factor"]; c.rope_scaling.original_max_position_embeddings = r["original_max_position_embeddings"]; }
 return m; }
}

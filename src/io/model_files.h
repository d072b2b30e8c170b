#pragma once
#include "io/safetensors.h"
#include "io/llama_config.h"
namespace gavel {
class ModelFiles {
 public:
  static ModelFiles open(const std::filesystem::path&);
  const LlamaConfig& config() const { return c_; }
  HostTensor read(const std::string& n, DType d) const { return f_->tensor(n).to(d); }
  LlamaConfig c_; std::shared_ptr<const SafetensorsFile> f_;
};
}

#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include "base/file.h"
#include "base/tensor.h"
namespace gavel {
struct TensorInfo { DType dtype; Shape shape; size_t begin, end; };
class SafetensorsFile {
 public:
  static std::shared_ptr<const SafetensorsFile> open(const std::filesystem::path&);
  const std::map<std::string, TensorInfo>& tensors() const { return t_; }
  HostTensor tensor(const std::string& n) const;
  std::shared_ptr<const MappedFile> f_; std::map<std::string, TensorInfo> t_; size_t base_ = 0;
};
void write_safetensors(const std::filesystem::path&, const std::vector<std::pair<std::string, HostTensor>>&, const std::map<std::string, std::string>&);
}

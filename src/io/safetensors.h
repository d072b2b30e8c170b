#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/tensor.h"

namespace gavel {

/** Where a tensor lies in its file. */
struct TensorInfo {
  std::string type;            // as the file spells it
  std::optional<DType> dtype;  // none for types that Gavel does not hold, such as F8_E4M3
  Shape shape;
  size_t begin = 0;  // bytes from the start of the file's data
  size_t end = 0;
};

/** A memory-mapped file of the safetensors format (8 bytes header length, JSON header, data). open() checks
 * the header against the file: its length, dtypes, that shapes fill their byte ranges, and that the ranges
 * cover the data without overlap or holes. Throws Error naming the file and the tensor. */
class SafetensorsFile {
 public:
  static std::shared_ptr<const SafetensorsFile> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /** A view that keeps the file mapped. Throws Error when there is no such tensor, or its type is not held. */
  HostTensor tensor(const std::string& name) const;
  /** Tells the system that the tensor's pages are not needed again soon; views stay valid. */
  void release(const std::string& name) const;

 private:
  SafetensorsFile() = default;
  void parse_header(std::string_view header);
  void check_ranges() const;

  std::shared_ptr<const MappedFile> file_;
  size_t data_begin_ = 0;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

/** Writes the tensors in the order given (each name once), header padded to 8 bytes; the file appears whole
 * or not at all. The same input gives the same bytes. */
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, HostTensor>>& tensors,
                       const std::map<std::string, std::string>& metadata);

/** A tensor still to be made. */
struct TensorToWrite {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

/** The same, one tensor in memory at a time: `read` is called for each in turn, and must give its dtype and
 * shape. */
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const std::function<HostTensor(const TensorToWrite&)>& read,
                       const std::map<std::string, std::string>& metadata);

}  // namespace gavel

#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/file.h"
#include "base/tensor.h"

namespace gavel {

/** Tensor storage types of GGUF that Gavel reads; the numbers are the file's. */
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

/** How a storage type packs its elements: in blocks of so many elements and bytes. */
struct GgmlBlock {
  std::string name;
  int64_t elements;
  size_t bytes;
};
/** Nothing for a type that Gavel does not read. */
std::optional<GgmlBlock> ggml_block(uint32_t type);

/** Converts `count` elements (whole blocks) to float32, with the same order of operations as the `gguf` Python package,
 * so that results are equal bit for bit. */
void dequantize(GgmlType type, const uint8_t* data, int64_t count, float* out);

struct GgufTensorInfo {
  Shape shape;  // outermost first, as elsewhere here; the file has it the other way round
  GgmlType type = GgmlType::kF32;
  size_t offset = 0;  // bytes from the start of the file
  size_t bytes = 0;
};

/** Metadata: numbers (integers widened), texts, booleans, and lists of them. */
using GgufValue = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>>;

/** A memory-mapped GGUF file, versions 2 and 3. open() checks every count, length and offset against the file
 * before it allocates. Throws Error naming the file and the key or tensor. */
class GgufFile {
 public:
  static std::shared_ptr<const GgufFile> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  const std::map<std::string, GgufValue>& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensorInfo>& tensors() const { return tensors_; }

  bool has(const std::string& key) const { return metadata_.contains(key); }
  /** Typed metadata; Error names the key when it is missing or of another type. */
  int64_t integer(const std::string& key) const;
  double number(const std::string& key) const;
  bool boolean(const std::string& key) const;
  const std::string& text(const std::string& key) const;
  const std::vector<std::string>& texts(const std::string& key) const;
  const std::vector<int64_t>& integers(const std::string& key) const;

  /** The tensor dequantised to float32. */
  HostTensor read(const std::string& name) const;
  /** Tells the system that the tensor's pages are not needed again soon. */
  void release(const std::string& name) const;
  /** `count` elements from element `first` on, dequantised to `out`; both must be whole blocks. */
  void read_elements(const std::string& name, int64_t first, int64_t count, float* out) const;

 private:
  GgufFile() = default;
  void check_overlaps() const;
  template <class T>
  const T& get(const std::string& key, std::string_view expected) const;

  std::shared_ptr<const MappedFile> file_;
  std::map<std::string, GgufValue> metadata_;
  std::map<std::string, GgufTensorInfo> tensors_;
};

}  // namespace gavel

#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
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
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
};

/** How a storage type packs its elements: in blocks of so many elements and bytes. */
struct GgmlBlock {
  std::string name;
  int64_t elements;
  size_t bytes;
  bool readable;  // a GgmlType; others are known by their size alone, so that a file may hold tensors that nobody reads
};
/** Nothing for a number that stands for no type of ggml's. */
std::optional<GgmlBlock> ggml_block(uint32_t type);
/** The types that Gavel reads, for messages and docs: "F32, F16, …". */
std::string readable_ggml_types();

/** Converts `count` elements (whole blocks) to float32, with the same order of operations as the `gguf` Python package,
 * so that results are equal bit for bit. */
void dequantize(GgmlType type, const uint8_t* data, int64_t count, float* out);

/** Takes `count` elements (whole blocks) of Q8_0 apart: a code for each, and of each block of 32 the scale that codes are
 * multiplied by. */
void split_q8_0(const uint8_t* data, int64_t count, int8_t* codes, float* scales);

struct GgufTensorInfo {
  Shape shape;        // outermost first, as elsewhere here; the file has it the other way round
  uint32_t type = 0;  // a GgmlType where ggml_block says that it is readable
  size_t offset = 0;  // bytes from the start of the file
  size_t bytes = 0;
  size_t part = 0;  // of a model in several files
};

/** A list of lists, which no key that Gavel knows has. */
struct GgufNested {};

/** Metadata: numbers (integers widened), texts, booleans, and lists of them. */
using GgufValue = std::variant<int64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>, GgufNested>;

/** A memory-mapped GGUF file, versions 2 and 3, or the first of several that are a model together
 * (NAME-00001-of-00003.gguf), whose tensors then are those of all. open() checks every count, length and offset against
 * the file before it allocates. Throws Error naming the file and the key or tensor. */
class GgufFile {
 public:
  static std::shared_ptr<const GgufFile> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return files_.front()->path(); }
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

  /** The tensor dequantised to float32. Throws Error for a type that is not read, as read_elements does. */
  HostTensor read(const std::string& name) const;
  /** Tells the system that the tensor's pages are not needed again soon. */
  void release(const std::string& name) const;
  /** The tensor's bytes as they lie in the file. */
  std::span<const uint8_t> stored(const std::string& name) const;
  /** `count` elements from element `first` on, dequantised to `out`; both must be whole blocks. */
  void read_elements(const std::string& name, int64_t first, int64_t count, float* out) const;

 private:
  GgufFile() = default;
  static std::shared_ptr<GgufFile> open_one(const std::filesystem::path& path);
  void check_overlaps() const;
  void add_parts();
  const GgufTensorInfo& tensor(const std::string& name) const;
  template <class T>
  const T& get(const std::string& key, std::string_view expected) const;

  std::vector<std::shared_ptr<const MappedFile>> files_;  // by GgufTensorInfo::part
  std::map<std::string, GgufValue> metadata_;
  std::map<std::string, GgufTensorInfo> tensors_;
};

}  // namespace gavel

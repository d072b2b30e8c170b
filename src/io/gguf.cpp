#include "io/gguf.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace gavel {

namespace {

constexpr uint64_t kMaxDimensions = 4;

/** Reads the file from front to back; every read is checked against its end. */
class Cursor {
 public:
  Cursor(std::span<const uint8_t> bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}

  template <class T>
  T read(std::string_view what) {
    need(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  std::string text(std::string_view what) {
    auto length = read<uint64_t>(what);
    need(length, what);
    std::string value(reinterpret_cast<const char*>(bytes_.data()) + at_, static_cast<size_t>(length));
    at_ += static_cast<size_t>(length);
    return value;
  }

  /** Throws unless `count` more bytes are there. */
  void need(uint64_t count, std::string_view what) const {
    if (count > bytes_.size() - at_)
      fail("{}: {} needs {} bytes at byte {}, the file has {}; it is cut short or damaged", file_, what, count, at_,
           bytes_.size());
  }

  size_t at() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }
  const std::string& file() const { return file_; }

 private:
  std::span<const uint8_t> bytes_;
  std::string file_;
  size_t at_ = 0;
};

enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kText, kArray, kU64, kI64, kF64 };

GgufValue scalar(Cursor& cursor, uint32_t type, const std::string& key) {
  switch (type) {
    case kU8:
      return int64_t{cursor.read<uint8_t>(key)};
    case kI8:
      return int64_t{cursor.read<int8_t>(key)};
    case kU16:
      return int64_t{cursor.read<uint16_t>(key)};
    case kI16:
      return int64_t{cursor.read<int16_t>(key)};
    case kU32:
      return int64_t{cursor.read<uint32_t>(key)};
    case kI32:
      return int64_t{cursor.read<int32_t>(key)};
    case kU64: {
      auto value = cursor.read<uint64_t>(key);
      // A larger one would turn up negative.
      if (value > uint64_t{INT64_MAX}) fail("{}: metadata '{}' is {}, which is too large", cursor.file(), key, value);
      return static_cast<int64_t>(value);
    }
    case kI64:
      return cursor.read<int64_t>(key);
    case kF32:
      return double{cursor.read<float>(key)};
    case kF64:
      return cursor.read<double>(key);
    case kBool:
      return cursor.read<uint8_t>(key) != 0;
    case kText:
      return cursor.text(key);
    default:
      fail("{}: metadata '{}' has the unknown type {}", cursor.file(), key, type);
  }
}

template <class T>
std::vector<T> list(Cursor& cursor, uint32_t type, uint64_t count, const std::string& key) {
  std::vector<T> values;
  values.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) values.push_back(std::get<T>(scalar(cursor, type, key)));
  return values;
}

GgufValue array(Cursor& cursor, const std::string& key, int depth = 0) {
  constexpr int kMaxDepth = 8;
  auto type = cursor.read<uint32_t>(key);
  auto count = cursor.read<uint64_t>(key);
  // A text takes at least the eight bytes of its length, a list twelve, so the count is bounded by the file.
  constexpr std::array<size_t, 13> kBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  if (type >= kBytes.size()) fail("{}: metadata '{}' is a list of the unknown type {}", cursor.file(), key, type);
  if (count > cursor.left() / kBytes[type])
    fail("{}: metadata '{}' claims {} elements, {} bytes are left in the file", cursor.file(), key, count,
         cursor.left());
  if (type == kArray) {
    if (depth == kMaxDepth) fail("{}: metadata '{}' is nested too deeply", cursor.file(), key);
    for (uint64_t i = 0; i < count; ++i) array(cursor, key, depth + 1);
    return GgufNested();
  }
  if (type == kText) return list<std::string>(cursor, type, count, key);
  if (type == kF32 || type == kF64) return list<double>(cursor, type, count, key);
  if (type == kBool) {
    std::vector<int64_t> values;
    for (uint64_t i = 0; i < count; ++i) values.push_back(cursor.read<uint8_t>(key) != 0 ? 1 : 0);
    return values;
  }
  return list<int64_t>(cursor, type, count, key);
}

/** The magic number and the version. */
void check_start(Cursor& cursor) {
  const auto magic = cursor.read<uint32_t>("the magic number");
  for (uint32_t older : {0x67676a74u, 0x67676d66u, 0x67676d6cu, 0x67676c61u})
    if (magic == older)
      fail("{}: a file of llama.cpp from before GGUF; convert the model anew, or take a .gguf file of it",
           cursor.file());
  if (magic != 0x46554747u) fail("{}: not a GGUF file: it starts with {:#010x}", cursor.file(), magic);
  const auto version = cursor.read<uint32_t>("the version");
  if (version == 0x02000000u || version == 0x03000000u)
    fail(
        "{}: a big-endian GGUF file, which is not supported; turn it round with gguf-convert-endian (of the Python "
        "package gguf)",
        cursor.file());
  if (version != 2 && version != 3) fail("{}: GGUF version {}; versions 2 and 3 are supported", cursor.file(), version);
}

/** What part `number` (from 0) of `count` is called, beside `path`, a name of any part. Nothing when that is no such
 * name. */
std::optional<std::filesystem::path> part_path(const std::filesystem::path& path, int64_t number, int64_t count) {
  const std::string name = path.filename().string(), end = fmt::format("-of-{:05}.gguf", count);
  constexpr size_t kNumber = 6;  // "-00001"
  if (!name.ends_with(end) || name.size() < end.size() + kNumber) return std::nullopt;
  const std::string before = name.substr(0, name.size() - end.size() - kNumber);
  if (name[before.size()] != '-') return std::nullopt;
  return path.parent_path() / fmt::format("{}-{:05}{}", before, number + 1, end);
}

}  // namespace

std::shared_ptr<const GgufFile> GgufFile::open(const std::filesystem::path& path) {
  auto opened = open_one(path);
  if (opened->has("split.count") && opened->integer("split.count") != 1) opened->add_parts();
  return opened;
}

std::shared_ptr<GgufFile> GgufFile::open_one(const std::filesystem::path& path) {
  std::shared_ptr<GgufFile> opened(new GgufFile());
  opened->files_.push_back(MappedFile::open(path));
  refuse_lfs_pointer(opened->files_.front()->text(), path);
  auto bytes = opened->files_.front()->bytes();
  std::string file = path.string();
  Cursor cursor(bytes, file);
  check_start(cursor);
  auto tensor_count = cursor.read<uint64_t>("the tensor count");
  auto key_count = cursor.read<uint64_t>("the metadata count");
  constexpr uint64_t kLeastTensor = 8 + 4 + 4 + 8, kLeastKey = 8 + 4 + 1;
  if (key_count > cursor.left() / kLeastKey || tensor_count > cursor.left() / kLeastTensor)
    fail("{}: it claims {} metadata keys and {} tensors, more than its {} bytes can hold", file, key_count,
         tensor_count, bytes.size());
  for (uint64_t i = 0; i < key_count; ++i) {
    std::string key = cursor.text(fmt::format("metadata key {}", i));
    auto type = cursor.read<uint32_t>(key);
    GgufValue value = type == kArray ? array(cursor, key) : scalar(cursor, type, key);
    if (!opened->metadata_.emplace(key, std::move(value)).second)
      fail("{}: metadata '{}' stands there twice", file, key);
  }
  int64_t alignment = opened->has("general.alignment") ? opened->integer("general.alignment") : 32;
  if (alignment < 1 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0)
    fail("{}: general.alignment is {}, expected a power of two", file, alignment);

  std::map<std::string, uint64_t> offsets;
  for (uint64_t i = 0; i < tensor_count; ++i) {
    std::string name = cursor.text(fmt::format("the name of tensor {}", i));
    auto rank = cursor.read<uint32_t>(name);
    if (rank > kMaxDimensions)
      fail("{}: tensor '{}' has {} dimensions, at most {} are allowed", file, name, rank, kMaxDimensions);
    GgufTensorInfo info;
    uint64_t elements = 1;
    for (uint32_t d = 0; d < rank; ++d) {
      auto size = cursor.read<uint64_t>(name);
      if (size > (uint64_t{1} << 40) || __builtin_mul_overflow(elements, size, &elements))
        fail("{}: tensor '{}' has a dimension of {}", file, name, size);
      info.shape.insert(info.shape.begin(), static_cast<int64_t>(size));
    }
    auto type = cursor.read<uint32_t>(name);
    auto block = ggml_block(type);
    if (!block)
      fail(
          "{}: tensor '{}' has the storage type {}, which is no type of ggml's today; take a file of another type, "
          "such as "
          "Q8_0 or Q4_K",
          file, name, type);
    info.type = type;
    auto row = info.shape.empty() ? uint64_t{1} : static_cast<uint64_t>(info.shape.back());
    auto block_elements = static_cast<uint64_t>(block->elements);
    if (row % block_elements != 0)
      fail("{}: tensor '{}' of type {} has rows of {}, not a multiple of {}", file, name, block->name, row,
           block_elements);
    uint64_t size = 0;
    if (__builtin_mul_overflow(elements / block_elements, uint64_t{block->bytes}, &size))
      fail("{}: tensor '{}' is too large", file, name);
    info.bytes = size;
    offsets[name] = cursor.read<uint64_t>(name);
    if (!opened->tensors_.emplace(name, std::move(info)).second) fail("{}: tensor '{}' stands there twice", file, name);
  }
  auto step = static_cast<uint64_t>(alignment);
  uint64_t data = (cursor.at() + step - 1) / step * step;
  for (auto& [name, info] : opened->tensors_) {
    uint64_t offset = offsets[name];
    if (offset % step != 0) fail("{}: tensor '{}' starts at byte {}, not a multiple of {}", file, name, offset, step);
    if (data > bytes.size() || offset > bytes.size() - data || info.bytes > bytes.size() - data - offset)
      fail("{}: tensor '{}' needs {} bytes at byte {}, the file has {}; is the download complete?", file, name,
           info.bytes, offset, bytes.size());
    info.offset = data + offset;
  }
  opened->check_overlaps();
  return opened;
}

void GgufFile::check_overlaps() const {
  std::vector<std::pair<const GgufTensorInfo*, const std::string*>> sorted;
  for (const auto& [name, info] : tensors_) sorted.emplace_back(&info, &name);
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    // An empty tensor lies before the one that starts where it does.
    return std::pair(a.first->offset, a.first->bytes) < std::pair(b.first->offset, b.first->bytes);
  });
  for (size_t i = 1; i < sorted.size(); ++i)
    if (sorted[i].first->offset < sorted[i - 1].first->offset + sorted[i - 1].first->bytes)
      fail("{}: tensors '{}' and '{}' overlap; the file is damaged", path().string(), *sorted[i - 1].second,
           *sorted[i].second);
}

void GgufFile::add_parts() {
  const int64_t count = integer("split.count"), number = integer("split.no");
  const std::string file = path().string();
  if (count < 1 || count > UINT16_MAX || number < 0 || number >= count)
    fail("{}: split.no is {} and split.count {}; the file is damaged", file, number, count);
  const auto first = part_path(path(), 0, count);
  if (number != 0)
    fail("{}: it is part {} of {} of a model; give the first one{}", file, number + 1, count,
         first ? ", " + first->string() : std::string());
  if (!first || *first != path())
    fail(
        "{}: it is the first of {} parts of a model, and its name does not end with -00001-of-{:05}.gguf, so that the "
        "others can't be found",
        file, count, count);
  for (int64_t part = 1; part < count; ++part) {
    const std::filesystem::path next = *part_path(path(), part, count);
    std::error_code ignored;
    if (!std::filesystem::exists(next, ignored))
      fail("{}: it is the first of {} parts of a model, and part {} is missing: expected {}", file, count, part + 1,
           next.string());
    const auto opened = open_one(next);
    if (opened->integer("split.no") != part || opened->integer("split.count") != count)
      fail("{}: expected part {} of {}, found split.no {} (from 0) of split.count {}", next.string(), part + 1, count,
           opened->integer("split.no"), opened->integer("split.count"));
    files_.push_back(opened->files_.front());
    for (auto& [name, info] : opened->tensors_) {
      info.part = static_cast<size_t>(part);
      if (!tensors_.emplace(name, std::move(info)).second)
        fail("{}: tensor '{}' stands in an earlier part of the model too", next.string(), name);
    }
  }
  if (auto total = integer("split.tensors.count"); total != static_cast<int64_t>(tensors_.size()))
    fail("{}: split.tensors.count is {}, its {} parts hold {} tensors", file, total, count, tensors_.size());
}

template <class T>
const T& GgufFile::get(const std::string& key, std::string_view expected) const {
  auto found = metadata_.find(key);
  if (found == metadata_.end()) fail("{}: metadata '{}' is missing", path().string(), key);
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) fail("{}: metadata '{}' is of another type, expected {}", path().string(), key, expected);
  return *value;
}

int64_t GgufFile::integer(const std::string& key) const {
  return get<int64_t>(key, "a whole number");
}
bool GgufFile::boolean(const std::string& key) const {
  return get<bool>(key, "a boolean");
}
const std::string& GgufFile::text(const std::string& key) const {
  return get<std::string>(key, "a text");
}
const std::vector<std::string>& GgufFile::texts(const std::string& key) const {
  return get<std::vector<std::string>>(key, "a list of texts");
}
const std::vector<int64_t>& GgufFile::integers(const std::string& key) const {
  return get<std::vector<int64_t>>(key, "a list of whole numbers");
}
double GgufFile::number(const std::string& key) const {
  auto found = metadata_.find(key);
  if (found != metadata_.end() && std::holds_alternative<int64_t>(found->second))
    return static_cast<double>(std::get<int64_t>(found->second));
  return get<double>(key, "a number");
}

const GgufTensorInfo& GgufFile::tensor(const std::string& name) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end()) fail("{}: no tensor '{}'", path().string(), name);
  return found->second;
}

HostTensor GgufFile::read(const std::string& name) const {
  HostTensor out(DType::kF32, tensor(name).shape);
  read_elements(name, 0, out.size(), out.as_mutable<float>().data());
  return out;
}

std::span<const uint8_t> GgufFile::stored(const std::string& name) const {
  const GgufTensorInfo& info = tensor(name);
  return files_[info.part]->bytes().subspan(info.offset, info.bytes);
}

void GgufFile::release(const std::string& name) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end()) return;
  const GgufTensorInfo& info = found->second;
  files_[info.part]->release(info.offset, info.bytes);
}

void GgufFile::read_elements(const std::string& name, int64_t first, int64_t count, float* out) const {
  const GgufTensorInfo& info = tensor(name);
  const MappedFile& file = *files_[info.part];
  GgmlBlock block = *ggml_block(info.type);
  if (!block.readable)
    fail("{}: tensor '{}' has the storage type {}; supported are {}", file.path().string(), name, block.name,
         readable_ggml_types());
  int64_t size = num_elements(info.shape);
  if (first < 0 || count < 0 || first > size || count > size - first || first % block.elements != 0 ||
      count % block.elements != 0)
    fail("{}: tensor '{}' of {} elements in blocks of {}: {} elements from {} on can't be read", file.path().string(),
         name, size, block.elements, count, first);
  size_t skipped = static_cast<size_t>(first / block.elements) * block.bytes;
  dequantize(static_cast<GgmlType>(info.type), file.bytes().data() + info.offset + skipped, count, out);
}

}  // namespace gavel

#include "text/gguf_vocab.h"

#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/file.h"

namespace gavel {
namespace {

enum ValueType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

// Reads GGUF's header; every length is checked against what is left of the file.
class Reader {
 public:
  Reader(std::span<const uint8_t> bytes, std::string source) : bytes_(bytes), source_(std::move(source)) {}

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)), sizeof(T));
    return value;
  }
  std::string_view text() {
    auto size = number<uint64_t>();
    return {reinterpret_cast<const char*>(take(size)), static_cast<size_t>(size)};
  }
  size_t left() const { return bytes_.size() - at_; }
  const std::string& source() const { return source_; }

  int64_t integer(uint32_t type, std::string_view key) {
    switch (type) {
      case kUint8:
        return number<uint8_t>();
      case kInt8:
        return number<int8_t>();
      case kUint16:
        return number<uint16_t>();
      case kInt16:
        return number<int16_t>();
      case kUint32:
        return number<uint32_t>();
      case kInt32:
        return number<int32_t>();
      case kBool:
        return number<uint8_t>() != 0;
      case kUint64:
      case kInt64:
        return number<int64_t>();
      default:
        fail("{}: {}: expected a whole number, found value type {}", source_, key, type);
    }
  }
  std::string_view string(uint32_t type, std::string_view key) {
    if (type != kString) fail("{}: {}: expected a string, found value type {}", source_, key, type);
    return text();
  }
  // The number of elements of an array whose elements are of `type` and take `least` bytes at least.
  size_t array(uint32_t type, std::string_view key, bool want_strings) {
    if (type != kArray) fail("{}: {}: expected an array, found value type {}", source_, key, type);
    element_ = number<uint32_t>();
    if ((element_ == kString) != want_strings)
      fail("{}: {}: expected an array of {}, found element type {}", source_, key,
           want_strings ? "strings" : "whole numbers", element_);
    auto count = number<uint64_t>();
    size_t least = want_strings ? 8 : width(element_, key);
    if (count > left() / least)
      fail(
          "{}: {}: says it has {} elements, but only {} bytes of the file are left; the file is damaged or "
          "cut off",
          source_, key, count, left());
    return static_cast<size_t>(count);
  }
  uint32_t element() const { return element_; }

  void skip(uint32_t type, std::string_view key, int depth = 0) {
    if (type == kString) {
      text();
    } else if (type == kArray) {
      if (depth > 8) fail("{}: {}: arrays are nested too deeply", source_, key);
      auto inner = number<uint32_t>();
      auto count = number<uint64_t>();
      size_t least = inner == kString ? 8 : inner == kArray ? 12 : width(inner, key);
      if (count > left() / least)
        fail(
            "{}: {}: says it has {} elements, but only {} bytes of the file are left; the file is damaged or "
            "cut off",
            source_, key, count, left());
      if (inner == kString || inner == kArray) {
        for (uint64_t i = 0; i < count; ++i) skip(inner, key, depth + 1);
      } else {
        take(count * least);
      }
    } else {
      take(width(type, key));
    }
  }

 private:
  size_t width(uint32_t type, std::string_view key) const {
    switch (type) {
      case kUint8:
      case kInt8:
      case kBool:
        return 1;
      case kUint16:
      case kInt16:
        return 2;
      case kUint32:
      case kInt32:
      case kFloat32:
        return 4;
      case kUint64:
      case kInt64:
      case kFloat64:
        return 8;
      default:
        fail("{}: {}: value type {} is not one of GGUF's", source_, key, type);
    }
  }
  const uint8_t* take(uint64_t size) {
    if (size > left())
      fail(
          "{}: the header needs {} bytes at offset {}, but the file ends after {} more; it is damaged or cut "
          "off",
          source_, size, at_, left());
    const uint8_t* p = bytes_.data() + at_;
    at_ += static_cast<size_t>(size);
    return p;
  }

  std::span<const uint8_t> bytes_;
  std::string source_;
  size_t at_ = 0;
  uint32_t element_ = 0;
};

int32_t token_id(Reader& reader, uint32_t type, std::string_view key) {
  int64_t value = reader.integer(type, key);
  if (value < 0 || value > INT32_MAX) fail("{}: {}: {} is not a token id", reader.source(), key, value);
  return static_cast<int32_t>(value);
}

void read_strings(Reader& reader, uint32_t type, std::string_view key, std::vector<std::string>& out) {
  size_t count = reader.array(type, key, true);
  out.clear();
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) out.emplace_back(reader.text());
}

}  // namespace

GgufVocab read_gguf_vocab(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  Reader reader(file->bytes(), path.string());
  GgufVocab vocab;
  vocab.source = path.string();
  if (reader.left() < 24 || std::memcmp(file->bytes().data(), "GGUF", 4) != 0)
    fail("{}: not a GGUF file (it does not begin with the letters GGUF)", vocab.source);
  reader.number<uint32_t>();
  auto version = reader.number<uint32_t>();
  if (version != 2 && version != 3)
    fail("{}: GGUF version {} is not known; 2 and 3 are", vocab.source, version);
  reader.number<uint64_t>();  // tensors
  auto count = reader.number<uint64_t>();
  constexpr std::string_view kPrefix = "tokenizer.";
  for (uint64_t i = 0; i < count; ++i) {
    std::string_view key = reader.text();
    auto type = reader.number<uint32_t>();
    if (!key.starts_with(kPrefix)) {
      reader.skip(type, key);
      continue;
    }
    std::string_view name = key.substr(kPrefix.size());
    if (name == "ggml.model") {
      vocab.model = reader.string(type, key);
    } else if (name == "ggml.pre") {
      vocab.pre = reader.string(type, key);
    } else if (name == "ggml.tokens") {
      read_strings(reader, type, key, vocab.tokens);
    } else if (name == "ggml.merges") {
      read_strings(reader, type, key, vocab.merges);
    } else if (name == "ggml.token_type") {
      size_t size = reader.array(type, key, false);
      uint32_t element = reader.element();
      vocab.token_types.resize(size);
      for (auto& t : vocab.token_types) t = static_cast<int32_t>(reader.integer(element, key));
    } else if (name == "ggml.bos_token_id") {
      vocab.bos = token_id(reader, type, key);
    } else if (name == "ggml.eos_token_id") {
      vocab.eos = token_id(reader, type, key);
    } else if (name == "ggml.padding_token_id") {
      vocab.pad = token_id(reader, type, key);
    } else if (name == "ggml.unknown_token_id") {
      vocab.unk = token_id(reader, type, key);
    } else if (name == "ggml.add_bos_token") {
      vocab.add_bos = reader.integer(type, key) != 0;
    } else if (name == "ggml.add_eos_token") {
      vocab.add_eos = reader.integer(type, key) != 0;
    } else if (name == "chat_template" && type == kString) {
      vocab.chat_template = reader.text();
    } else {
      reader.skip(type, key);
    }
  }
  if (vocab.tokens.empty())
    fail("{}: tokenizer.ggml.tokens is missing; the file holds no tokenizer", vocab.source);
  return vocab;
}

}  // namespace gavel

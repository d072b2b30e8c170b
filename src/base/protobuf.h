#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

// The encoding of protocol buffers, written and read by hand: the program's few messages are not worth their compiler.
namespace gavel::protobuf {

/** How a field is encoded. */
inline constexpr uint32_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

inline void put_varint(std::string& to, uint64_t value) {
  for (; value >= 0x80; value >>= 7) to += static_cast<char>(value | 0x80);
  to += static_cast<char>(value);
}

/** A number as it lies in memory. */
template <class T>
void put_raw(std::string& to, T value) {
  static_assert(std::endian::native == std::endian::little);
  to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

inline void put_key(std::string& to, uint32_t field, uint32_t type) {
  put_varint(to, field << 3 | type);
}

/** A text, bytes, or a message in this one. */
inline void put_bytes(std::string& to, uint32_t field, std::string_view bytes) {
  put_key(to, field, kBytes);
  put_varint(to, bytes.size());
  to += bytes;
}

/** int64 or uint64. */
template <class T>
void put_integer(std::string& to, uint32_t field, T value) {
  put_key(to, field, kVarint);
  put_varint(to, static_cast<uint64_t>(value));
}

template <class T>
T get_raw(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/** Walks over the fields of a message; next() is false at its end, or where it is broken (see whole()). */
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}
  bool next() {
    if (rest_.empty()) return false;
    const std::string_view before = rest_;
    uint64_t key = 0;
    whole_ = varint(key);
    field = static_cast<uint32_t>(key >> 3);
    type = static_cast<uint32_t>(key & 7);
    switch (type) {
      case kVarint:
        whole_ = whole_ && varint(number);
        break;
      case kFixed64:
        whole_ = whole_ && take(8);
        break;
      case kFixed32:
        whole_ = whole_ && take(4);
        break;
      case kBytes: {
        uint64_t size = 0;
        whole_ = whole_ && varint(size) && take(size);
        break;
      }
      default:
        whole_ = false;
    }
    encoded = before.substr(0, before.size() - rest_.size());
    return whole_;
  }
  bool whole() const { return whole_; }

  uint32_t field = 0, type = 0;
  uint64_t number = 0;       // of a varint
  std::string_view bytes;    // of the other kinds
  std::string_view encoded;  // the field as it stands, its key included

 private:
  bool varint(uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return false;
      auto byte = static_cast<uint8_t>(rest_[0]);
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool take(uint64_t size) {
    if (size > rest_.size()) return false;
    bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
  bool whole_ = true;
};

}  // namespace gavel::protobuf

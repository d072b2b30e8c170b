#include "data/shared_rows.h"

#include "base/error.h"

namespace gavel {

namespace {

void put(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put(std::string& out, const std::vector<int32_t>& ids) {
  put(out, ids.size());
  for (int32_t id : ids) put(out, static_cast<uint32_t>(id));
}

[[noreturn]] void refuse() {
  fail("rows from another process: their bytes are damaged");
}

uint64_t take(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    auto byte = static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  refuse();
}

void take(std::string_view& bytes, std::vector<int32_t>& ids) {
  uint64_t count = take(bytes);
  if (count > bytes.size()) refuse();
  ids.resize(count);
  for (int32_t& id : ids) id = static_cast<int32_t>(take(bytes));
}

}  // namespace

std::string pack_rows(std::span<const EncodedRow> rows) {
  std::string out;
  for (const EncodedRow& row : rows) {
    put(out, static_cast<uint64_t>(row.text.full_length));
    put(out, row.text.ids);
    put(out, row.swapped.ids);
  }
  return out;
}

void unpack_rows(std::string_view bytes, std::span<EncodedRow> rows) {
  for (EncodedRow& row : rows) {
    row.text.full_length = static_cast<int64_t>(take(bytes));
    take(bytes, row.text.ids);
    take(bytes, row.swapped.ids);
  }
  if (!bytes.empty()) refuse();
}

}  // namespace gavel

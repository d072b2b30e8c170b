#include "pieces/unicode.h"

#include <algorithm>
#include <map>

namespace gavel {

UnicodeTable::UnicodeTable() {
  std::vector<uint8_t> flat(0x110000);
  for (CharClass kind : {kLetterClass, kNumberClass, kSpaceClass, kNumericClass, kWordClass})
    for (CodeRange range : unicode_ranges(kind))
      for (uint32_t c = range.first; c <= range.last; ++c) flat[c] |= kind;
  std::copy_n(flat.begin(), ascii_.size(), ascii_.begin());
  std::map<std::string_view, uint16_t> known;
  for (size_t block = 0; block < index_.size(); ++block) {
    std::string_view bytes(reinterpret_cast<const char*>(flat.data()) + block * 128, 128);
    auto [it, fresh] = known.try_emplace(bytes, static_cast<uint16_t>(known.size()));
    if (fresh) blocks_.insert(blocks_.end(), bytes.begin(), bytes.end());
    index_[block] = it->second;
  }
}

const UnicodeTable& UnicodeTable::get() {
  static const UnicodeTable table;
  return table;
}

}  // namespace gavel

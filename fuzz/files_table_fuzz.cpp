// Files of rows by their bytes: any give a table's text or an Error, packed or not, and what was unpacked is not larger than
// the bound says.
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "files/open_table.h"
#include "input_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  const auto path = folder.write("fuzz.csv", {reinterpret_cast<const char*>(data), size});
  try {
    const gavel::TableFile table = gavel::open_table(path);
    constexpr size_t kInAnyCase = size_t{66} << 20;
    if (table.file->bytes().size() > kInAnyCase && table.file->bytes().size() / 201 > size) std::abort();
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  auto bytes = [](const char* text, size_t size) { return std::string(text, size); };
  // The same two lines by gzip, zstd and xz.
  return {
      bytes("\037\213\010\000\000\000\000\000\000\003\313\114\321\051\050\312\317\055\050\341\062\324\211\216\345\002"
            "\000\267\074\216\274\017\000\000\000",
            35),  // gz
      bytes("\050\265\057\375\004\130\171\000\000\151\144\054\160\162\157\155\160\164\012\061\054\133\135\012\035\111"
            "\021\134",
            28),  // zst
      bytes("\375\067\172\130\132\000\000\004\346\326\264\106\002\000\041\001\026\000\000\000\164\057\345\243\001\000"
            "\016\151\144\054\160\162\157\155\160\164\012\061\054\133\135\012\000\000\056\117\024\056\123\017\366\072"
            "\000\001\047\017\337\032\374\152\037\266\363\175\001\000\000\000\000\004\131\132",
            72),  // xz
      bytes("\x5A\x2A\x4D\x18\x03\0\0\0xyz\x28\xB5\x2F\xFD\0\x88\x09\0\0x", 21),
      "id,prompt\n1,[]\n",
      "[{\"a\": 1}]",
      "PAR1",
      "PK\x03\x04",
      "BZh9\x31\x41\x59\x26\x53\x59",
  };
}

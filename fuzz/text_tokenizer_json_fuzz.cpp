// A tokenizer.json of any bytes is an error or a tokenizer that encodes, and decodes what it encoded.
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "fuzz_target.h"
#include "text/tokenizer.h"
#include "text_sample.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view json(reinterpret_cast<const char*>(data), size);
  try {
    gavel::Tokenizer tokenizer = gavel::Tokenizer::from_json(json, "fuzz");
    std::vector<int32_t> ids;
    tokenizer.encode("It's 12345 words,  \r\n\t a\xc3\xa9\xe4\xb8\x96 <|end|><l> \xff", ids);
    tokenizer.encode(json.substr(0, 2000), ids);
    tokenizer.decode(ids);
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {gavel::sample_tokenizer_json(true), gavel::sample_tokenizer_json(false)};
}

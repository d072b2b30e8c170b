// Any bytes as text: the hand-made scanners and PCRE2 give the same ids, from a warm and a cold cache, and
// decoding gives the text again (as valid UTF-8), the vocabularies used here having all bytes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz_target.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text_sample.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::Tokenizer tokenizers[] = {
      gavel::Tokenizer::from_json(gavel::sample_tokenizer_json(true), "fuzz"),
      gavel::Tokenizer::from_json(gavel::sample_tokenizer_json(false), "fuzz")};
  static const gavel::Tokenizer by_regex[] = {tokenizers[0].with_regex_only(), tokenizers[1].with_regex_only()};
  if (size > 1 << 16) return 0;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::string valid;
  gavel::append_lossy(valid, text);
  for (int i = 0; i < 2; ++i) {
    std::vector<int32_t> first, again, regex;
    tokenizers[i].encode(text, first);
    tokenizers[i].encode(text, again);
    by_regex[i].encode(text, regex);
    if (first != again || first != regex || tokenizers[i].decode(first) != valid) std::abort();
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {"It's the 12345th word,  aaaa \r\n\n\t x",
          "<|x|> <|x <|x|>|>",
          "caf\xc3\xa9 \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x98\x80 '\xc5\xbf",
          std::string(300, 'a'),
          std::string(300, ' '),
          "\xff\xe2\x82 \xed\xa0\x80 \xc2\x85\xe3\x80\x80"};
}

// Any bytes as text: the hand-made scanners and PCRE2 give the same ids, from a warm and a cold cache, and
// decoding gives the text again (as valid UTF-8), the vocabularies used here having all bytes. So do the short way of
// SentencePiece's kinds and the one of all normalizers and pre-tokenizers.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz_target.h"
#include "pieces/space_mark.h"
#include "pieces/unicode.h"
#include "text/tokenizer.h"
#include "text_sample.h"

namespace {

std::string with_spaces(std::string_view text) {
  std::string out;
  gavel::append_marked(out, text);
  return out;
}

void check_sentencepiece(std::string_view text, std::string_view valid) {
  using gavel::sample_sentencepiece_json;
  auto make = [](std::string_view normalizer, std::string_view pre_tokenizer, bool ignore_merges) {
    return gavel::Tokenizer::from_json(sample_sentencepiece_json(normalizer, pre_tokenizer, ignore_merges), "fuzz");
  };
  static const gavel::Tokenizer tokenizers[] = {
      make(gavel::kMarkSpaces, "null", false), make(gavel::kPrependAndMark, "null", true),
      make("null", gavel::kMetaspaceFirst, true), make("null", gavel::kMetaspaceSplit, true),
      make(gavel::kNfkc, gavel::kMetaspaceSplit, false)};
  static const gavel::Tokenizer other_way[] = {tokenizers[0].with_regex_only(), tokenizers[1].with_regex_only(),
                                               tokenizers[2].with_regex_only(), tokenizers[3].with_regex_only(),
                                               tokenizers[4].with_regex_only()};
  for (size_t i = 0; i < std::size(tokenizers); ++i) {
    std::vector<int32_t> first, again, other;
    tokenizers[i].encode(text, first);
    tokenizers[i].encode(text, again);
    other_way[i].encode(text, other);
    if (first != again || first != other) std::abort();
    std::string decoded = tokenizers[i].decode(first);
    if (i == 0 && decoded != with_spaces(valid)) std::abort();
  }
}

}  // namespace

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
  check_sentencepiece(text, valid);
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {"It's the 12345th word,  aaaa \r\n\n\t x",
          "<|x|> <|x <|x|>|>",
          "caf\xc3\xa9 \xe4\xb8\x96\xe7\x95\x8c \xf0\x9f\x98\x80 '\xc5\xbf",
          std::string(300, 'a'),
          std::string(300, ' '),
          " th> <  \xe2\x96\x81\xe2\x96\x81  th[1] e\xcc\x81 \xef\xac\x81\xe1\x84\x80\xe1\x85\xa1 <0x41>",
          "\xff\xe2\x82 \xed\xa0\x80 \xc2\x85\xe3\x80\x80"};
}

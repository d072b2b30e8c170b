// Any bytes as text: the hand-made scanners and PCRE2 give the same ids, from a warm and a cold cache, and
// decoding gives the text again (as valid UTF-8), the vocabularies used here having all bytes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "text/bpe.h"
#include "text/pretokenizer.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

namespace {

// A tokenizer.json with all bytes, some merges, and added tokens of every kind.
gavel::Tokenizer make(bool llama3) {
  const auto& alphabet = gavel::ByteAlphabet::get();
  std::string vocab, merges;
  int id = 0;
  auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (char c : text) out += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    return out + "\"";
  };
  for (const std::string& c : alphabet.text)
    vocab += (id ? "," : "") + quoted(c) + ":" + std::to_string(id++);
  auto merge = [&](const std::string& left, const std::string& right) {
    merges += (merges.empty() ? "" : ",") + ("[" + quoted(left)) + "," + quoted(right) + "]";
    vocab += "," + quoted(left + right) + ":" + std::to_string(id++);
  };
  merge("a", "a");
  merge("aa", "a");
  merge("Ġ", "Ġ");
  merge("ĠĠ", "ĠĠ");
  merge("Ã", "©");
  merge("Ġ", "t");
  merge("Ġt", "h");
  merge("1", "2");
  std::string pre = R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":true})";
  if (llama3) {
    std::string pattern;
    for (const char* p = gavel::PreTokenizer::kLlama3Pattern; *p; ++p)
      pattern += *p == '\\' ? "\\\\" : std::string(1, *p);
    pre =
        R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":")" + pattern +
        R"("},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})";
  } else {
    pre = R"({"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},)" + pre + "]}";
  }
  std::string json =
      R"({"version":"1.0","added_tokens":[{"id":)" + std::to_string(id) +
      R"(,"content":"<|x|>","special":true}],"normalizer":null,"pre_tokenizer":)" + pre +
      R"(,"decoder":{"type":"ByteLevel"},"post_processor":null,"model":{"type":"BPE","ignore_merges":)" +
      (llama3 ? "true" : "false") + R"(,"vocab":{)" + vocab + R"(},"merges":[)" + merges + "]}}";
  return gavel::Tokenizer::from_json(json, "fuzz");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::Tokenizer tokenizers[] = {make(true), make(false)};
  static const gavel::Tokenizer by_regex[] = {tokenizers[0].with_regex_only(),
                                              tokenizers[1].with_regex_only()};
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

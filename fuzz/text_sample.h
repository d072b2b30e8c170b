#pragma once
#include <string>

#include "text/bpe.h"
#include "text/pretokenizer.h"

namespace gavel {

// A tokenizer.json with all bytes, some merges, and added tokens of every kind.
inline std::string sample_tokenizer_json(bool llama3) {
  const auto& alphabet = ByteAlphabet::get();
  std::string vocab, merges;
  int id = 0;
  auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (char c : text) out += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
    return out + "\"";
  };
  for (const std::string& c : alphabet.text) {
    vocab += (id == 0 ? "" : ",") + quoted(c) + ":" + std::to_string(id);
    ++id;
  }
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
    for (const char* p = PreTokenizer::kLlama3Pattern; *p; ++p)
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
  return json;
}

}  // namespace gavel

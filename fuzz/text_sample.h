#pragma once
#include <fmt/format.h>

#include <string>

#include "pieces/pretokenizer.h"
#include "text/bpe.h"

namespace gavel {

inline std::string json_quoted(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return fmt::format("\"{}\"", out);
}

/** The members of a tokenizer.json's "vocab" and "merges". */
struct SampleVocabulary {
  std::string vocab, merges;
  int id = 0;  // of the next token

  void add(std::string_view token) {
    vocab += fmt::format("{}{}:{}", id == 0 ? "" : ",", json_quoted(token), id);
    ++id;
  }
  void merge(const std::string& left, const std::string& right) {
    merges += fmt::format("{}[{},{}]", merges.empty() ? "" : ",", json_quoted(left), json_quoted(right));
    add(fmt::format("{}{}", left, right));
  }
};

/** A tokenizer.json with all bytes, some merges and an added token: Llama-3's kind, or SmolLM2's. */
inline std::string sample_tokenizer_json(bool llama3) {
  SampleVocabulary sample;
  auto add = [&](std::string_view token) { sample.add(token); };
  auto merge = [&](const std::string& left, const std::string& right) { sample.merge(left, right); };
  for (const std::string& c : ByteAlphabet::get().text) add(c);
  merge("a", "a");
  merge("aa", "a");
  merge("Ġ", "Ġ");
  merge("ĠĠ", "ĠĠ");
  merge("Ã", "©");
  merge("Ġ", "t");
  merge("Ġt", "h");
  merge("1", "2");
  std::string first = R"({"type":"Digits","individual_digits":true})";
  if (llama3)
    first = fmt::format(R"({{"type":"Split","pattern":{{"Regex":{}}},"behavior":"Isolated","invert":false}})",
                        json_quoted(PreTokenizer::kLlama3Pattern));
  return fmt::format(
      R"({{"version":"1.0","added_tokens":[{{"id":{},"content":"<|x|>","special":true}}],"normalizer":null,)"
      R"("pre_tokenizer":{{"type":"Sequence","pretokenizers":[{},{{"type":"ByteLevel","add_prefix_space":false,)"
      R"("use_regex":{}}}]}},"decoder":{{"type":"ByteLevel"}},"post_processor":null,"model":{{"type":"BPE",)"
      R"("ignore_merges":{},"vocab":{{{}}},"merges":[{}]}}}})",
      sample.id, first, !llama3, llama3, sample.vocab, sample.merges);
}

/** A tokenizer.json of the SentencePiece kind: all bytes as tokens, some characters and merges, and these parts. */
inline std::string sample_sentencepiece_json(std::string_view normalizer, std::string_view pre_tokenizer,
                                             bool ignore_merges) {
  SampleVocabulary sample;
  auto add = [&](std::string_view token) { sample.add(token); };
  auto merge = [&](const std::string& left, const std::string& right) { sample.merge(left, right); };
  add("<unk>");
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte));
  for (const char* c : {"▁", "a", "b", "é", "世", "<", ">", "1", "t", "h", "-"}) add(c);
  merge("▁", "▁");
  merge("▁▁", "▁▁");
  merge("a", "a");
  merge("aa", "a");
  merge("▁", "t");
  merge("▁t", "h");
  merge("é", "世");
  merge(">", "▁");
  merge(">▁", "<");
  return fmt::format(
      R"({{"version":"1.0","added_tokens":[{{"id":0,"content":"<unk>","special":true}},{{"id":{},"content":"<|x|>",)"
      R"("special":true}}],"normalizer":{},"pre_tokenizer":{},"post_processor":null,"decoder":{{"type":"Sequence",)"
      R"("decoders":[{{"type":"Replace","pattern":{{"String":"▁"}},"content":" "}},{{"type":"ByteFallback"}},)"
      R"({{"type":"Fuse"}}]}},"model":{{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,)"
      R"("ignore_merges":{},"vocab":{{{}}},"merges":[{}]}}}})",
      sample.id, normalizer, pre_tokenizer, ignore_merges, sample.vocab, sample.merges);
}

inline constexpr std::string_view kMarkSpaces = R"({"type":"Replace","pattern":{"String":" "},"content":"▁"})";
inline constexpr std::string_view kPrependAndMark =
    R"({"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},)"
    R"({"type":"Replace","pattern":{"String":" "},"content":"▁"}]})";
inline constexpr std::string_view kMetaspaceFirst =
    R"({"type":"Sequence","pretokenizers":[{"type":"Metaspace","replacement":"▁","prepend_scheme":"first",)"
    R"("split":false},{"type":"Split","pattern":{"Regex":"\\[1\\]|th"},"behavior":"Isolated","invert":false}]})";
inline constexpr std::string_view kMetaspaceSplit =
    R"({"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true})";
inline constexpr std::string_view kNfkc = R"({"type":"Sequence","normalizers":[{"type":"NFC"},{"type":"NFKC"}]})";

}  // namespace gavel

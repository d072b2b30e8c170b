#pragma once
#include <fmt/format.h>

#include <string>

namespace gavel {

/** A byte-level tokenizer for the 48 ids of the golden model: letters share ids, which is enough to train on. */
inline std::string tiny_tokenizer() {
  // Byte-level BPE maps printable ASCII to itself and a space to U+0120.
  std::string vocab;
  int id = 3;
  auto add = [&](const std::string& token) { vocab += fmt::format(",\"{}\":{}", token, id < 47 ? id++ : 47); };
  for (char c = 'a'; c <= 'z'; ++c) add(std::string(1, c));
  for (const char* token : {"\u0120", "\u010a", ".", ":", "-", "U", "M", "A", "B"}) add(token);
  return R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[{"id":2,"content":"<pad>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true},"model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"ignore_merges":false,"vocab":{"<x>":0,"<y>":1,"<pad>":2)" +
         vocab + R"(},"merges":[]}})";
}

}  // namespace gavel

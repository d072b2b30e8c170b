// A GGUF vocabulary of any parts is an error or a tokenizer. Input: a GGUF file; or, when it does not begin
// with GGUF, lines, which reach further: the first names the pre-tokenizer, or, behind "llama ", the architecture of a
// SentencePiece vocabulary; then come tokens up to an empty line, then merges.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "fuzz_target.h"
#include "input_file.h"
#include "io/sample_files.h"
#include "text/tokenizer.h"

namespace {

gavel::GgufVocab vocab_of_lines(std::string_view text) {
  gavel::GgufVocab vocab;
  vocab.source = "fuzz";
  vocab.model = "gpt2";
  vocab.bos = static_cast<int32_t>(text.size() % 7);
  vocab.add_bos = true;
  auto line = [&] {
    size_t end = text.find('\n');
    std::string_view out = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    return std::string(out);
  };
  vocab.pre = line();
  if (vocab.pre.starts_with("llama ")) {
    vocab.model = "llama";
    vocab.architecture = vocab.pre.substr(6);
    if (text.size() % 3 > 0) vocab.add_space_prefix = text.size() % 3 == 1;
  }
  while (!text.empty()) {
    std::string token = line();
    if (token.empty()) break;
    vocab.token_types.push_back(static_cast<int32_t>(token.size() % 5 + 1));
    vocab.scores.push_back(static_cast<double>(token.size() % 3) - static_cast<double>(vocab.tokens.size() % 4));
    vocab.tokens.push_back(std::move(token));
  }
  while (!text.empty()) vocab.merges.push_back(line());
  return vocab;
}

void add_texts(gavel::GgufWriter& file, const std::string& key, const std::vector<std::string>& values) {
  std::string list = gavel::raw(uint32_t{8}) + gavel::raw(uint64_t{values.size()});
  for (const std::string& value : values) list += gavel::GgufWriter::text(value);
  file.add(key, 9, list);
}

std::string sample_file(const std::string& pre) {
  gavel::GgufWriter file;
  const std::vector<std::string> tokens = {"a", "b", "ab", "c", "abc", "Ġ", "<|x|>"};
  file.add_text("tokenizer.ggml.model", "gpt2");
  file.add_text("tokenizer.ggml.pre", pre);
  add_texts(file, "tokenizer.ggml.tokens", tokens);
  add_texts(file, "tokenizer.ggml.merges", {"a b", "ab c"});
  std::string types = gavel::raw(uint32_t{5}) + gavel::raw(uint64_t{tokens.size()});
  for (const std::string& token : tokens) types += gavel::raw(int32_t{token.starts_with("<|") ? 3 : 1});
  file.add("tokenizer.ggml.token_type", 9, types);
  file.add_integer("tokenizer.ggml.bos_token_id", 6);
  file.add_integer("tokenizer.ggml.eos_token_id", 6);
  file.add_integer("tokenizer.ggml.padding_token_id", 6);
  file.add("tokenizer.ggml.add_bos_token", 7, std::string(1, '\1'));
  file.add("tokenizer.ggml.add_eos_token", 7, std::string(1, '\0'));
  file.add_text("tokenizer.chat_template", "{{ x }}");
  return file.bytes();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const gavel::InputFolder folder;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    gavel::Tokenizer tokenizer = text.starts_with("GGUF") ? gavel::Tokenizer::load(folder.write("input.gguf", text))
                                                          : gavel::Tokenizer::from_gguf(vocab_of_lines(text));
    std::vector<int32_t> ids, same;
    tokenizer.encode(text, ids);
    tokenizer.decode(ids);
    gavel::Tokenizer again = gavel::Tokenizer::from_json(tokenizer.to_json(), "saved");
    again.encode(text, same);
    if (ids != same) __builtin_trap();
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  std::string sentencepiece =
      "\n<unk>\n\xe2\x96\x81\na\nb\nab\n\xe2\x96\x81"
      "a\n\xe2\x96\x81\xe2\x96\x81\n  \n<0x41>\n<|x|>\n\n";
  return {"llama llama" + sentencepiece,
          "llama gemma3" + sentencepiece,
          "llama phi3" + sentencepiece + "a b\n",
          "qwen2\nx\ny\nxy\n\nx y\n",
          "tekken\nx\ny\n\n",
          "deepseek-llm\nx\ny\n\n",
          "smollm\na\nb\nab\nc\nabc\n<|x|>\n\na b\nab c\n",
          "llama-bpe\nx\ny\nxy\n\nx y\n",
          "gpt-2\n1\n2\n12\n\n1 2\n",
          sample_file("llama-bpe"),
          sample_file("smollm")};
}

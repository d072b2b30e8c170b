// A GGUF vocabulary of any parts is an error or a tokenizer. Input: lines; the first names the pre-tokenizer,
// then tokens up to an empty line, then merges.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "fuzz_target.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto line = [&] {
    size_t end = text.find('\n');
    std::string_view out = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    return std::string(out);
  };
  gavel::GgufVocab vocab;
  vocab.source = "fuzz";
  vocab.model = "gpt2";
  vocab.pre = line();
  while (!text.empty()) {
    std::string token = line();
    if (token.empty()) break;
    vocab.token_types.push_back(token.size() % 5 + 1);
    vocab.tokens.push_back(std::move(token));
  }
  while (!text.empty()) vocab.merges.push_back(line());
  vocab.bos = static_cast<int32_t>(size % 7);
  vocab.add_bos = true;
  try {
    gavel::Tokenizer tokenizer = gavel::Tokenizer::from_gguf(vocab);
    std::vector<int32_t> ids;
    tokenizer.encode(std::string_view(reinterpret_cast<const char*>(data), size), ids);
    tokenizer.decode(ids);
    gavel::Tokenizer again = gavel::Tokenizer::from_json(tokenizer.to_json(), "saved");
    std::vector<int32_t> same;
    again.encode(std::string_view(reinterpret_cast<const char*>(data), size), same);
    if (ids != same) __builtin_trap();
  } catch (const gavel::Error&) {
  }
  return 0;
}

std::vector<std::string> fuzz_seeds() {
  return {"smollm\na\nb\nab\nc\nabc\n<|x|>\n\na b\nab c\n", "llama-bpe\nx\ny\nxy\n\nx y\n",
          "gpt-2\n1\n2\n12\n\n1 2\n"};
}

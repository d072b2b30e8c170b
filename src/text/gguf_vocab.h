#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace gavel {

/** The tokenizer in a GGUF file's metadata (keys tokenizer.ggml.*). */
struct GgufVocab {
  std::string source;        // the file, for errors
  std::string model;         // "gpt2" is byte-level BPE, "llama" is SentencePiece
  std::string architecture;  // general.architecture, which tells Gemma's and Phi-3's vocabularies from Llama's
  std::string pre;           // which pre-tokenizer: "smollm", "llama-bpe", "gpt-2", ...
  std::vector<std::string> tokens;
  std::vector<int32_t> token_types;  // 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
  std::vector<std::string> merges;   // "left right"
  std::vector<double> scores;        // of "llama": the higher one is merged first
  std::optional<bool> add_space_prefix;
  std::optional<int32_t> bos, eos, pad, unk;
  std::optional<bool> add_bos, add_eos;
  std::string chat_template;
};

/** Reads a GGUF file's tokenizer. Throws Error naming the file and the key. */
GgufVocab read_gguf_vocab(const std::filesystem::path& path);

}  // namespace gavel

#include "text/gguf_vocab.h"

#include "base/error.h"
#include "io/gguf.h"

namespace gavel {

GgufVocab read_gguf_vocab(const std::filesystem::path& path) {
  auto file = GgufFile::open(path);
  GgufVocab vocab;
  vocab.source = path.string();
  auto text = [&](const char* key) { return file->has(key) ? file->text(key) : std::string(); };
  auto id = [&](const std::string& key) -> std::optional<int32_t> {
    if (!file->has(key)) return std::nullopt;
    int64_t value = file->integer(key);
    if (value < 0 || value > INT32_MAX) fail("{}: {}: {} is not a token id", vocab.source, key, value);
    return static_cast<int32_t>(value);
  };
  auto flag = [&](const char* key) { return file->has(key) ? std::optional<bool>(file->boolean(key)) : std::nullopt; };
  if (!file->has("tokenizer.ggml.tokens"))
    fail("{}: tokenizer.ggml.tokens is missing; the file holds no tokenizer", vocab.source);
  vocab.tokens = file->texts("tokenizer.ggml.tokens");
  vocab.model = text("tokenizer.ggml.model");
  vocab.pre = text("tokenizer.ggml.pre");
  vocab.architecture = text("general.architecture");
  if (file->has("tokenizer.ggml.merges")) vocab.merges = file->texts("tokenizer.ggml.merges");
  if (file->has("tokenizer.ggml.token_type"))
    for (int64_t type : file->integers("tokenizer.ggml.token_type"))
      vocab.token_types.push_back(static_cast<int32_t>(type));
  if (auto found = file->metadata().find("tokenizer.ggml.scores"); found != file->metadata().end()) {
    const auto* scores = std::get_if<std::vector<double>>(&found->second);
    if (!scores) fail("{}: tokenizer.ggml.scores: expected a list of numbers", vocab.source);
    vocab.scores = *scores;
  }
  vocab.add_space_prefix = flag("tokenizer.ggml.add_space_prefix");
  vocab.bos = id("tokenizer.ggml.bos_token_id");
  vocab.eos = id("tokenizer.ggml.eos_token_id");
  vocab.pad = id("tokenizer.ggml.padding_token_id");
  vocab.unk = id("tokenizer.ggml.unknown_token_id");
  vocab.add_bos = flag("tokenizer.ggml.add_bos_token");
  vocab.add_eos = flag("tokenizer.ggml.add_eos_token");
  vocab.chat_template = text("tokenizer.chat_template");
  return vocab;
}

}  // namespace gavel

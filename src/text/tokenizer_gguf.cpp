#include <spdlog/spdlog.h>

#include <array>

#include "base/error.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

namespace gavel {
namespace {

using Stage = PreTokenizer::Stage;

enum GgufTokenType : int32_t { kUnknownToken = 2, kControlToken = 3, kUserToken = 4 };

struct Family {
  std::vector<Stage> stages;
  bool ignore_merges = false;
  bool add_bos = false;  // when the file does not say
};

// What tokenizer.ggml.pre names, as the tokenizer.json of the models that carry it has it.
Family family_of(const GgufVocab& vocab) {
  Stage level;
  if (vocab.pre == "gpt-2" || vocab.pre == "gpt2" || vocab.pre == "phi-2") return {{level}};
  for (const char* name : {"smollm", "starcoder", "refact", "command-r", "codeshell"}) {
    if (vocab.pre != name) continue;
    Stage digits;
    digits.type = Stage::Type::kDigits;
    digits.individual = true;
    return {{digits, level}};
  }
  for (const char* name : {"llama-bpe", "llama3", "llama-v3"}) {
    if (vocab.pre != name) continue;
    Stage split;
    split.type = Stage::Type::kSplit;
    split.pattern = PreTokenizer::kLlama3Pattern;
    level.use_regex = false;
    return {{split, level}, true, true};
  }
  fail(
      "{}: tokenizer.ggml.pre: \"{}\" is not known; gpt-2, smollm, starcoder and llama-bpe are. Give the "
      "model's "
      "tokenizer.json instead",
      vocab.source, vocab.pre);
}

}  // namespace

Tokenizer TokenizerBuilder::from_gguf(const GgufVocab& vocab) {
  if (vocab.model != "gpt2")
    fail("{}: tokenizer.ggml.model: \"{}\" is not known; \"gpt2\" (byte-level BPE) is", vocab.source, vocab.model);
  size_t count = vocab.tokens.size();
  if (count >= BpeModel::kMaxIds) fail("{}: tokenizer.ggml.tokens: {} tokens are too many", vocab.source, count);
  if (!vocab.token_types.empty() && vocab.token_types.size() != count)
    fail("{}: tokenizer.ggml.token_type has {} entries for {} tokens", vocab.source, vocab.token_types.size(), count);
  Family family = family_of(vocab);
  auto impl = std::make_shared<Tokenizer::Impl>();
  impl->source = vocab.source;
  impl->pre = PreTokenizer(std::move(family.stages), vocab.source);
  impl->model.reserve(count, vocab.merges.size());
  std::vector<AddedToken> added;
  for (size_t i = 0; i < count; ++i) {
    const std::string& token = vocab.tokens[i];
    if (!is_valid_utf8(token)) fail("{}: tokenizer.ggml.tokens[{}] is not UTF-8", vocab.source, i);
    impl->model.add_token(token, static_cast<uint32_t>(i));
    int32_t type = vocab.token_types.empty() ? 1 : vocab.token_types[i];
    if (type != kUnknownToken && type != kControlToken && type != kUserToken) continue;
    added.push_back({.id = static_cast<int32_t>(i), .content = token, .special = type != kUserToken});
  }
  for (size_t i = 0; i < vocab.merges.size(); ++i) {
    std::string_view merge = vocab.merges[i];
    size_t space = merge.find(' ');
    if (!is_valid_utf8(merge) || space == std::string_view::npos || space + 1 >= merge.size())
      fail("{}: tokenizer.ggml.merges[{}]: expected two tokens with a space between them", vocab.source, i);
    impl->model.add_merge(merge.substr(0, space), merge.substr(space + 1), i);
  }
  impl->model.finish(family.ignore_merges, std::nullopt, false);
  if (auto& missing = impl->model.missing_merge())
    fail("{}: tokenizer.ggml.merges[{}]: the token \"{}\" is not in tokenizer.ggml.tokens", vocab.source, missing->row,
         missing->token);
  add_tokens(*impl, std::move(added));
  auto check = [&](std::optional<int32_t> id, const char* key) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= count))
      fail("{}: {}: the id {} is not below the {} tokens", vocab.source, key, *id, count);
    return id;
  };
  Tokenizer out;
  out.bos_ = check(vocab.bos, "tokenizer.ggml.bos_token_id");
  out.eos_ = check(vocab.eos, "tokenizer.ggml.eos_token_id");
  out.pad_ = check(vocab.pad, "tokenizer.ggml.padding_token_id");
  if (vocab.add_bos.value_or(family.add_bos) && out.bos_) out.prefix_.push_back(*out.bos_);
  if (vocab.add_eos.value_or(false) && out.eos_) out.suffix_.push_back(*out.eos_);
  impl->gguf = vocab;
  impl->chat_template = vocab.chat_template;
  impl->gguf.tokens = {};
  impl->gguf.token_types = {};
  out.impl_ = impl;
  return out;
}

Tokenizer Tokenizer::from_gguf(const GgufVocab& vocab) {
  return TokenizerBuilder::from_gguf(vocab);
}

}  // namespace gavel

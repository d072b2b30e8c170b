#include <algorithm>

#include "base/error.h"
#include "pieces/unicode.h"
#include "text/gguf_kind.h"
#include "text/tokenizer_impl.h"

namespace gavel {
namespace {

enum GgufTokenType : int32_t { kUnknownToken = 2, kControlToken = 3, kUserToken = 4 };

void add_given_merges(const GgufVocab& vocab, BpeModel& model) {
  for (size_t i = 0; i < vocab.merges.size(); ++i) {
    std::string_view merge = vocab.merges[i];
    size_t space = merge.find(' ');
    if (!is_valid_utf8(merge) || space == std::string_view::npos || space + 1 >= merge.size())
      fail("{}: tokenizer.ggml.merges[{}]: expected two tokens with a space between them", vocab.source, i);
    model.add_merge(merge.substr(0, space), merge.substr(space + 1), i);
  }
}

// bos, eos, unk and pad are special whatever type they have.
void add_named(const GgufVocab& vocab, std::vector<AddedToken>& added) {
  for (std::optional<int32_t> id : {vocab.bos, vocab.eos, vocab.unk, vocab.pad}) {
    if (!id || static_cast<size_t>(*id) >= vocab.tokens.size()) continue;
    auto found = std::find_if(added.begin(), added.end(), [&](const AddedToken& token) { return token.id == *id; });
    if (found == added.end())
      added.push_back({.id = *id, .content = vocab.tokens[static_cast<size_t>(*id)], .special = true});
  }
}

}  // namespace

Tokenizer TokenizerBuilder::from_gguf(const GgufVocab& given) {
  GgufKind kind = gguf_kind(given);
  GgufVocab vocab = given;
  if (kind.sentencepiece) respell_spaces(vocab);
  size_t count = vocab.tokens.size();
  if (count >= BpeModel::kMaxIds) fail("{}: tokenizer.ggml.tokens: {} tokens are too many", vocab.source, count);
  if (!vocab.token_types.empty() && vocab.token_types.size() != count)
    fail("{}: tokenizer.ggml.token_type has {} entries for {} tokens", vocab.source, vocab.token_types.size(), count);
  auto impl = std::make_shared<Tokenizer::Impl>();
  impl->source = vocab.source;
  set_text_parts(*impl, std::move(kind.normalizer), std::move(kind.pre_tokenizer));
  impl->byte_level_decoder = !kind.sentencepiece;
  if (kind.sentencepiece) impl->decoder.emplace(std::move(kind.decoder));
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
  if (kind.sentencepiece) add_named(vocab, added);
  if (kind.sentencepiece && vocab.merges.empty()) {
    impl->made_merges = make_merges(vocab);
    for (auto [left, right] : impl->made_merges)
      impl->model.add_merge(vocab.tokens[static_cast<size_t>(left)], vocab.tokens[static_cast<size_t>(right)], 0);
  } else {
    add_given_merges(vocab, impl->model);
  }
  auto unk = kind.unk_token.empty() ? std::nullopt : impl->model.token_to_id(kind.unk_token);
  impl->model.finish(kind.ignore_merges, unk, kind.fuse_unk, kind.byte_fallback);
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
  if (vocab.add_bos.value_or(kind.add_bos) && out.bos_) out.prefix_.push_back(*out.bos_);
  if (vocab.add_eos.value_or(false) && out.eos_) out.suffix_.push_back(*out.eos_);
  impl->source = vocab.source;
  impl->chat_template = vocab.chat_template;
  vocab.tokens = {};
  vocab.token_types = {};
  vocab.scores = {};
  impl->gguf = std::move(vocab);
  out.impl_ = impl;
  return out;
}

Tokenizer Tokenizer::from_gguf(const GgufVocab& vocab) {
  return TokenizerBuilder::from_gguf(vocab);
}

}  // namespace gavel

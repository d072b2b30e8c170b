#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "pieces/normalizer.h"
#include "pieces/pretokenizer.h"
#include "text/decoder.h"
#include "text/gguf_vocab.h"

namespace gavel {

/** What a GGUF file says of its tokenizer in a word or two, as the tokenizer.json of such models spells it out. */
struct GgufKind {
  std::vector<Normalizer::Step> normalizer;
  std::vector<PreTokenizer::Stage> pre_tokenizer;
  std::vector<Decoder::Step> decoder;
  bool ignore_merges = false;
  bool byte_fallback = false;
  bool fuse_unk = false;
  std::string unk_token;  // of the model; "" is none
  bool add_bos = false;   // when the file does not say
  bool sentencepiece = false;
};

/** Reads tokenizer.ggml.model, tokenizer.ggml.pre and general.architecture. Throws Error naming what is not known. */
GgufKind gguf_kind(const GgufVocab& vocab);

/** Gemma's files spell tokens of two or more spaces with spaces, where texts have U+2581 for each. */
void respell_spaces(GgufVocab& vocab);

/** The merges that a SentencePiece vocabulary implies, the first to be done first, as pairs of ids: each token by all
 * pairs of tokens that it can be put together of, as transformers makes them. Tokens come by their score, or, for Gemma,
 * whose scores do not follow its merges, by their place. Throws Error where the scores are missing or not numbers. */
std::vector<std::pair<int32_t, int32_t>> make_merges(const GgufVocab& vocab);

}  // namespace gavel

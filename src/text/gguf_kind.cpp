#include "text/gguf_kind.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <unordered_map>

#include "base/error.h"
#include "pieces/space_mark.h"

namespace gavel {
namespace {

using Stage = PreTokenizer::Stage;
using Step = Normalizer::Step;

// Cased letters, as the tokenizer.json of DeepSeek-LLM lists them.
constexpr std::string_view kCasedLetters =
    R"(A-Za-z)"
    R"(\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af})"
    R"(\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1})"
    R"(\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5})"
    R"(\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a})"
    R"(\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b})"
    R"(\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc})"
    R"(\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107})"
    R"(\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134})"
    R"(\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4})"
    R"(\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787})"
    R"(\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a})"
    R"(\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2})"
    R"(\x{118a0}-\x{118df}\x{1e900}-\x{1e943})";

// Of Mistral's "tekken" vocabularies: words begin at capital letters.
constexpr std::string_view kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
    R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Stage split(std::string_view pattern) {
  Stage stage;
  stage.type = Stage::Type::kSplit;
  stage.pattern = pattern;
  return stage;
}

Stage byte_level(bool use_regex) {
  Stage stage;
  stage.use_regex = use_regex;
  return stage;
}

Stage single_digits() {
  Stage stage;
  stage.type = Stage::Type::kDigits;
  stage.individual = true;
  return stage;
}

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

GgufKind byte_level_kind(const GgufVocab& vocab) {
  GgufKind kind;
  kind.decoder.push_back({.type = Decoder::Step::Type::kByteLevel});
  std::string_view pre = vocab.pre;
  if (one_of(pre, {"gpt-2", "gpt2", "phi-2"})) {
    kind.pre_tokenizer = {byte_level(true)};
  } else if (one_of(pre, {"smollm", "starcoder", "refact", "command-r", "codeshell"})) {
    kind.pre_tokenizer = {single_digits(), byte_level(true)};
  } else if (one_of(pre, {"llama-bpe", "llama3", "llama-v3", "falcon3"})) {
    kind.pre_tokenizer = {split(PreTokenizer::kLlama3Pattern), byte_level(false)};
    kind.ignore_merges = true;
    kind.add_bos = true;
  } else if (pre == "smaug-bpe") {
    kind.pre_tokenizer = {split(PreTokenizer::kLlama3Pattern), byte_level(false)};
  } else if (pre == "qwen2") {
    kind.normalizer = {{Step::Type::kNfc, "", ""}};
    kind.pre_tokenizer = {split(PreTokenizer::kQwen2Pattern), byte_level(false)};
  } else if (pre == "tekken") {
    kind.pre_tokenizer = {split(kTekkenPattern), byte_level(false)};
    kind.ignore_merges = true;
    kind.add_bos = true;
  } else if (pre == "deepseek-llm") {
    kind.pre_tokenizer = {split("[\r\n]"),
                          split(std::string("\\s?[").append(kCasedLetters).append("]+")),
                          split(R"(\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+)"),
                          split(R"(\s+$)"),
                          split(R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)"),
                          single_digits(),
                          byte_level(false)};
  } else {
    fail(
        "{}: tokenizer.ggml.pre: \"{}\" is not known; gpt-2, smollm, starcoder, llama-bpe, falcon3, smaug-bpe, qwen2, "
        "tekken and deepseek-llm are. Give the model's tokenizer.json instead",
        vocab.source, vocab.pre);
  }
  return kind;
}

bool is_gemma(const GgufVocab& vocab) {
  return one_of(vocab.architecture, {"gemma", "gemma2", "gemma3"});
}

GgufKind sentencepiece_kind(const GgufVocab& vocab) {
  using Type = Decoder::Step::Type;
  GgufKind kind;
  kind.sentencepiece = kind.byte_fallback = kind.fuse_unk = kind.add_bos = true;
  kind.decoder = {{.type = Type::kReplace, .pattern = std::string(kSpaceMark), .content = " "},
                  {.type = Type::kByteFallback},
                  {.type = Type::kFuse}};
  Step mark{Step::Type::kReplace, " ", std::string(kSpaceMark)};
  bool prefix = vocab.add_space_prefix.value_or(true);
  if (is_gemma(vocab)) {
    kind.normalizer = {mark};
    kind.unk_token = "<unk>";
    return kind;
  }
  if (vocab.architecture == "phi3") {
    if (prefix) kind.normalizer.push_back({Step::Type::kPrepend, "", std::string(kSpaceMark)});
    kind.normalizer.push_back(mark);
  } else {
    Stage metaspace;
    metaspace.type = Stage::Type::kMetaspace;
    metaspace.pattern = kSpaceMark;
    metaspace.prepend_scheme = prefix ? PreTokenizer::PrependScheme::kFirst : PreTokenizer::PrependScheme::kNever;
    metaspace.split = false;
    kind.pre_tokenizer = {metaspace};
  }
  if (prefix) kind.decoder.push_back({.type = Type::kStrip, .pattern = " ", .start = 1});
  return kind;
}

}  // namespace

GgufKind gguf_kind(const GgufVocab& vocab) {
  if (vocab.model == "gpt2") return byte_level_kind(vocab);
  if (vocab.model == "llama") return sentencepiece_kind(vocab);
  fail("{}: tokenizer.ggml.model: \"{}\" is not known; \"gpt2\" (byte-level BPE) and \"llama\" (SentencePiece) are",
       vocab.source, vocab.model);
}

void respell_spaces(GgufVocab& vocab) {
  if (!is_gemma(vocab)) return;
  for (size_t i = 0; i < vocab.tokens.size(); ++i) {
    std::string& token = vocab.tokens[i];
    if (token.empty() || token.find_first_not_of(' ') != std::string::npos) continue;
    std::string marks;
    for (size_t n = token.size(); n > 0; --n) marks += kSpaceMark;
    token = std::move(marks);
    // It is no added token any more: texts hold no such spaces when it is looked for.
    if (i < vocab.token_types.size()) vocab.token_types[i] = 1;
  }
}

std::vector<std::pair<int32_t, int32_t>> make_merges(const GgufVocab& vocab) {
  constexpr size_t kLongest = 1024;  // bytes; SentencePiece's own limit is far below
  const auto& tokens = vocab.tokens;
  bool by_place = is_gemma(vocab);
  if (!by_place && vocab.scores.size() != tokens.size())
    fail("{}: tokenizer.ggml.scores has {} entries for {} tokens, which need one each", vocab.source,
         vocab.scores.size(), tokens.size());
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) ids[tokens[i]] = static_cast<int32_t>(i);  // given twice: the later one
  struct Candidate {
    double score;
    uint32_t left_size, right_size;  // characters
    int32_t left, right;
  };
  std::vector<Candidate> found;
  std::vector<bool> done(tokens.size());
  std::vector<size_t> places;
  for (const std::string& token : tokens) {
    auto id = static_cast<size_t>(ids.at(token));
    if (done[id]) continue;
    done[id] = true;
    if (token.size() > kLongest)
      fail("{}: tokenizer.ggml.tokens[{}] has {} bytes; at most {} are allowed", vocab.source, id, token.size(),
           kLongest);
    double score = by_place ? -static_cast<double>(id) : vocab.scores[id];
    if (std::isnan(score)) fail("{}: tokenizer.ggml.scores[{}] is not a number", vocab.source, id);
    places.clear();  // where characters begin
    for (size_t i = 0; i < token.size(); ++i)
      if ((static_cast<uint8_t>(token[i]) & 0xc0) != 0x80) places.push_back(i);
    size_t begin = found.size();
    for (size_t k = 1; k < places.size(); ++k) {
      std::string_view all = token;
      auto left = ids.find(all.substr(0, places[k]));
      if (left == ids.end()) continue;
      auto right = ids.find(all.substr(places[k]));
      if (right == ids.end()) continue;
      found.push_back(
          {score, static_cast<uint32_t>(k), static_cast<uint32_t>(places.size() - k), left->second, right->second});
    }
    std::sort(found.begin() + static_cast<ptrdiff_t>(begin), found.end(), [](const Candidate& a, const Candidate& b) {
      return std::pair(a.left, a.right) < std::pair(b.left, b.right);
    });
  }
  std::stable_sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(a.score, a.left_size, a.right_size) > std::tuple(b.score, b.left_size, b.right_size);
  });
  std::vector<std::pair<int32_t, int32_t>> merges;
  merges.reserve(found.size());
  for (const Candidate& c : found) merges.emplace_back(c.left, c.right);
  return merges;
}

}  // namespace gavel

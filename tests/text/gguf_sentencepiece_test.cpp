// Vocabularies of scores, as GGUF files of the models "llama" hold them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "base/error.h"
#include "text/gguf_kind.h"
#include "text_test_util.h"

namespace gavel {
namespace {

using ::testing::HasSubstr;

GgufVocab small_vocab(const std::string& architecture) {
  GgufVocab vocab;
  vocab.source = "G";
  vocab.model = "llama";
  vocab.architecture = architecture;
  auto add = [&](const std::string& token, int32_t type, double score) {
    vocab.tokens.push_back(token);
    vocab.token_types.push_back(type);
    vocab.scores.push_back(score);
  };
  add("<unk>", 2, 0);
  add("<s>", 3, 0);
  add("</s>", 3, 0);
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    add(name, 6, 0);
  }
  double score = 0;
  for (const char* token :
       {"he", "ll", "lo", "\u2581h", "\u2581\u2581", "llo", "hell", "\u2581hello", "\u2581he", "hello"})
    add(token, 1, --score);
  for (const char* token : {"\u2581", "h", "e", "l", "o", "w"}) add(token, 1, --score);
  add("<sep>", 4, 0);
  vocab.bos = 1;
  vocab.eos = 2;
  vocab.unk = 0;
  return vocab;
}

std::vector<std::string> tokens_of(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> out;
  for (int32_t id : encode(tokenizer, text)) out.push_back(tokenizer.id_to_token(id));
  return out;
}

using Tokens = std::vector<std::string>;

TEST(GgufSentencePiece, LlamaPutsAMarkAtTheStart) {
  Tokenizer tokenizer = Tokenizer::from_gguf(small_vocab("llama"));
  EXPECT_EQ(tokens_of(tokenizer, "hello"), (Tokens{"\u2581hello"}));
  EXPECT_EQ(tokens_of(tokenizer, " hello"), (Tokens{"\u2581hello"}));
  EXPECT_EQ(tokens_of(tokenizer, "hello<sep>hello</s>"), (Tokens{"\u2581hello", "<sep>", "hello", "</s>"}));
  EXPECT_EQ(tokens_of(tokenizer, "é"), (Tokens{"\u2581", "<0xC3>", "<0xA9>"}));
  EXPECT_EQ(tokenizer.prefix(), std::vector<int32_t>{1});  // when the file does not say
  EXPECT_EQ(tokenizer.decode(encode(tokenizer, "hello é")), "hello é");
  GgufVocab plain = small_vocab("llama");
  plain.add_space_prefix = false;
  plain.add_bos = false;
  tokenizer = Tokenizer::from_gguf(plain);
  EXPECT_EQ(tokens_of(tokenizer, "hello hello"), (Tokens{"hello", "\u2581hello"}));
  EXPECT_TRUE(tokenizer.prefix().empty());
  EXPECT_EQ(tokenizer.decode(encode(tokenizer, " hello")), " hello");
}

TEST(GgufSentencePiece, Phi3PutsAMarkBeforeEachPart) {
  Tokenizer tokenizer = Tokenizer::from_gguf(small_vocab("phi3"));
  EXPECT_EQ(tokens_of(tokenizer, " hello<sep>hello"), (Tokens{"\u2581\u2581", "hello", "<sep>", "\u2581hello"}));
}

TEST(GgufSentencePiece, GemmaMergesByPlaceAndSpellsSpaces) {
  GgufVocab vocab = small_vocab("gemma3");
  std::reverse(vocab.scores.begin(), vocab.scores.end());  // of no consequence
  auto spaces = std::find(vocab.tokens.begin(), vocab.tokens.end(), "\u2581\u2581");
  *spaces = "  ";
  vocab.token_types[static_cast<size_t>(spaces - vocab.tokens.begin())] = 4;
  Tokenizer tokenizer = Tokenizer::from_gguf(vocab);
  EXPECT_EQ(tokens_of(tokenizer, "hello  w"), (Tokens{"hello", "\u2581\u2581", "w"}));
  EXPECT_EQ(tokenizer.decode(encode(tokenizer, "hello  w")), "hello  w");
}

// The same by going through everything, as the method is told.
std::vector<std::pair<int32_t, int32_t>> merges_by_definition(const GgufVocab& vocab) {
  std::map<std::string, int32_t> ids;
  for (size_t i = 0; i < vocab.tokens.size(); ++i) ids[vocab.tokens[i]] = static_cast<int32_t>(i);
  struct Merge {
    double score;
    size_t left_size, right_size;
    int32_t left, right;
  };
  std::vector<Merge> all;
  for (const std::string& token : vocab.tokens) {
    std::vector<Merge> own;
    for (size_t i = 1; i < token.size(); ++i) {
      std::string left = token.substr(0, i), right = token.substr(i);
      if (ids.count(left) && ids.count(right))
        own.push_back(
            {vocab.scores[static_cast<size_t>(ids[token])], left.size(), right.size(), ids[left], ids[right]});
    }
    std::stable_sort(own.begin(), own.end(), [](const Merge& a, const Merge& b) { return a.left < b.left; });
    all.insert(all.end(), own.begin(), own.end());
  }
  std::stable_sort(all.begin(), all.end(), [](const Merge& a, const Merge& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.left_size != b.left_size) return a.left_size > b.left_size;
    return a.right_size > b.right_size;
  });
  std::vector<std::pair<int32_t, int32_t>> out;
  for (const Merge& m : all) out.emplace_back(m.left, m.right);
  return out;
}

TEST(GgufSentencePiece, MergesFollowScoresAndThenLengths) {
  Random random(4);
  for (int round = 0; round < 50; ++round) {
    GgufVocab vocab;
    vocab.source = "G";
    std::map<std::string, int> seen;
    for (int i = 0; i < 80; ++i) {
      std::string token;
      for (size_t n = 1 + random.below(6); n > 0; --n) token += static_cast<char>('a' + random.below(3));
      if (!seen.emplace(token, i).second) continue;
      vocab.tokens.push_back(token);
      vocab.scores.push_back(-static_cast<double>(random.below(10)));  // many are equal
    }
    ASSERT_EQ(make_merges(vocab), merges_by_definition(vocab));
  }
}

TEST(GgufSentencePiece, SavedItIsTheSame) {
  Random random(5);
  for (const char* architecture : {"llama", "phi3", "gemma3"}) {
    Tokenizer tokenizer = Tokenizer::from_gguf(small_vocab(architecture));
    Tokenizer saved = Tokenizer::from_json(tokenizer.to_json(), "saved");
    EXPECT_EQ(saved.prefix(), tokenizer.prefix());
    for (int i = 0; i < 300; ++i) {
      std::string text = i % 2 == 0 ? random_text(random, random.below(40)) : "";
      const char* parts[] = {"hello", " ", "h", "ll", "o", "<sep>", "\u2581", "</s>", "w", "é"};
      for (size_t n = random.below(8); n > 0; --n) text += parts[random.below(std::size(parts))];
      std::vector<int32_t> ids = encode(tokenizer, text);
      EXPECT_EQ(encode(saved, text), ids) << text;
      EXPECT_EQ(encode(tokenizer.with_regex_only(), text), ids) << text;
      EXPECT_EQ(saved.decode(ids), tokenizer.decode(ids)) << text;
    }
  }
}

std::string refusal_of(const GgufVocab& vocab) {
  try {
    Tokenizer::from_gguf(vocab);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(GgufSentencePiece, BadVocabulariesAreErrors) {
  GgufVocab vocab = small_vocab("llama");
  vocab.scores.pop_back();
  EXPECT_THAT(refusal_of(vocab), HasSubstr("G: tokenizer.ggml.scores has"));
  vocab.scores.push_back(std::nan(""));
  EXPECT_THAT(refusal_of(vocab), HasSubstr("is not a number"));
  vocab = small_vocab("llama");
  vocab.tokens.back() = std::string(2000, 'h');
  EXPECT_THAT(refusal_of(vocab), HasSubstr("has 2000 bytes; at most 1024 are allowed"));
  vocab.tokens.back() = "\xff";
  EXPECT_THAT(refusal_of(vocab), HasSubstr("is not UTF-8"));
  vocab = small_vocab("llama");
  vocab.merges = {"h zzz"};
  EXPECT_THAT(refusal_of(vocab), HasSubstr("tokenizer.ggml.merges[0]: the token \"zzz\""));
}

TEST(GgufKind, NamesOfByteLevelPreTokenizers) {
  GgufVocab vocab;
  vocab.model = "gpt2";
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "falcon3", "smaug-bpe", "qwen2", "tekken", "deepseek-llm"}) {
    vocab.pre = pre;
    GgufKind kind = gguf_kind(vocab);
    EXPECT_EQ(kind.pre_tokenizer.back().type, PreTokenizer::Stage::Type::kByteLevel) << pre;
    EXPECT_EQ(kind.normalizer.empty(), vocab.pre != "qwen2") << pre;
    PreTokenizer(kind.pre_tokenizer, "G", false);  // all patterns are known
  }
  auto pieces = [&](const char* pre, std::string_view text) {
    vocab.pre = pre;
    PreTokenizer pre_tokenizer(gguf_kind(vocab).pre_tokenizer, "G", false);
    RegexScratch scratch;
    std::vector<std::pair<size_t, size_t>> ranges;
    pre_tokenizer.split(text, scratch, ranges);
    std::vector<std::string> out;
    for (auto [begin, end] : ranges) out.emplace_back(text.substr(begin, end - begin));
    return out;
  };
  EXPECT_EQ(pieces("tekken", "camelCase 12 ok/\n"), (Tokens{"camel", "Case", " ", "1", "2", " ok", "/\n"}));
  EXPECT_EQ(pieces("deepseek-llm", "It, 12  你好\nΩmega"),
            (Tokens{"It", ",", " ", "1", "2", "  ", "你好", "\n", "Ω", "mega"}));  // its marks include ASCII letters
  EXPECT_EQ(pieces("qwen2", "a 123"), (Tokens{"a", " ", "1", "2", "3"}));
  EXPECT_EQ(pieces("smaug-bpe", "a 1234"), (Tokens{"a", " ", "123", "4"}));
}

}  // namespace
}  // namespace gavel

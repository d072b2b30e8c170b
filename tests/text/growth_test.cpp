// No bad case: whatever a long text consists of, 8 times the text takes about 8 times as long. A quadratic
// method would take 64 times as long.
#include <gtest/gtest.h>

#include <ctime>

#include "long_texts.h"
#include "text_test_util.h"

namespace gavel {
namespace {

double seconds_of(const Tokenizer& tokenizer, std::string_view text) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    tokenizer.clear_cache();
    std::clock_t start = std::clock();  // processor time: other programs disturb it little
    std::vector<int32_t> ids;
    tokenizer.encode(text, ids);
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return best;
}

void check_growth(const Tokenizer& tokenizer, const std::string& name, size_t small_size) {
  auto small = kinds(small_size), large = kinds(8 * small_size);
  for (size_t i = 0; i < small.size(); ++i) {
    double little = seconds_of(tokenizer, small[i].text), much = seconds_of(tokenizer, large[i].text);
    // Twice what is linear for caches that no longer hold it all; the constant for the clock's steps.
    EXPECT_LT(much, 20 * little + 0.01) << name << ": " << small[i].name;
  }
}

Tokenizer small_tokenizer(const std::string& name) {
  return Tokenizer::load(data_folder() / (name + ".json"));
}

/** The small Llama-3 tokenizer with another pattern, which PCRE2 runs. */
Tokenizer with_pattern(const std::string& pattern) {
  auto json = nlohmann::json::parse(read_text(data_folder() / "llama3.json"));
  json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern;
  return Tokenizer::from_json(json.dump(), "with pattern");
}

// GPT-4o's pattern, and made ones with groups, which need room for each repetition.
const char* const kCased =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kGrouped = R"((?:\p{L}|\p{N}|[<|>_])+|(?:\s|=)+|(?:.|\n))";

TEST(Growth, Scanners) {
  for (const char* name : {"llama3", "digits", "gpt2", "prefix"}) check_growth(small_tokenizer(name), name, 1 << 14);
}

// All of a text is one word there.
TEST(Growth, SentencePiece) {
  for (const char* name : {"sp_prepend", "sp_first", "sp_always", "sp_gemma", "sp_plain"})
    check_growth(small_tokenizer(name), name, 1 << 14);
  check_growth(small_tokenizer("sp_first").with_regex_only(), "sp_first stage by stage", 1 << 14);
}

TEST(Growth, Normalization) {
  for (const char* name : {"nfc", "sp_nfkc"}) check_growth(small_tokenizer(name), name, 1 << 14);
}

TEST(Growth, RegularExpressions) {
  for (const char* name : {"llama3", "digits", "general"})
    check_growth(small_tokenizer(name).with_regex_only(), name, 1 << 14);
  check_growth(with_pattern(kCased), "GPT-4o's pattern", 1 << 14);
  check_growth(with_pattern(kGrouped), "groups", 1 << 14);
}

TEST(Growth, OneMegabyte) {
  check_growth(small_tokenizer("llama3"), "llama3", 1 << 17);
}

TEST(Growth, TokensThatTakeTheWhiteSpaceBesideThem) {
  auto json = nlohmann::json::parse(read_text(data_folder() / "gpt2.json"));
  int id = 5000;
  for (const char* content : {"\t", " ", "\n"})
    json["added_tokens"].push_back({{"id", id++},
                                    {"content", content},
                                    {"single_word", false},
                                    {"lstrip", *content != '\t'},
                                    {"rstrip", *content != ' '},
                                    {"normalized", *content == '\n'},
                                    {"special", false}});
  Tokenizer tokenizer = Tokenizer::from_json(json.dump(), "T");
  for (const char* part : {" ", "\t", "\n", "\t ", "\t\n ", " a"}) {
    auto text = [&](size_t size) {
      std::string out;
      while (out.size() < size) out += part;
      return out;
    };
    EXPECT_LT(seconds_of(tokenizer, text(1 << 17)), 20 * seconds_of(tokenizer, text(1 << 14)) + 0.01) << part[0];
  }
}

// Far behind the just-in-time compiler's stack, where the interpreter takes over.
TEST(Growth, LongMatchesOfGroupsAreNoError) {
  Tokenizer tokenizer = with_pattern(kGrouped);
  for (const char* part : {"a", "7", " ", "的"}) {
    std::string text;
    while (text.size() < (4 << 20)) text += part;
    std::vector<int32_t> ids = encode(tokenizer, text);
    EXPECT_EQ(tokenizer.decode(ids), text) << part;
  }
}

}  // namespace
}  // namespace gavel

// What a pattern of a tokenizer.json can cost. Steps are counted, not seconds: what a search was granted beyond the few steps
// that every place of a text has.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "base/utf8.h"
#include "long_texts.h"
#include "pieces/pretokenizer.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string many(std::string_view part, size_t size) {
  std::string out;
  while (out.size() < size) out += part;
  return out;
}

PreTokenizer::Stage split_by(const std::string& pattern) {
  PreTokenizer::Stage stage;
  stage.type = PreTokenizer::Stage::Type::kSplit;
  stage.pattern = pattern;
  return stage;
}

PreTokenizer::Stage bytes_alone() {
  PreTokenizer::Stage stage;
  stage.use_regex = false;
  return stage;
}

/** The error of cutting the text by the stages; "" when there is none. */
std::string cost_error(std::vector<PreTokenizer::Stage> stages, const std::string& text) {
  stages.push_back(bytes_alone());
  const PreTokenizer pre(std::move(stages), "crafted.json", false);
  RegexScratch scratch;
  scratch.begin_text(text.size());
  std::vector<std::pair<size_t, size_t>> pieces;
  try {
    pre.split(text, scratch, pieces);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// Each match stays below any limit for one match; it is their number that took half a minute for 46 KB.
TEST(RegexCost, ManyMatchesOfWhichEachIsWithinReasonAreRefusedByName) {
  const std::string line = std::string(21, 'a') + "b\nc";
  // PCRE2 takes the first, Oniguruma the second, for its line's end; the last matches nowhere.
  for (const char* pattern : {"(?:(a+)+c|[^x])", "(?:(a|aa)+c|[^x]|$)", "(a+)+c"})
    EXPECT_THAT(cost_error({split_by(pattern)}, many(line, 46'000)),
                AllOf(HasSubstr("crafted.json"), HasSubstr(pattern), HasSubstr("costs too much"),
                      HasSubstr("steps of backtracking")));
}

// Cut into lines by one pattern, each line is a search of its own for the next.
TEST(RegexCost, PiecesOfATextShareItsAllowance) {
  const std::string line = std::string(21, 'a') + "bc\n";
  EXPECT_THAT(cost_error({split_by("\n"), split_by("(a+)+c")}, many(line, 46'000)),
              AllOf(HasSubstr("(a+)+c"), HasSubstr("on a text of 460")));
  // One of them is nothing to complain about.
  EXPECT_EQ(cost_error({split_by("\n"), split_by("(a+)+c")}, std::string(12, 'a') + "bc\n"), "");
}

TEST(RegexCost, OneMatchThatNeverEndsIsRefusedByName) {
  for (const char* pattern : {"(a|aa)+c", "(a|aa)+(c|$c)", "(.*a){20}x", "(?<!b)(a|aa)+c"})
    EXPECT_THAT(cost_error({split_by(pattern)}, std::string(3000, 'a') + "bcx"), HasSubstr(pattern)) << pattern;
}

// Nothing of PCRE2's own, such as a word that sets limits or turns its compiler off, comes from a file.
TEST(RegexCost, VerbsOfPcre2AreRefused) {
  for (const char* pattern : {"(*LIMIT_MATCH=4000000000)a", "(*NO_JIT)a", "(*UTF)a"})
    EXPECT_THROW(Regex(pattern, "crafted.json"), Error) << pattern;
}

// Nor of Oniguruma's: it loses memory with some of them.
TEST(RegexCost, CalloutsOfOnigurumaAreRefused) {
  for (const char* pattern : {"(?{a})", "(?{\\})b", "(*MAX{2})a", "(*FAIL)"})
    EXPECT_THROW(Regex(pattern, "crafted.json"), Error) << pattern;
}

// The places of a long text are tried in windows; matches are found across their edges, and in both engines.
TEST(RegexCost, WindowsOfLongTextsLoseNoMatch) {
  std::string text;
  std::vector<std::pair<size_t, size_t>> expected;
  Random random(7);
  while (text.size() < (3 << 20)) {
    text += many("的", random.below(900));
    expected.emplace_back(text.size(), text.size() + 4);
    text += "的x";
  }
  for (const char* pattern : {"的x", "的x(?=.|\\z)"}) {
    RegexScratch scratch;
    std::vector<std::pair<size_t, size_t>> found;
    Regex(pattern, "test").find_all(text, scratch, found);
    EXPECT_EQ(found, expected) << pattern;
  }
}

struct Known {
  const char* name;
  std::vector<const char*> patterns;
};

/** The patterns of the tokenizers that people use, as their tokenizer.json has them. */
const std::vector<Known>& known_patterns() {
  static const std::vector<Known> all = {
      {"GPT-2, SmolLM2, Falcon", {PreTokenizer::kGpt2Pattern}},
      {"Llama 3, SmolLM3", {PreTokenizer::kLlama3Pattern}},
      {"Qwen2, Qwen3", {PreTokenizer::kQwen2Pattern}},
      {"cl100k",
       {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|)"
        R"(\s+(?!\S)|\s+)"}},
      {"GPT-4o, Llama 4",
       {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
        R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
        R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {"Mistral's Tekken",
       {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
        R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
        R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {"DeepSeek V3",
       {R"(\p{N}{1,3})", R"([一-龥぀-ゟ゠-ヿ]+)",
        R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)"
        R"(\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {"Qwen3.5, with marks in words",
       {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)"
        R"(\s*[\r\n]+|\s+(?!\S)|\s+)"}},
      {"Gemma, spaces", {" "}},
      {"StarCoder, digits", {R"(\p{N})"}},
  };
  return all;
}

// Long texts of which nothing falls apart by itself: kinds() of long_texts.h.
TEST(RegexCost, StepsOfKnownPatternsGrowWithTheText) {
  for (const Known& known : known_patterns()) {
    std::vector<PreTokenizer::Stage> stages;
    for (const char* pattern : known.patterns) stages.push_back(split_by(pattern));
    stages.push_back(bytes_alone());
    const PreTokenizer pre(stages, known.name, false);
    auto steps = [&](const std::string& given) {
      std::string text;
      append_lossy(text, given);
      RegexScratch scratch;
      scratch.begin_text(text.size());
      std::vector<std::pair<size_t, size_t>> pieces;
      pre.split(text, scratch, pieces);
      return static_cast<double>(scratch.steps());
    };
    const std::vector<Kind> small = kinds(1 << 13), large = kinds(1 << 17);
    for (size_t i = 0; i < small.size(); ++i) {
      const double little = steps(small[i].text), much = steps(large[i].text);
      // Four times, since steps are granted in powers of four.
      EXPECT_LE(much, 4 * 16 * little + 4096) << known.name << ": " << small[i].name;
      EXPECT_LE(much, 32 * static_cast<double>(large[i].text.size())) << known.name << ": " << small[i].name;
    }
  }
}

}  // namespace
}  // namespace gavel

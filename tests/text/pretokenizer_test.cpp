#include "pieces/pretokenizer.h"

#include <gtest/gtest.h>

#include "pieces/scanners.h"
#include "text_test_util.h"

namespace gavel {
namespace {

using Ranges = std::vector<std::pair<size_t, size_t>>;
using Stage = PreTokenizer::Stage;

template <class Scanner>
Ranges scan(const Scanner& scanner, std::string_view text) {
  Ranges out;
  const auto* begin = reinterpret_cast<const uint8_t*>(text.data());
  for (const uint8_t *p = begin, *end = begin + text.size(); p < end;) {
    const uint8_t* q = scanner.next(p);
    EXPECT_GT(q, p);
    EXPECT_LE(q, end);
    if (q <= p || q > end) break;
    out.emplace_back(p - begin, q - begin);
    p = q;
  }
  return out;
}

Stage split_stage(const char* pattern) {
  Stage stage;
  stage.type = Stage::Type::kSplit;
  stage.pattern = pattern;
  return stage;
}

Stage level_stage(bool use_regex) {
  Stage stage;
  stage.use_regex = use_regex;
  return stage;
}

// The hand-made scanner against PCRE2 on random text. The text lies in memory of its exact size, so that a
// sanitizer sees a read behind it.
template <class MakeScanner>
void compare(const std::vector<Stage>& stages, MakeScanner make, uint64_t seed) {
  PreTokenizer regex(stages, "test", false);
  ASSERT_EQ(regex.kind(), PreTokenizer::Kind::kGeneral);
  EXPECT_NE(PreTokenizer(stages, "test").kind(), PreTokenizer::Kind::kGeneral);
  Random random(seed);
  RegexScratch scratch;
  for (int i = 0; i < 20000; ++i) {
    std::string made = random_text(random, 1 + random.below(20));
    std::vector<char> exact(made.begin(), made.end());
    std::string_view text(exact.data(), exact.size());
    Ranges expected;
    regex.split(text, scratch, expected);
    const auto* end = reinterpret_cast<const uint8_t*>(text.data()) + text.size();
    ASSERT_EQ(scan(make(end), text), expected) << made;
  }
}

TEST(Scanner, Llama3EqualsRegex) {
  compare(
      {split_stage(PreTokenizer::kLlama3Pattern), level_stage(false)},
      [](const uint8_t* end) { return Llama3Scanner(UnicodeTable::get(), end); }, 1);
}

TEST(Scanner, Qwen2EqualsRegex) {
  compare(
      {split_stage(PreTokenizer::kQwen2Pattern), level_stage(false)},
      [](const uint8_t* end) { return Llama3Scanner(UnicodeTable::get(), end, 1); }, 2);
}

TEST(Scanner, Gpt2EqualsRegex) {
  compare({level_stage(true)}, [](const uint8_t* end) { return Gpt2Scanner<false>(UnicodeTable::get(), end); }, 3);
  compare(
      {split_stage(PreTokenizer::kGpt2Pattern), level_stage(false)},
      [](const uint8_t* end) { return Gpt2Scanner<false>(UnicodeTable::get(), end); }, 4);
}

TEST(Scanner, DigitsGpt2EqualsRegex) {
  Stage digits;
  digits.type = Stage::Type::kDigits;
  digits.individual = true;
  compare(
      {digits, level_stage(true)}, [](const uint8_t* end) { return Gpt2Scanner<true>(UnicodeTable::get(), end); }, 5);
}

TEST(Regex, OwnClassesStandForEveryCodePoint) {
  struct Part {
    const char* pattern;
    CharClass kind;
    bool negated;
  };
  for (Part part :
       {Part{"\\p{L}", kLetterClass, false}, Part{"[\\P{L}]", kLetterClass, true}, Part{"\\p{N}", kNumberClass, false},
        Part{"[^\\p{N}]", kNumberClass, true}, Part{"\\s", kSpaceClass, false}, Part{"[x\\S]", kSpaceClass, true}}) {
    Regex regex(part.pattern, "test");
    RegexScratch scratch;
    std::string text;
    std::vector<std::pair<size_t, size_t>> expected, found;
    for (uint32_t c = 0; c < 0x110000; ++c) {
      if (c >= 0xd800 && c < 0xe000) continue;
      size_t begin = text.size();
      append_utf8(text, c);
      if (((UnicodeTable::get().classes(c) & part.kind) != 0) != part.negated)
        expected.emplace_back(begin, text.size());
    }
    regex.find_all(text, scratch, found);
    EXPECT_EQ(found, expected) << part.pattern;
  }
}

TEST(Unicode, TableEqualsRanges) {
  size_t letters = 0, spaces = 0;
  for (uint32_t c = 0; c < 0x110000; ++c) {
    letters += (UnicodeTable::get().classes(c) & kLetterClass) != 0;
    spaces += (UnicodeTable::get().classes(c) & kSpaceClass) != 0;
  }
  EXPECT_EQ(spaces, 25u);       // White_Space
  EXPECT_EQ(letters, 141028u);  // what `tokenizers` 0.23.3 matches with \p{L}
  EXPECT_EQ(UnicodeTable::get().classes(0x110000), 0);
  EXPECT_EQ(UnicodeTable::get().classes('a'), kLetterClass | kWordClass);
  EXPECT_EQ(UnicodeTable::get().classes('7'), kNumberClass | kNumericClass | kWordClass);
}

TEST(Unicode, LossyReplacesMaximalParts) {
  auto lossy = [](std::string_view text) {
    std::string out;
    size_t count = append_lossy(out, text);
    return std::pair(out, count);
  };
  const std::string r = "\xef\xbf\xbd";
  // The examples of the Unicode standard, tables 3-8 to 3-11, and Rust's documentation.
  EXPECT_EQ(lossy("Hello \xf0\x90\x80World"), std::pair("Hello " + r + "World", size_t{1}));
  EXPECT_EQ(lossy("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"), std::pair(r + r + r + r + r + r + r + r + "A", size_t{8}));
  EXPECT_EQ(lossy("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41"), std::pair(r + r + r + r + r + r + r + r + "A", size_t{8}));
  EXPECT_EQ(lossy("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"), std::pair(r + r + r + r + r + "A" + r + r + "B", size_t{7}));
  EXPECT_EQ(lossy("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"), std::pair(r + r + r + r + "A", size_t{4}));
  EXPECT_EQ(lossy("fine \xf0\x9f\x98\x80"), std::pair(std::string("fine \xf0\x9f\x98\x80"), size_t{0}));
  EXPECT_EQ(lossy("\xf0\x9f\x98"), std::pair(r, size_t{1}));
}

}  // namespace
}  // namespace gavel

#include "rows/cells.h"

#include <gmock/gmock.h>

#include "base/utf8.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Turns parse(std::string_view cell, Cells kind = Cells::kJson) {
  Turns out;
  EXPECT_EQ(parse_cell(cell, kind, out), "") << cell;
  return out;
}

std::string why_not(std::string_view cell) {
  Turns out;
  return parse_cell(cell, Cells::kJson, out);
}

TEST(Cells, ListsOfStringsAndNulls) {
  EXPECT_THAT(parse(R"(["one", "two"])").texts, ElementsAre("one", "two"));
  EXPECT_THAT(parse(R"( [ "a" , null ] )").texts, ElementsAre("a", ""));
  EXPECT_EQ(parse(R"(["a",null])").null_turns, 1);
  EXPECT_FALSE(parse(R"(["a",null])").all_null);
  EXPECT_TRUE(parse("[null]").all_null);
  EXPECT_TRUE(parse("[null,null]").all_null);
  EXPECT_FALSE(parse("[]").all_null);
  EXPECT_FALSE(parse(R"(["null"])").all_null);
}

TEST(Cells, Escapes) {
  EXPECT_THAT(parse(R"(["a \"q\" \\ \/ \b\f\n\r\t \u00e9 \u0000."])").texts,
              ElementsAre(std::string("a \"q\" \\ / \b\f\n\r\t é \0.", 21)));
  EXPECT_THAT(parse(R"(["\ud83d\ude00"])").texts, ElementsAre("😀"));
}

TEST(Cells, LoneSurrogatesBecomeReplacementCharacters) {
  Turns turns = parse(R"(["x \ud83d y", "\udc00", "\ud83d\ud83d\ude00", "\ude00\ud83d", "\\ud83d"])");
  EXPECT_THAT(turns.texts, ElementsAre("x \uFFFD y", "\uFFFD", "\uFFFD😀", "\uFFFD\uFFFD", "\\ud83d"));
  EXPECT_EQ(turns.lone_surrogates, 5);
}

TEST(Cells, InvalidUtf8IsReplacedAsRustDoes) {
  Turns turns = parse("[\"a\xFF\xE2\x82z\xED\xA0\x80\"]");
  EXPECT_THAT(turns.texts, ElementsAre("a\uFFFD\uFFFDz\uFFFD\uFFFD\uFFFD"));
  EXPECT_EQ(turns.invalid_utf8, 5);
  std::string out;
  EXPECT_EQ(append_lossy(out, "\xF0\x9F\x98"), 1);
  EXPECT_EQ(append_lossy(out, "\xC0\xAF\xF8"), 3);
  EXPECT_EQ(append_lossy(out, "h\xC3\xA9 \xF4\x8F\xBF\xBF"), 0);
  EXPECT_TRUE(is_valid_utf8(out));
}

/** The cells are what str() of Python 3.11 and NumPy 2 gives for these texts. */
TEST(Cells, ListsOfPythonAndArraysOfNumpy) {
  const std::vector<std::string> texts = {
      "it's", "say \"hi\"", "both ' and \"", "new\nline\ttab\\ back", "é😀\x1b\u00a0\u200b", "", "a, b] ['c'"};
  const std::vector<std::string> items = {
      R"("it's")", R"('say "hi"')",  R"('both \' and "')", R"('new\nline\ttab\\ back')", R"('é😀\x1b\xa0\u200b')",
      "''",        R"("a, b] ['c'")"};
  std::string list, array;
  for (size_t i = 0; i < items.size(); ++i) {
    list += (i > 0 ? ", " : "") + items[i];
    array += (i > 0 ? (i == 3 ? "\n " : " ") : "") + items[i];
  }
  EXPECT_EQ(parse("[" + list + "]").texts, texts);
  EXPECT_EQ(parse("[" + array + "]").texts, texts);
  EXPECT_EQ(parse("[None, 'a']").null_turns, 1);
  EXPECT_TRUE(parse("[None]").all_null);
  EXPECT_THAT(parse("[None 'a']").texts, ElementsAre("", "a"));
  EXPECT_EQ(parse(R"(['\ud83d', '\ud83d\ude00', '\U0001f600'])").lone_surrogates, 1);
  EXPECT_THAT(parse(R"(['\ud83d\u0041', '\U0001f600'])").texts, ElementsAre("\uFFFDA", "😀"));
  EXPECT_THAT(why_not("['x' 'x' ... 'x']"), HasSubstr("NumPy left turns out"));
  EXPECT_THAT(why_not("['a', 'b' 'c']"), HasSubstr("the separator that stands between the first two turns"));
  EXPECT_THAT(why_not("['a'"), HasSubstr("expected a comma, a blank or ]"));
  EXPECT_THAT(why_not("['a"), HasSubstr("closing quote"));
  EXPECT_THAT(why_not("['a',]"), HasSubstr("expected a turn after the comma"));
  EXPECT_THAT(why_not(R"(['\N{BULLET}'])"), HasSubstr("an escape known to Python"));
  EXPECT_THAT(why_not("['a', 3]"), HasSubstr("a text in quotes or None, found '3]'"));
  EXPECT_THAT(why_not("['a'] x"), HasSubstr("the end after the list"));
}

TEST(Cells, WhatIsNoListOfStringsSaysWhy) {
  EXPECT_THAT(why_not("hello"), HasSubstr("expected a list of turns"));
  EXPECT_THAT(why_not(""), HasSubstr("the cell's end"));
  EXPECT_THAT(why_not(R"(["a")"), HasSubstr("expected a comma or ]"));
  EXPECT_THAT(why_not(R"(["a)"), HasSubstr("closing quote"));
  EXPECT_THAT(why_not(R"(["a", 3])"), HasSubstr("expected a string or null, found '3]'"));
  EXPECT_THAT(why_not(R"([["a"]])"), HasSubstr("expected a string or null"));
  EXPECT_THAT(why_not(R"(["a"] x)"), HasSubstr("expected the end"));
  EXPECT_THAT(why_not(R"(["\x"])"), HasSubstr("escape"));
  EXPECT_THAT(why_not(R"(["\u12"])"), HasSubstr("hexadecimal"));
  EXPECT_THAT(why_not(R"(["a",])"), HasSubstr("expected a string or null"));
}

TEST(Cells, SplitIsTheOriginsWay) {
  EXPECT_THAT(parse(R"(["one","two"])", Cells::kSplit).texts, ElementsAre("one", "two"));
  EXPECT_THAT(parse(R"(["a\nb \u00e9"])", Cells::kSplit).texts, ElementsAre(R"(a\nb \u00e9)"));
  EXPECT_THAT(parse(R"(["a\",\"b"])", Cells::kSplit).texts, ElementsAre(R"(a\",\"b)"));
  EXPECT_THAT(parse(R"(["a \"q\"","b"])", Cells::kSplit).texts, ElementsAre(R"(a \"q\)", "b"));
  EXPECT_THAT(parse(R"(["]["])", Cells::kSplit).texts, ElementsAre("]["));
  EXPECT_THAT(parse(R"([""])", Cells::kSplit).texts, ElementsAre(""));
  EXPECT_TRUE(parse("[null]", Cells::kSplit).all_null);
  EXPECT_TRUE(parse(R"(["null"])", Cells::kSplit).all_null);
  EXPECT_FALSE(parse(R"(["null","null"])", Cells::kSplit).all_null);
}

TEST(Cells, SurrogateRepairLeavesValidJson) {
  std::string out = "untouched";
  EXPECT_EQ(replace_lone_surrogates(R"(["\ud83d\ude00 \\ud83d"])", out), 0);
  EXPECT_EQ(out, "untouched");
  EXPECT_EQ(replace_lone_surrogates(R"(["\ud83d x \uDC00"])", out), 2);
  EXPECT_EQ(out, R"(["\ufffd x \ufffd"])");
}

TEST(Cells, WrittenListsReadBack) {
  std::vector<std::string> turns = {"a \"b\" \\ /", "line\nline\ttab \x01", "", "é😀"};
  EXPECT_EQ(parse(json_cell(turns)).texts, turns);
}

}  // namespace
}  // namespace gavel

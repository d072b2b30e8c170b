#include "pieces/normalizer.h"

#include <gtest/gtest.h>

#include "pieces/marked_text.h"
#include "pieces/unicode_form.h"
#include "text/decoder.h"

namespace gavel {
namespace {

using Step = Normalizer::Step;
using Stage = PreTokenizer::Stage;

std::string form(UnicodeForm::Name name, std::string_view text) {
  std::string out;
  UnicodeForm::get(name).append(out, text);
  return out;
}
std::string nfc(std::string_view text) {
  return form(UnicodeForm::Name::kNfc, text);
}
std::string nfkc(std::string_view text) {
  return form(UnicodeForm::Name::kNfkc, text);
}

TEST(UnicodeForm, ComposesAndPutsInOrder) {
  EXPECT_EQ(nfc("abc e\u0301 \u1100\u1161\u11a8 x"), "abc \u00e9 \uac01 x");
  EXPECT_EQ(nfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(nfc("\u212b"), "\u00c5");
  EXPECT_EQ(nfc("\ufb01"), "\ufb01");
  EXPECT_EQ(nfkc("\ufb01\uff21\u00a0\u00bd"), "fiA 1\u20442");
  EXPECT_EQ(nfc("\u0301"), "\u0301");
  EXPECT_EQ(nfc(""), "");
  EXPECT_TRUE(UnicodeForm::get(UnicodeForm::Name::kNfc).plain("Việt 한국 世界 \n"));
  EXPECT_FALSE(UnicodeForm::get(UnicodeForm::Name::kNfc).plain("e\u0301"));
}

// As `tokenizers`, which is built with tables of Unicode 9.0.
TEST(UnicodeForm, KnowsNoLaterCharacters) {
  EXPECT_EQ(nfc("a\u0345\u1df9"), "a\u0345\u1df9");                // 10.0; in order it would be the other way round
  EXPECT_EQ(nfc("\U00011935\U00011930"), "\U00011935\U00011930");  // 13.0; they compose
  EXPECT_EQ(nfkc("\u32ff"), "\u32ff");                             // 12.1
}

TEST(UnicodeForm, LongRunsOfMarksAreTheSameAsShortOnes) {
  std::string marks, below, above;
  for (int i = 0; i < 400; ++i) marks += "\u0301\u0323";
  for (int i = 0; i < 400; ++i) below += "\u0323";
  for (int i = 0; i < 400; ++i) above += "\u0301";
  std::string dotted = "\u1eb9" + below.substr(2) + above;  // the first of each class composes where it can
  EXPECT_EQ(nfc("e" + marks), nfc("e" + below + above));
  EXPECT_EQ(nfc("e" + marks), dotted);
}

TEST(Normalizer, StepsFollowEachOther) {
  Normalizer none;
  std::array<std::string, 2> buffers;
  std::string_view text = "a b";
  EXPECT_EQ(none.run(text, buffers).data(), text.data());
  Normalizer normalizer({{Step::Type::kPrepend, "", "_"},
                         {Step::Type::kReplace, " ", "_"},
                         {Step::Type::kReplace, "__", "-"},
                         {Step::Type::kNfc, "", ""}});
  EXPECT_EQ(normalizer.run("a b", buffers), "_a_b");
  EXPECT_EQ(normalizer.run(" a   b e\u0301", buffers), "-a-_b_\u00e9");
  EXPECT_EQ(normalizer.run("", buffers), "");
}

Stage metaspace(PreTokenizer::PrependScheme scheme, bool split) {
  Stage stage;
  stage.type = Stage::Type::kMetaspace;
  stage.pattern = "\u2581";
  stage.prepend_scheme = scheme;
  stage.split = split;
  return stage;
}

Stage split(const std::string& pattern, bool is_regex) {
  Stage stage;
  stage.type = Stage::Type::kSplit;
  stage.pattern = pattern;
  stage.is_regex = is_regex;
  return stage;
}

std::vector<std::string> pieces(const std::vector<Stage>& stages, std::string_view text, bool at_start) {
  PreTokenizer pre(stages, "T");
  RegexScratch scratch;
  std::string buffer;
  std::vector<std::pair<size_t, size_t>> ranges;
  std::string_view all = pre.split_characters(text, at_start, scratch, buffer, ranges);
  std::vector<std::string> out;
  for (auto [begin, end] : ranges) out.emplace_back(all.substr(begin, end - begin));
  return out;
}

TEST(Metaspace, PrependsBySchemeAndSplitsBeforeMarks) {
  using enum PreTokenizer::PrependScheme;
  using Pieces = std::vector<std::string>;
  EXPECT_EQ(pieces({metaspace(kAlways, true)}, "a  b", false), (Pieces{"\u2581a", "\u2581", "\u2581b"}));
  EXPECT_EQ(pieces({metaspace(kAlways, false)}, " a b", false), (Pieces{"\u2581a\u2581b"}));
  EXPECT_EQ(pieces({metaspace(kFirst, false)}, "a", true), (Pieces{"\u2581a"}));
  EXPECT_EQ(pieces({metaspace(kFirst, false)}, "a", false), (Pieces{"a"}));
  EXPECT_EQ(pieces({metaspace(kNever, true)}, "a b", true), (Pieces{"a", "\u2581b"}));
  EXPECT_EQ(pieces({split("b", false), metaspace(kFirst, true)}, "ab c", true), (Pieces{"\u2581a", "b", "\u2581c"}));
  EXPECT_EQ(pieces({metaspace(kAlways, true)}, "", true), (Pieces{}));
  EXPECT_EQ(pieces({}, "a b", true), (Pieces{"a b"}));
}

TEST(MarkedText, StandsOnlyForWhatItCanDo) {
  using enum PreTokenizer::PrependScheme;
  Normalizer mark({{Step::Type::kReplace, " ", "\u2581"}});
  Normalizer prepend({{Step::Type::kPrepend, "", "\u2581"}, {Step::Type::kReplace, " ", "\u2581"}});
  Normalizer nfkc_last({{Step::Type::kReplace, " ", "\u2581"}, {Step::Type::kNfkc, "", ""}});
  auto run = [](const MarkedText& marked, std::string_view text, bool at_start) {
    std::string buffer;
    return std::string(marked.run(text, at_start, buffer));
  };
  auto gemma = MarkedText::of(mark, {}, "T");
  ASSERT_TRUE(gemma);
  EXPECT_EQ(run(*gemma, "a b\u2581c", true), "a b c");
  EXPECT_EQ(run(*MarkedText::of(prepend, {}, "T"), " a", false), "  a");
  auto first = MarkedText::of(Normalizer(), {metaspace(kFirst, false), split("\\[A\\]|and", true)}, "T");
  ASSERT_TRUE(first);
  EXPECT_EQ(run(*first, "a", true), " a");
  EXPECT_EQ(run(*first, "a", false), "a");
  EXPECT_EQ(run(*first, "\u2581a", true), " a");
  EXPECT_TRUE(MarkedText::of(Normalizer(), {metaspace(kAlways, true)}, "T")->split());
  EXPECT_FALSE(MarkedText::of(Normalizer(), {}, "T"));  // spaces stay
  EXPECT_FALSE(MarkedText::of(nfkc_last, {}, "T"));
  EXPECT_FALSE(MarkedText::of(prepend, {metaspace(kAlways, false)}, "T"));
  for (const char* pattern : {"a b", "\\s", "a.", "[a]", "a||b", "\u2581", "a|", "\\p{L}"})
    EXPECT_FALSE(MarkedText::of(mark, {split(pattern, true)}, "T")) << pattern;
  EXPECT_TRUE(spaces_vanish(mark, {}));
  EXPECT_FALSE(spaces_vanish(nfkc_last, {}));  // a no-break space becomes a space
  EXPECT_TRUE(spaces_vanish(nfkc_last, {metaspace(kNever, true)}));
  std::vector<Stage> stages = {split(" ", false)};
  drop_idle_stages(Normalizer(), stages);
  EXPECT_EQ(stages.size(), 1u);
  drop_idle_stages(mark, stages);
  EXPECT_EQ(stages.size(), 0u);
}

TEST(Decoder, StepsAsTokenizersHasThem) {
  using Type = Decoder::Step::Type;
  Decoder llama({{.type = Type::kReplace, .pattern = "\u2581", .content = " "},
                 {.type = Type::kByteFallback},
                 {.type = Type::kFuse},
                 {.type = Type::kStrip, .pattern = " ", .start = 1}});
  EXPECT_EQ(llama.run({"\u2581\u2581a", "<0xC3>", "<0xA9>", "\u2581b"}), " a\u00e9 b");
  EXPECT_EQ(llama.run({"<0xC3>", "a"}), "\ufffda");
  EXPECT_EQ(llama.run({"<0xC3>", "<0xC3>"}), "\ufffd\ufffd");
  EXPECT_EQ(llama.run({"<0x+A>", "<0xG1>", "<0x1>"}), "\n<0xG1><0x1>");
  EXPECT_EQ(llama.run({}), "");
  Decoder strip({{.type = Type::kStrip, .pattern = "x", .start = 1, .stop = 2}});
  EXPECT_EQ(strip.run({"xxaxxx", "x", ""}), "xax");
  Decoder drops({{.type = Type::kMetaspace, .pattern = "_"}});
  EXPECT_EQ(drops.run({"_a_b", "_c"}), "ab c");
  Decoder keeps({{.type = Type::kMetaspace, .pattern = "_", .drop_first = false}});
  EXPECT_EQ(keeps.run({"_a", "_c"}), " a c");
  EXPECT_EQ(Decoder(std::vector<Decoder::Step>{{.type = Type::kByteLevel}}).run({"\u0120a", "\u00c3", "\u00a9"}),
            " a\u00e9");
}

}  // namespace
}  // namespace gavel

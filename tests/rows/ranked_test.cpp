// Rows that are made of several answers to one prompt, and of single ones.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "data/split.h"
#include "data/test_support.h"
#include "rows/preferences.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/** "A>B" and the like of a row's label. */
std::string told(const PreferenceRow& row) {
  const std::string a = row.response_a.back(), b = row.response_b.back();
  return row.label[0] == 1 ? a + ">" + b : row.label[1] == 1 ? a + "<" + b : row.label[2] == 1 ? a + "=" + b : "?";
}
std::vector<std::string> told(const PreferenceData& data) {
  std::vector<std::string> out;
  for (const PreferenceRow& row : data.rows) out.push_back(told(row));
  return out;
}

TEST(Ranked, ScoresAndRanksBecomeAllPairs) {
  TempFolder folder;
  ReadOptions options{.format = Format::kRanked};
  options.score_margin = 2;
  options.columns.weight = "w";
  auto path = folder.write("a.jsonl",
                           R"({"id": "x", "prompt": "p", "responses": ["a", "b", "c"], "scores": [1, 3, 1], "w": 1.5}
{"prompt": "q", "responses": ["d", "e"], "scores": [0.5, "0.25"], "w": 1}
)");
  PreferenceData data = read_preferences(path, options);
  EXPECT_THAT(told(data), ElementsAre("a<b", "a=c", "b>c", "d>e"));
  EXPECT_EQ(data.rows[0].id, "x:1:2");
  EXPECT_EQ(data.rows[2].id, "x:2:3");
  EXPECT_EQ(data.rows[3].id, "2:1:2");
  EXPECT_EQ(data.rows[3].source_row, 2);
  // A prompt's pairs share its weight.
  for (size_t i : {0, 1, 2}) EXPECT_EQ(data.rows[i].weight, 0.5f);
  EXPECT_EQ(data.rows[3].weight, 1);
  EXPECT_EQ(data.rows[0].margin, 4);
  EXPECT_EQ(data.rows[1].margin, 0);
  EXPECT_EQ(data.rows[3].margin, 0.5f);
  options.ties = Ties::kHalfEach;
  EXPECT_THAT(read_preferences(path, options).rows[1].label, ElementsAre(0.5f, 0.5f, 0));

  options = {.format = Format::kRanked};
  data = read_preferences(
      folder.write("b.jsonl", "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\", \"c\"], \"ranks\": [2, 1, 3]}"),
      options);
  EXPECT_THAT(told(data), ElementsAre("a<b", "a>c", "b>c"));
  // All pairs of a prompt are on one side of a split.
  std::string many;
  for (int i = 0; i < 40; ++i)
    many += fmt::format("{{\"prompt\": \"p{}\", \"responses\": [\"a\", \"b\", \"c\"], \"scores\": [1, 2, {}]}}\n", i,
                        i % 4);
  data = read_preferences(folder.write("many.jsonl", many), options);
  ASSERT_EQ(data.rows.size(), 120u);
  Split split = split_rows(row_keys(data.rows), 0.25, 3);
  EXPECT_EQ(split.valid.size(), 30u);
  std::map<std::string, int> valid;
  for (int64_t row : split.valid) ++valid[data.rows[static_cast<size_t>(row)].prompt[0]];
  for (const auto& [prompt, pairs] : valid) EXPECT_EQ(pairs, 3) << prompt;
}

TEST(Ranked, AnswersMayBeMessages) {
  TempFolder folder;
  ReadOptions options{.format = Format::kRanked};
  auto path = folder.write(
      "a.jsonl",
      R"({"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": "v"}], "responses": [[{"role": "assistant", "content": "x"}], "y"], "scores": [2, 1]}
{"responses": [[{"role": "user", "content": "u"}, {"role": "assistant", "content": "x"}], [{"role": "user", "content": "u"}, {"role": "assistant", "content": "z"}]], "scores": [1, 2]}
)");
  PreferenceData data = read_preferences(path, options);
  ASSERT_EQ(data.rows.size(), 2u);
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("s\n\nu", "v"));
  EXPECT_THAT(data.rows[0].response_a, ElementsAre("1", "x"));
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("1", "y"));
  EXPECT_THAT(data.rows[1].prompt, ElementsAre("u"));
  EXPECT_EQ(told(data.rows[1]), "x<z");
}

TEST(Ranked, UltraFeedbacksCompletions) {
  TempFolder folder;
  auto path = folder.write(
      "a.jsonl",
      R"({"source": "s", "instruction": "i", "models": ["m", "n"], "completions": [{"model": "m", "response": "a", "overall_score": 7.5, "fine-grained_score": 1}, {"model": "n", "response": "b", "overall_score": 8.0, "fine-grained_score": 4}]}
{"instruction": "j", "completions": [{"response": "c", "fine-grained_score": 4}, {"response": "d", "fine-grained_score": 3.5}, {"response": "e"}]}
)");
  PreferenceData data = read_preferences(path, {.format = Format::kRanked});
  EXPECT_THAT(told(data), ElementsAre("a<b", "c>d"));
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("i"));
  EXPECT_EQ(data.report[Oddity::kBadLabel].rows, 2) << "the pairs of an answer without a score";
}

TEST(Ranked, WhatIsNoRankingIsNamed) {
  TempFolder folder;
  ReadOptions options{.format = Format::kRanked, .strict = true};
  auto error = [&](const std::string& row) {
    return error_of([&] { read_preferences(folder.write("a.jsonl", "{\"prompt\": \"p\", " + row + "}\n"), options); });
  };
  EXPECT_THAT(error(R"("responses": ["a", "b"], "scores": [1])"),
              HasSubstr("a.jsonl: row 1 (id 1): cells that can't be read as turns: key 'scores': expected a list of 2 "
                        "numbers, one for each answer"));
  EXPECT_THAT(error(R"("responses": ["a"], "scores": [1])"), HasSubstr("expected 2 to 32 answers, found 1"));
  EXPECT_THAT(error(R"("responses": "a", "scores": [1])"), HasSubstr("key 'responses': expected a list of answers"));
  EXPECT_THAT(error(R"("responses": ["a", "b"], "scores": [1, null])"), HasSubstr("missing or impossible labels"));
  EXPECT_THAT(error(R"("responses": ["a", "b"])"), HasSubstr("expected a key 'scores'"));
  EXPECT_THAT(error(R"("scores": [1, 2])"), HasSubstr("expected a key 'responses'"));
  EXPECT_THAT(error_of([&] { read_preferences(folder.write("a.csv", "prompt,responses,scores\np,a,1\n"), options); }),
              HasSubstr("give JSONL or Parquet"));
  options.purpose = Purpose::kPredict;
  PreferenceData data =
      read_preferences(folder.write("b.jsonl", R"({"prompt": "p", "responses": ["a", "b", "c"]})"), options);
  EXPECT_EQ(data.rows.size(), 3u);
  EXPECT_FALSE(data.has_labels);
}

TEST(HelpSteer3, PreferencesAreLabelsAndMargins) {
  TempFolder folder;
  ReadOptions options{.format = Format::kHelpSteer3};
  auto row = [](const std::string& preference) {
    return R"({"domain": "code", "context": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": "v"}], "response1": "a", "response2": "b", "overall_preference": )" +
           preference + "}\n";
  };
  auto path = folder.write("a.jsonl", row("-3") + row("0") + row("2") + row("null"));
  PreferenceData data = read_preferences(path, options);
  EXPECT_THAT(told(data), ElementsAre("a>b", "a=b", "a<b"));
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("u", "v"));
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("1", "b"));
  EXPECT_EQ(data.rows[0].margin, 0);
  EXPECT_EQ(data.report[Oddity::kBadLabel].rows, 1);
  options.score_margin = 0.5;
  data = read_preferences(path, options);
  EXPECT_EQ(data.rows[0].margin, 1.5f);
  EXPECT_EQ(data.rows[2].margin, 1);
}

TEST(Scored, OneAnswerWithANumber) {
  TempFolder folder;
  ReadOptions options{.format = Format::kScored};
  PreferenceData data =
      read_preferences(folder.write("a.csv", "prompt,response,score\np,a,3.5\nq,b,\nr,c,-1\np,a,2\n"), options);
  ASSERT_EQ(data.rows.size(), 3u);
  EXPECT_EQ(data.rows[0].score, 3.5f);
  EXPECT_EQ(data.rows[1].score, -1);
  EXPECT_THAT(data.rows[0].response_a, ElementsAre("a"));
  EXPECT_TRUE(data.rows[0].response_b.empty());
  EXPECT_FALSE(data.rows[0].has_label);
  EXPECT_TRUE(data.has_labels);
  EXPECT_EQ(data.report[Oddity::kBadLabel].rows, 1);
  EXPECT_EQ(data.report[Oddity::kContradictory].rows, 1);
  EXPECT_EQ(data.report[Oddity::kIdentical].rows, 0);
  options.unit_scores = true;
  options.columns.score = "helpful";
  const std::string row = R"({"prompt": [{"role": "user", "content": "p"}], "response": "a", "helpful": )";
  data = read_preferences(folder.write("b.jsonl", row + "true}\n" + row + "0.25}\n"), options);
  EXPECT_EQ(data.rows.at(0).score, 1);
  EXPECT_EQ(data.rows.at(1).score, 0.25f);
  EXPECT_THAT(error_of([&] { read_preferences(folder.write("c.jsonl", row + "1}\n" + row + "1.5}\n"), options); }),
              HasSubstr("c.jsonl: row 2: 'helpful' is the answer's score: expected a number from 0 to 1, found '1.5'"));
  EXPECT_THAT(error_of([&] { read_preferences(folder.write("d.jsonl", "{\"response\": \"a\"}\n"), options); }),
              HasSubstr("expected a key 'helpful'"));
  options.purpose = Purpose::kPredict;
  EXPECT_TRUE(
      std::isnan(read_preferences(folder.write("d.jsonl", "{\"response\": \"a\"}\n"), options).rows.at(0).score));
}

}  // namespace
}  // namespace gavel

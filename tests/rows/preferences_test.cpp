#include "rows/preferences.h"

#include <gmock/gmock.h>

#include <map>

#include "base/error.h"
#include "base/random.h"
#include "data/split.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kHeader =
    "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n";

std::string lmsys(std::string_view rows) {
  return std::string(kHeader) + std::string(rows);
}

int64_t rows_with(const PreferenceData& data, Oddity oddity) {
  return data.report[oddity].rows;
}

TEST(Preferences, LmsysRows) {
  TempFolder folder;
  auto path = folder.write(
      "a.csv", lmsys("7,x,y,\"[\"\"p\"\",\"\"q\"\"]\",\"[\"\"a\"\",\"\"b\"\"]\",\"[\"\"c\"\",null]\",0,1,0\r\n"
                     "8,x,y,\"[\"\"p2\"\"]\",\"[\"\"a\"\"]\",\"[\"\"c\"\"]\",0.5,0.3,0.2\n"));
  PreferenceData data = read_preferences(path, {});
  ASSERT_EQ(data.rows.size(), 2u);
  EXPECT_TRUE(data.has_labels);
  EXPECT_EQ(data.rows[0].id, "7");
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("p", "q"));
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("c", ""));
  EXPECT_THAT(data.rows[0].label, ElementsAre(0, 1, 0));
  EXPECT_THAT(data.rows[1].label, ElementsAre(0.5f, 0.3f, 0.2f));
  EXPECT_EQ(data.rows[1].source_row, 2);
  PreferenceRow other = swapped(data.rows[1]);
  EXPECT_THAT(other.response_a, ElementsAre("c"));
  EXPECT_THAT(other.label, ElementsAre(0.3f, 0.5f, 0.2f));
}

TEST(Preferences, EachOddityIsCounted) {
  TempFolder folder;
  auto path =
      folder.write("odd.csv", lmsys("1,x,y,\"[\"\"p\"\"]\",[null],[null],1,0,0\n"
                                    "2,x,y,\"[\"\"p\"\"]\",[null],\"[\"\"b\"\"]\",0,1,0\n"
                                    "3,x,y,\"[\"\"p \\ud83d\"\"]\",\"[\"\"\"\"]\",\"[\"\"b\"\"]\",0,1,0\n"
                                    "4,x,y,\"[\"\"p \xFF\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\",\"\"c\"\"]\",0,1,0\n"
                                    "5,x,y,plain text,\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",0,1,0\n"
                                    "6,x,y,\"[\"\"p6\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",0,0,0\n"
                                    "7,x,y,\"[\"\"p7\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",2,1,1\n"
                                    "8,x,y,\"[\"\"p8\"\"]\",\"[\"\"a\"\"]\",\"[\"\"a\"\"]\",0,0,1\n"
                                    "9,x,y,\"[\"\"p7\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",2,1,1\n"
                                    "10,x,y,\"[\"\"p7\"\"]\",\"[\"\"b\"\"]\",\"[\"\"a\"\"]\",1,0,0\n"
                                    "11,x,y,\"[\"\"p7\"\"]\",\"[\"\"b\"\"]\",\"[\"\"a\"\"]\",1,2,1\n"
                                    "12,x,y,\"[\"\"p12\"\"]\",\"[\"\"b\"\"]\",\"[\"\"a\"\"]\",x,,-1\n"));
  PreferenceData data = read_preferences(path, {});
  EXPECT_EQ(data.report.rows_read, 12);
  EXPECT_EQ(data.report.rows_kept, 8);
  EXPECT_EQ(rows_with(data, Oddity::kBothNull), 1);
  EXPECT_EQ(data.report[Oddity::kBothNull].dropped, 1);
  EXPECT_EQ(rows_with(data, Oddity::kNullTurn), 2);
  EXPECT_EQ(data.report[Oddity::kNullTurn].occurrences, 3);
  EXPECT_EQ(rows_with(data, Oddity::kEmptyResponse), 2);
  EXPECT_EQ(rows_with(data, Oddity::kLoneSurrogate), 1);
  EXPECT_EQ(rows_with(data, Oddity::kInvalidUtf8), 1);
  EXPECT_EQ(rows_with(data, Oddity::kUnequalTurns), 1);
  EXPECT_EQ(rows_with(data, Oddity::kNotJson), 1);
  EXPECT_EQ(data.report[Oddity::kNotJson].dropped, 1);
  EXPECT_EQ(rows_with(data, Oddity::kBadLabel), 2);
  EXPECT_EQ(data.report[Oddity::kBadLabel].dropped, 2);
  EXPECT_EQ(rows_with(data, Oddity::kLabelSum), 3);
  EXPECT_EQ(rows_with(data, Oddity::kIdentical), 2);  // both null, and row 8
  EXPECT_EQ(rows_with(data, Oddity::kDuplicate), 2);  // row 9, and row 11, which is its exchange
  EXPECT_THAT(data.report[Oddity::kContradictory].first_rows, ElementsAre(10));
  EXPECT_THAT(data.rows[4].label, ElementsAre(0, 0, 1));
  EXPECT_THAT(data.rows[3].label, ElementsAre(0.5f, 0.25f, 0.25f));
  EXPECT_THAT(data.report.format(), HasSubstr("12 rows read, 8 kept"));
  EXPECT_THAT(data.report.format(), HasSubstr("lone surrogates"));

  EXPECT_EQ(read_preferences(path, {.drop_duplicates = true}).rows.size(), 6u);
  EXPECT_THAT(error_of([&] { read_preferences(path, {.strict = true}); }),
              HasSubstr("odd.csv: row 1 (id 1): both responses null"));
  // For prediction every row stays, in order.
  PreferenceData all = read_preferences(path, {.purpose = Purpose::kPredict});
  ASSERT_EQ(all.rows.size(), 12u);
  EXPECT_THAT(all.rows[4].prompt, ElementsAre("plain text"));
  EXPECT_FALSE(all.rows[5].has_label);
}

TEST(Preferences, WeightsAreAColumnOfAnyFormat) {
  TempFolder folder;
  ReadOptions options{.format = Format::kWsdm};
  options.columns.weight = "w";
  auto read = [&](const std::string& name, const std::string& text) {
    return read_preferences(folder.write(name, text), options);
  };
  const std::string header = "id,prompt,response_a,response_b,winner,w\n";
  PreferenceData data = read("a.csv", header + "1,p,a,b,model_a,0.5\n2,p,c,d,tie,0\n3,q,a,b,model_b,2e1\n");
  ASSERT_EQ(data.rows.size(), 2u);
  EXPECT_EQ(data.rows[0].weight, 0.5f);
  EXPECT_EQ(data.rows[1].weight, 20);
  EXPECT_EQ(data.report[Oddity::kZeroWeight].dropped, 1);
  EXPECT_THAT(data.report[Oddity::kZeroWeight].first_rows, ElementsAre(2));

  const std::string row = R"({"prompt": "p", "chosen": "a", "rejected": "b")";
  options.format = Format::kChosen;
  data = read("a.jsonl", row + ", \"w\": 3}\n" + row + ", \"w\": \"0.25\"}\n");
  EXPECT_EQ(data.rows.at(0).weight, 3);
  EXPECT_EQ(data.rows.at(1).weight, 0.25f);
  EXPECT_THAT(error_of([&] { read("b.jsonl", row + ", \"w\": 1}\n" + row + "}\n"); }),
              HasSubstr("b.jsonl: row 2: 'w' is the row's weight (data.columns.weight): expected a number of 0 or "
                        "more, found ''"));
  EXPECT_THAT(error_of([&] { read("c.jsonl", row + ", \"w\": [1]}\n"); }), HasSubstr("found '[1]'"));

  options.format = Format::kWsdm;
  for (const char* bad : {"-1", "nan", "", "inf", "x", "1e40"})
    EXPECT_THAT(error_of([&] { read("b.csv", header + "1,p,a,b,tie,1\n2,p,a,b,tie," + bad + "\n"); }),
                HasSubstr(fmt::format("b.csv: row 2: 'w' is the row's weight (data.columns.weight): expected a number "
                                      "of 0 or more, found '{}'",
                                      bad)));
  EXPECT_THAT(error_of([&] { read("c.csv", header + "1,p,a,b,tie,0\n2,q,a,b,tie,0\n"); }),
              HasSubstr("no row is left after cleaning:\n2 rows read, 0 kept\n  rows of weight 0"));
  EXPECT_THAT(error_of([&] { read("d.csv", "id,prompt,response_a,response_b,winner\n1,p,a,b,tie\n"); }),
              HasSubstr("d.csv: expected a column 'w'"));
  // Nothing is weighed in prediction.
  options.purpose = Purpose::kPredict;
  EXPECT_EQ(read("e.csv", header + "1,p,a,b,tie,-1\n").rows.at(0).weight, 1);
  EXPECT_EQ(read("d.csv", "id,prompt,response_a,response_b,winner\n1,p,a,b,tie\n").rows.size(), 1u);
}

TEST(Preferences, MarginsAreAColumnOrTheScoresDifference) {
  TempFolder folder;
  ReadOptions options{.format = Format::kChosen};
  options.columns.margin = "m";
  const std::string row = R"({"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 8.5, "score_rejected": 6)";
  PreferenceData data = read_preferences(folder.write("a.jsonl", row + ", \"m\": 1.5}\n"), options);
  EXPECT_EQ(data.rows.at(0).margin, 1.5f);
  EXPECT_THAT(error_of([&] { read_preferences(folder.write("b.jsonl", row + ", \"m\": -2}\n"), options); }),
              HasSubstr("row 1: 'm' is the pair's margin (data.columns.margin): expected a number of 0 or more, found "
                        "'-2'"));
  options.columns.margin.clear();
  options.score_margin = 0.5;
  auto path = folder.write("c.jsonl",
                           row + "}\n" + R"({"chosen": "a", "rejected": "b", "score_chosen": 3, "score_rejected": 4})");
  data = read_preferences(path, options);
  EXPECT_EQ(data.rows.at(0).margin, 1.25f);
  EXPECT_EQ(data.rows.at(1).margin, 0) << "chosen against the scores";
  EXPECT_THAT(error_of([&] {
                read_preferences(folder.write("d.jsonl", "{\"chosen\": \"a\", \"rejected\": \"b\"}\n"), options);
              }),
              HasSubstr("row 1: 'score_chosen' is a score (reward.score_margin): expected a number, found ''"));
  options.purpose = Purpose::kPredict;
  EXPECT_EQ(read_preferences(path, options).rows.at(0).margin, 0);
}

TEST(Preferences, FilesWithoutLabelsAreForPredictionOnly) {
  TempFolder folder;
  auto path = folder.write("test.csv", "id,prompt,response_a,response_b\n1,\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",[null]\n");
  PreferenceData data = read_preferences(path, {.purpose = Purpose::kPredict});
  EXPECT_FALSE(data.has_labels);
  EXPECT_FALSE(data.rows.at(0).has_label);
  EXPECT_THAT(error_of([&] { read_preferences(path, {}); }), HasSubstr("expected a column 'winner_model_a'"));
}

TEST(Preferences, BrokenFilesAreErrorsThatSayWhere) {
  TempFolder folder;
  auto error = [&](std::string_view name, std::string_view text) {
    return error_of([&] { read_preferences(folder.write(std::string(name), text), {}); });
  };
  EXPECT_THAT(error("e.csv", ""), HasSubstr("e.csv: the file is empty"));
  EXPECT_THAT(error("h.csv", kHeader), HasSubstr("h.csv: no rows"));
  EXPECT_THAT(error("c.csv", "id,prompt,response_a,respons_b\n1,2,3,4\n"),
              HasSubstr("expected a column 'response_b', found id, prompt, response_a, respons_b (did you mean"));
  EXPECT_THAT(error("d.csv", "prompt,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"),
              HasSubstr("names the column 'prompt' twice"));
  EXPECT_THAT(error("n.csv", lmsys("1,x,y,p,a,b,1,0,0\n2,x,y,\"[\"\"p\"\"]\",[null],[null],1,0,0\n")),
              HasSubstr("no row is left after cleaning"));
  EXPECT_THAT(error("q.csv", lmsys("1,x,y,\"[p,a,b,1,0,0\n")), HasSubstr("never closed"));
  EXPECT_THAT(error("z.csv", "\x1F\x8B\x08"), HasSubstr("gzip"));
  EXPECT_THAT(error("p.parquet", "PAR1xxxx"), HasSubstr("Parquet"));
  EXPECT_THAT(
      error("l.jsonl", "{\"prompt\": \"p\", \"winner_model_a\": 1, \"winner_model_b\": 0, \"winner_tie\": 0}\n"),
      HasSubstr("l.jsonl: row 1: expected a key 'response_a'"));
  EXPECT_THAT(error("t.jsonl",
                    "{\"prompt\":\"p\",\"response_a\":\"a\",\"response_b\":\"b\",\"winner_model_a\":1,"
                    "\"winner_model_b\":0,\"winner_tie\":0}\n{\"prompt\": \"tor"),
              HasSubstr("t.jsonl: row 2: expected a JSON object"));
  EXPECT_THAT(error_of([&] { read_preferences(folder / "absent.csv", {}); }), HasSubstr("absent.csv: can't be opened"));
}

TEST(Preferences, WsdmAndGenericColumns) {
  TempFolder folder;
  auto wsdm = folder.write("w.csv",
                           "id,prompt,response_a,response_b,winner,model_a,model_b,language\n"
                           "a1,\"say \"\"hi\"\"\",hi,[no],model_b,x,y,English\n"
                           "a2,p,a,b,tie,x,y,English\n");
  PreferenceData data = read_preferences(wsdm, {.format = Format::kWsdm});
  EXPECT_THAT(data.rows.at(0).prompt, ElementsAre("say \"hi\""));
  EXPECT_THAT(data.rows.at(0).response_b, ElementsAre("[no]"));
  EXPECT_THAT(data.rows.at(0).label, ElementsAre(0, 1, 0));
  EXPECT_THAT(data.rows.at(1).label, ElementsAre(0, 0, 1));

  auto generic = folder.write("g.csv", "q,left,right,l,r,t\nask,one,two,0.25,0.75,0\n");
  ReadOptions options{.format = Format::kGeneric,
                      .columns = {.prompt = "q",
                                  .response_a = "left",
                                  .response_b = "right",
                                  .label_a = "l",
                                  .label_b = "r",
                                  .label_tie = "t"},
                      .cells = Cells::kText};
  data = read_preferences(generic, options);
  EXPECT_EQ(data.rows.at(0).id, "1");
  EXPECT_THAT(data.rows.at(0).label, ElementsAre(0.25f, 0.75f, 0));
}

TEST(Preferences, JsonLines) {
  TempFolder folder;
  auto path = folder.write("a.jsonl",
                           "\xEF\xBB\xBF{\"id\":5,\"prompt\":[\"p\",null],\"response_a\":\"plain\","
                           "\"response_b\":\"[\\\"x\\\",\\\"y\\\"]\","
                           "\"winner_model_a\":1,\"winner_model_b\":0,\"winner_tie\":0}\r\n\n"
                           "{\"id\":\"six\",\"prompt\":\"\\ud83d\",\"response_a\":null,\"response_b\":[null],"
                           "\"winner_model_a\":true,"
                           "\"winner_model_b\":false,\"winner_tie\":\"0\"}\n"
                           "{\"prompt\":\"\xFF\",\"response_a\":[1],\"response_b\":\"b\",\"winner_model_a\":"
                           "0.5,\"winner_model_b\":0.5,"
                           "\"winner_tie\":0}\n");
  PreferenceData data = read_preferences(path, {});
  ASSERT_EQ(data.rows.size(), 1u);
  EXPECT_EQ(data.rows[0].id, "5");
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("p", ""));
  EXPECT_THAT(data.rows[0].response_a, ElementsAre("plain"));
  // A string is a list of turns only where all of the row's are.
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("[\"x\",\"y\"]"));
  EXPECT_EQ(rows_with(data, Oddity::kBothNull), 1);
  EXPECT_EQ(rows_with(data, Oddity::kLoneSurrogate), 1);
  EXPECT_EQ(rows_with(data, Oddity::kInvalidUtf8), 1);
  EXPECT_EQ(rows_with(data, Oddity::kNotJson), 1);
}

/** The only row of a JSONL file with the columns prompt, chosen and rejected. */
PreferenceRow chosen_row(std::string_view line) {
  TempFolder folder;
  ReadOptions options;
  options.format = Format::kChosen;
  options.strict = true;
  return read_preferences(folder.write("a.jsonl", line), options).rows.at(0);
}

TEST(Preferences, ChosenAndRejectedInTheLayoutsThatPeopleHave) {
  // RewardBench, and preferences of plain texts.
  PreferenceRow row = chosen_row(R"({"prompt": "p", "chosen": "good", "rejected": "[bad]", "subset": "x", "id": 7})");
  EXPECT_EQ(row.id, "7");
  EXPECT_THAT(row.prompt, ElementsAre("p"));
  EXPECT_THAT(row.response_a, ElementsAre("good"));
  EXPECT_THAT(row.response_b, ElementsAre("[bad]"));
  EXPECT_THAT(row.label, ElementsAre(1, 0, 0));
  // UltraFeedback: whole conversations beside the prompt; Skywork's have no prompt.
  const std::string user = R"({"role": "user", "content": "p"})";
  auto says = [](const char* text) { return fmt::format(R"({{"role": "assistant", "content": "{}"}})", text); };
  for (const char* prompt : {R"("prompt": "p", )", ""}) {
    row = chosen_row(fmt::format(R"({{{}"chosen": [{}, {}], "rejected": [{}, {}]}})", prompt, user, says("good"), user,
                                 says("bad")));
    EXPECT_THAT(row.prompt, ElementsAre("p"));
    EXPECT_THAT(row.response_a, ElementsAre("good"));
    EXPECT_THAT(row.response_b, ElementsAre("bad"));
  }
  // TRL's explicit prompt: messages on both sides.
  row = chosen_row(fmt::format(
      R"({{"prompt": [{{"role": "system", "content": "be brief"}}, {}], "chosen": [{}], "rejected": [{}]}})", user,
      says("good"), says("bad")));
  EXPECT_THAT(row.prompt, ElementsAre("be brief\n\np"));
  EXPECT_THAT(row.response_a, ElementsAre("good"));
  // Several rounds, the last of which differs.
  row = chosen_row(fmt::format(R"({{"chosen": [{}, {}, {}, {}], "rejected": [{}, {}, {}, {}]}})", user, says("first"),
                               user, says("good"), user, says("first"), user, says("bad")));
  EXPECT_THAT(row.prompt, ElementsAre("p", "p"));
  EXPECT_THAT(row.response_a, ElementsAre("first", "good"));
  EXPECT_THAT(row.response_b, ElementsAre("first", "bad"));
  // A history in the prompt.
  row = chosen_row(
      fmt::format(R"({{"prompt": [{}, {}, {}], "chosen": "good", "rejected": "bad"}})", user, says("first"), user));
  EXPECT_THAT(row.response_a, ElementsAre("first", "good"));
  // Old conversations as one text.
  row = chosen_row(R"({"chosen": "\n\nHuman: p\n\nAssistant: good", "rejected": "\n\nHuman: p\n\nAssistant: bad"})");
  EXPECT_THAT(row.prompt, ElementsAre(""));
  EXPECT_THAT(row.response_a, ElementsAre("\n\nHuman: p\n\nAssistant: good"));
  TempFolder folder;
  ReadOptions options;
  options.format = Format::kChosen;
  row = read_preferences(folder.write("a.csv", "prompt,chosen,rejected\np,[x],y\n"), options).rows.at(0);
  EXPECT_THAT(row.response_a, ElementsAre("[x]"));
  EXPECT_THAT(row.label, ElementsAre(1, 0, 0));
}

TEST(Preferences, MessagesThatAreNoConversationAreNamed) {
  auto problem = [](std::string_view line) -> std::string {
    try {
      chosen_row(line);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(problem(R"({"chosen": [{"role": "user"}], "rejected": "b"})"),
              HasSubstr("'user' has a content that is no text"));
  EXPECT_THAT(problem(R"({"chosen": [{"role": "tool", "content": "x"}], "rejected": "b"})"),
              HasSubstr("a message of 'tool'"));
  EXPECT_THAT(problem(R"({"chosen": [3], "rejected": "b"})"), HasSubstr("expected messages"));
  EXPECT_THAT(problem(R"({"chosen": [{"role": "user", "content": "x"}], "rejected": "b"})"),
              HasSubstr("the assistant says nothing"));
  EXPECT_THAT(problem(R"({"prompt": "p", "chosen": "a"})"), HasSubstr("expected a key 'rejected'"));
  EXPECT_THAT(
      problem(
          R"({"chosen": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "y"}, {"role": "assistant", "content": "b"}]})"),
      HasSubstr("different messages of the user"));
}

TEST(Preferences, WrittenFilesReadBack) {
  TempFolder folder;
  std::vector<PreferenceRow> rows(2);
  rows[0] = {"1", {"p \"x\", y"}, {"a\nb"}, {"c\\d"}, {1, 0, 0}, true, 1};
  rows[1] = {"2", {"p", "q"}, {"", "é"}, {"😀", "z"}, {0.25f, 0.25f, 0.5f}, true, 2};
  write_lmsys_csv(folder / "w.csv", rows);
  PreferenceData data = read_preferences(folder / "w.csv", {.strict = true});
  ASSERT_EQ(data.rows.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(data.rows[i].prompt, rows[i].prompt);
    EXPECT_EQ(data.rows[i].response_a, rows[i].response_a);
    EXPECT_EQ(data.rows[i].response_b, rows[i].response_b);
    EXPECT_EQ(data.rows[i].label, rows[i].label);
  }
}

TEST(Preferences, WinnersAreReadInTheSpellingsThatPeopleHave) {
  TempFolder folder;
  const std::string header = "prompt,response_a,response_b,winner\n";
  auto label = [&](const std::string& winner, Spellings more = {}) {
    auto path = folder.write("w.csv", header + "p,a,b," + winner + "\n");
    ReadOptions options{.format = Format::kWsdm, .spellings = std::move(more), .purpose = Purpose::kPredict};
    PreferenceRow row = read_preferences(path, options).rows.at(0);
    return row.has_label ? row.label : std::array<float, 3>{};
  };
  using Label = std::array<float, 3>;
  for (const char* a : {"model_a", "Model A", "A", "[[A]]", "MODEL-A", "model_1", "Response 1", "first", "left"})
    EXPECT_EQ(label(a), (Label{1, 0, 0})) << a;
  for (const char* b : {"model_b", "b", "model_2", "answer_b", "Second", "RIGHT", " model_b "})
    EXPECT_EQ(label(b), (Label{0, 1, 0})) << b;
  for (const char* tie : {"tie", "Tie", "TIE", "draw", "both_bad", "bothbad", "tie (bothbad)", "tie(bothbad)",
                          "Both Bad", "tie (both bad)", "equal"})
    EXPECT_EQ(label(tie), (Label{0, 0, 1})) << tie;
  // Which answer a number means differs from file to file; nobody's name is a vote.
  for (const char* unknown : {"0", "1", "2", "", "None", "nan", "gpt-4", "model_0", "model_c", "-", "()"})
    EXPECT_EQ(label(unknown), Label{}) << unknown;
  const Spellings numbers{.a = {"1"}, .b = {"2"}, .tie = {"0", "Unentschieden"}};
  EXPECT_EQ(label("1", numbers), (Label{1, 0, 0}));
  EXPECT_EQ(label("2.0", numbers), (Label{0, 1, 0}));  // as pandas writes a 2 beside a gap
  EXPECT_EQ(label("0", numbers), (Label{0, 0, 1}));
  EXPECT_EQ(label("unentschieden", numbers), (Label{0, 0, 1}));
  EXPECT_EQ(label("3", numbers), Label{});
}

TEST(Preferences, TooManyUnusableRowsAreAnErrorThatNamesThem) {
  TempFolder folder;
  std::string text = "id,prompt,response_a,response_b,winner\n";
  for (int row = 0; row < 37; ++row) text += fmt::format("{0},p{0},a,b,model_a\n", row);
  auto path = folder.write("w.csv", text + "37,p,a,b,better\n38,q,a,b,worse\n39,r,a,b,better\n");
  ReadOptions options{.format = Format::kWsdm, .max_dropped = 0.07};
  const std::string error = error_of([&] { read_preferences(path, options); });
  EXPECT_THAT(error, HasSubstr("w.csv: 3 of 40 rows (7.5 %) can't be learnt from"));
  EXPECT_THAT(error, HasSubstr("more than data.max_dropped=0.07 allows"));
  EXPECT_THAT(error, HasSubstr("labels that are not known: 'better' (2), 'worse' (1)"));
  EXPECT_THAT(error, HasSubstr("data.spellings"));
  // At the limit it is a matter of the report, as before; copies that are dropped by wish do not count.
  options.max_dropped = 0.075;
  options.drop_duplicates = true;
  PreferenceData data = read_preferences(path, options);
  EXPECT_EQ(data.rows.size(), 37u);
  EXPECT_EQ(data.report.unusable_rows(), 3);
  EXPECT_THAT(data.report.unknown_labels, ElementsAre(testing::Pair("better", 2), testing::Pair("worse", 1)));
  EXPECT_THAT(data.report.format(), HasSubstr("labels that are not known: 'better' (2), 'worse' (1)"));
  for (int copies = 0; copies < 40; ++copies) text += "0,p0,a,b,model_a\n";
  options.max_dropped = 0;
  EXPECT_EQ(read_preferences(folder.write("d.csv", text), options).report[Oddity::kDuplicate].dropped, 40);
  // Null answers count too.
  const std::string header = lmsys("1,x,y,\"[\"\"p\"\"]\",[null],[null],1,0,0\n");
  EXPECT_THAT(error_of([&] {
                read_preferences(folder.write("n.csv", header + "2,x,y,\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",[null],1,0,0\n"),
                                 {.max_dropped = 0.4});
              }),
              HasSubstr("both responses null"));
}

TEST(Preferences, JsonAsPythonAndArraysWriteIt) {
  TempFolder folder;
  auto read = [&](std::string_view text, std::string_view name = "a.json") {
    return read_preferences(folder.write(std::string(name), text), {.format = Format::kWsdm, .max_dropped = 0}).rows;
  };
  // Of a key that is there twice the last counts, as for pandas and Python.
  auto rows =
      read(R"({"id":1,"prompt":"first","prompt":"p","response_a":"a","response_b":"b","winner":"tie","winner":"b"})");
  EXPECT_THAT(rows.at(0).prompt, ElementsAre("p"));
  EXPECT_THAT(rows.at(0).label, ElementsAre(0, 1, 0));
  // Ids keep all their digits.
  for (const char* id :
       {"123456789012345678901234567890", "18446744073709551615", "-9223372036854775808", "1e3", "12.50"}) {
    rows = read(fmt::format(R"({{"x": [{{"id": 5}}], "s": "\"id\": 4,", "id" : {} , "prompt":"p","response_a":"a",)"
                            R"("response_b":"b","winner":"a","n":NaN,"m":[-Infinity]}})",
                            id));
    EXPECT_EQ(rows.at(0).id, id);
  }
  // Texts that look like what is replaced stay.
  rows = read(
      R"({"prompt":"NaN, \"NaN\" 12345678901234567890123","response_a":"Infinity","response_b":"b","winner":"a","n":NaN})");
  EXPECT_THAT(rows.at(0).prompt, ElementsAre("NaN, \"NaN\" 12345678901234567890123"));
  EXPECT_THAT(rows.at(0).response_a, ElementsAre("Infinity"));
  // An array of objects, on lines or not.
  const std::string row = R"({"prompt":"p]}","response_a":"a\"{","response_b":"b","winner":"a"})";
  rows = read(" [\n" + row + ",\n" + row + "]\n");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_THAT(rows[1].response_a, ElementsAre("a\"{"));
  EXPECT_EQ(rows[1].source_row, 2);
  auto error = [&](const std::string& text) { return error_of([&] { read(text, "x.jsonl"); }); };
  EXPECT_THAT(error("[" + row + " " + row + "]"), HasSubstr("x.jsonl: row 2 of the JSON array: expected a comma or ]"));
  EXPECT_THAT(error("[" + row + ", 3]"), HasSubstr("row 2 of the JSON array: expected an object, found '3]'"));
  EXPECT_THAT(error("[" + row + ", {\"prompt\": 1"), HasSubstr("row 2 of the JSON array: expected the object's end"));
  EXPECT_THAT(error("[" + row), HasSubstr("expected a comma or ], found the file's end"));
  EXPECT_THAT(error("[" + row + "] x"), HasSubstr("expected the file's end after the array"));
  EXPECT_THAT(error("[]"), HasSubstr("the file is empty"));
}

TEST(Preferences, GzipFilesAreReadWhole) {
  TempFolder folder;
  std::string text = "id,prompt,response_a,response_b,winner\n";
  for (int row = 0; row < 3000; ++row)
    text += fmt::format("{0},p{0},a{1},b,model_a\n", row, mix64(static_cast<uint64_t>(row)));
  folder.write("w.csv", text.substr(0, 50000));
  folder.write("x.csv", text.substr(50000));
  const std::string name = (folder / "w.csv").string(), more = (folder / "x.csv").string();
  // Two members, as `cat a.gz b.gz` makes them.
  if (std::system(fmt::format("gzip {0} {1} && cat {1}.gz >> {0}.gz", name, more).c_str()) != 0)
    GTEST_SKIP() << "gzip is not here";
  ReadOptions options{.format = Format::kWsdm};
  PreferenceData data = read_preferences(name + ".gz", options);
  EXPECT_EQ(data.rows.size(), 3000u);
  EXPECT_EQ(data.rows.back().id, "2999");
  std::string packed = read_text(name + ".gz");
  EXPECT_THAT(
      error_of([&] { read_preferences(folder.write("t.csv.gz", packed.substr(0, packed.size() - 2000)), options); }),
      HasSubstr("t.csv.gz: the gzip file ends early"));
  packed[packed.size() / 2] ^= 0x55;
  EXPECT_THAT(error_of([&] { read_preferences(folder.write("d.csv.gz", packed), options); }),
              HasSubstr("d.csv.gz: a damaged gzip file"));
}

TEST(Preferences, ATieCanCountHalfForEach) {
  TempFolder folder;
  auto path = folder.write("a.csv",
                           "id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
                           "1,\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",0,0,1\n"
                           "2,\"[\"\"q\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",0.5,0.25,0.25\n"
                           "3,\"[\"\"r\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",1,0,0\n");
  ReadOptions options;
  options.ties = Ties::kHalfEach;
  auto rows = read_preferences(path, options).rows;
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].label, (std::array<float, 3>{0.5f, 0.5f, 0}));
  EXPECT_EQ(rows[1].label, (std::array<float, 3>{0.625f, 0.375f, 0}));
  EXPECT_EQ(rows[2].label, (std::array<float, 3>{1, 0, 0}));
}

TEST(RealData, EveryQuirkIsMet) {
  auto path = shared_file("data/quirks.csv");
  if (path.empty()) GTEST_SKIP() << "shared data is not here (GAVEL_SHARED)";
  PreferenceData data = read_preferences(path, {});
  EXPECT_EQ(data.report.rows_read, 18);
  EXPECT_EQ(data.report.rows_kept, 17);
  std::map<std::string, const PreferenceRow*> by_id;
  for (const auto& row : data.rows) by_id[row.id] = &row;
  EXPECT_FALSE(by_id.contains("1000"));
  EXPECT_THAT(by_id.at("1001")->response_a, ElementsAre(""));
  EXPECT_THAT(by_id.at("1002")->response_a, ElementsAre("a", ""));
  EXPECT_THAT(by_id.at("1004")->prompt, ElementsAre("x \uFFFD y"));
  EXPECT_THAT(by_id.at("1005")->response_a, ElementsAre("\uFFFD"));
  EXPECT_THAT(by_id.at("1006")->prompt, ElementsAre("😀"));
  EXPECT_THAT(by_id.at("1007")->prompt, ElementsAre("a \"quoted\" word\nnew line\ttab \\ back / slash"));
  EXPECT_THAT(by_id.at("1008")->prompt, ElementsAre("a\",\"b"));
  EXPECT_THAT(by_id.at("1012")->response_b, ElementsAre("]["));
  EXPECT_THAT(by_id.at("1013")->prompt, ElementsAre("line\r\nline"));
  EXPECT_THAT(by_id.at("1014")->prompt, ElementsAre(std::string("a\0b", 3)));
  EXPECT_GT(by_id.at("1015")->prompt.at(0).size(), 90000u);
  EXPECT_THAT(by_id.at("1017")->response_a, ElementsAre("null"));
  EXPECT_EQ(rows_with(data, Oddity::kBothNull), 1);
  EXPECT_EQ(rows_with(data, Oddity::kNullTurn), 3);
  EXPECT_EQ(rows_with(data, Oddity::kEmptyResponse), 2);
  EXPECT_EQ(rows_with(data, Oddity::kLoneSurrogate), 2);
  EXPECT_EQ(rows_with(data, Oddity::kUnequalTurns), 1);
  EXPECT_EQ(rows_with(data, Oddity::kNotJson), 0);

  PreferenceData split = read_preferences(path, {.cells = Cells::kSplit});
  EXPECT_EQ(split.report.rows_kept, 16);  // the string null goes too
  for (const auto& row : split.rows)
    if (row.id == "1007") {
      EXPECT_THAT(row.prompt, ElementsAre(R"(a \"quoted\" word\nnew line\ttab \\ back \/ slash)"));
    }
}

TEST(RealData, ArenaAndShortAreReadWhole) {
  auto arena = shared_file("data/arena.csv"), small = shared_file("data/short.csv");
  if (arena.empty() || small.empty()) GTEST_SKIP() << "shared data is not here (GAVEL_SHARED)";
  PreferenceData data = read_preferences(arena, {});
  EXPECT_EQ(data.report.rows_read, 6451);
  EXPECT_EQ(data.rows.size(), 6451u);
  EXPECT_EQ(rows_with(data, Oddity::kNotJson), 0);
  EXPECT_EQ(rows_with(data, Oddity::kBadLabel), 0);
  EXPECT_EQ(read_preferences(small, {}).rows.size(), 1000u);
  auto keys = row_keys(data.rows);
  Split split = split_rows(keys, 0.05, 2024);
  EXPECT_NEAR(static_cast<double>(split.valid.size()), 0.05 * 6451, 3);
}

TEST(RealData, MixedSourcesAreReadWhole) {
  auto packed = shared_file("data/mixed.csv.gz");
  if (packed.empty()) GTEST_SKIP() << "shared data is not here (GAVEL_SHARED)";
  PreferenceData data = read_preferences(packed, {});
  EXPECT_GT(data.rows.size(), 15000u);
  EXPECT_EQ(rows_with(data, Oddity::kNotJson), 0);
}

}  // namespace
}  // namespace gavel

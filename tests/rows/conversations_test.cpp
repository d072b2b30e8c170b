// Whole conversations: the Chatbot Arena's two lists of messages, and chosen and rejected ones, in JSON, CSV and Parquet. All
// texts are made up.
#include <gmock/gmock.h>

#include "base/error.h"
#include "data/test_support.h"
#include "files/csv.h"
#include "rows/preferences.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/** A message; `content` is JSON. */
std::string message(const std::string& role, const std::string& content) {
  return fmt::format(R"({{"role": "{}", "content": {}}})", role, content);
}

/** Its content as parts, with what the files of 2025 have beside the text. */
std::string parts(const std::string& text) {
  return fmt::format(R"([{{"type": "text", "text": "{}", "image": null, "mimeType": null}}])", text);
}

std::string list(const std::vector<std::string>& items) {
  return fmt::format("[{}]", fmt::join(items, ", "));
}

struct Vote {
  std::string a, b, winner;
};

std::string two_rounds(const std::string& first, const std::string& second) {
  return list({message("user", R"("How tall is the hill?")"), message("assistant", '"' + first + '"'),
               message("user", R"("And in feet?")"), message("assistant", '"' + second + '"')});
}

/** The layouts of 2023 (plain contents), of 2025 (parts), and one round without an answer's text. */
std::vector<Vote> votes() {
  return {
      {two_rounds("90 metres.", "295."), two_rounds("Tall.", "No idea."), "model_a"},
      {list({message("user", parts("Name a \\\"warm\\\" colour.")), message("assistant", parts("Ochre."))}),
       list({message("user", parts("Name a \\\"warm\\\" colour.")), message("assistant", parts("Blue."))}), "both_bad"},
      {list({message("system", R"("Be brief.")"), message("user", R"("Zwölf?")"), message("assistant", R"("12")")}),
       list({message("system", R"("Be brief.")"), message("user", R"("Zwölf?")"), message("assistant", "null")}),
       "tie (bothbad)"}};
}

std::string jsonl_of(const std::vector<Vote>& rows) {
  std::string out;
  for (size_t i = 0; i < rows.size(); ++i)
    out += fmt::format(
               R"({{"question_id": "q{}", "winner": "{}", "conversation_a": {}, "conversation_b": {}, "turn": 1}})", i,
               rows[i].winner, rows[i].a, rows[i].b) +
           "\n";
  return out;
}

std::string csv_of(const std::vector<Vote>& rows) {
  std::string out = "question_id,conversation_a,winner,conversation_b\n";
  for (size_t i = 0; i < rows.size(); ++i)
    out += fmt::format("q{},{},{},{}\n", i, csv_cell(rows[i].a), rows[i].winner, csv_cell(rows[i].b));
  return out;
}

const ReadOptions kRead{.format = Format::kConversations};

void expect_votes(const PreferenceData& data) {
  ASSERT_EQ(data.rows.size(), 3u);
  EXPECT_EQ(data.rows[0].id, "q0");
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("How tall is the hill?", "And in feet?"));
  EXPECT_THAT(data.rows[0].response_a, ElementsAre("90 metres.", "295."));
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("Tall.", "No idea."));
  EXPECT_THAT(data.rows[0].label, ElementsAre(1, 0, 0));
  EXPECT_THAT(data.rows[1].prompt, ElementsAre("Name a \"warm\" colour."));
  EXPECT_THAT(data.rows[1].response_b, ElementsAre("Blue."));
  EXPECT_THAT(data.rows[1].label, ElementsAre(0, 0, 1));
  EXPECT_THAT(data.rows[2].prompt, ElementsAre("Be brief.\n\nZwölf?"));
  EXPECT_THAT(data.rows[2].response_b, ElementsAre(""));
  EXPECT_EQ(data.report[Oddity::kNullTurn].rows, 1);
  EXPECT_EQ(data.report[Oddity::kUnequalTurns].rows, 0);
  EXPECT_EQ(data.report[Oddity::kNotJson].rows, 0);
}

TEST(Conversations, JsonLinesAndCsvGiveTheSameRows) {
  TempFolder folder;
  expect_votes(read_preferences(folder.write("a.jsonl", jsonl_of(votes())), kRead));
  expect_votes(read_preferences(folder.write("a.csv", csv_of(votes())), kRead));
  // A text that holds the list, as some exports have it.
  std::vector<Vote> quoted = votes();
  for (Vote& vote : quoted)
    for (std::string* side : {&vote.a, &vote.b}) {
      std::string text;
      append_json_text(*side, text);
      *side = text;
    }
  expect_votes(read_preferences(folder.write("s.jsonl", jsonl_of(quoted)), kRead));
}

TEST(Conversations, RowsThatCannotBeReadAreNamedWithTheirReason) {
  TempFolder folder;
  const std::string user = message("user", R"("Which came first?")"), answer = message("assistant", R"("The egg.")"),
                    good = list({user, answer});
  auto image = [&](const std::string& part) {
    return list({message("user", fmt::format(R"([{{"type": "text", "text": "What is this?"}}, {}])", part)), answer});
  };
  const std::vector<std::pair<Vote, std::string>> bad = {
      {{image(R"({"type": "image", "image": "aGk=", "mimeType": "image/png"})"), good, "tie"},
       "key 'conversation_a': a message of 'user' has a part of type 'image', of which only text can be read"},
      {{image(R"({"type": "text", "text": "", "image": "aGk="})"), good, "tie"}, "a part of type 'image'"},
      {{image(R"({"type": "tool_call"})"), good, "tie"}, "a part of type 'tool_call'"},
      {{image(R"("text")"), good, "tie"}, "a part that is no object with 'type' and 'text'"},
      {{image(R"({"type": "text", "text": 7})"), good, "tie"}, "a part whose text is none"},
      {{good, list({message("user", R"("Which came last?")"), answer}), "model_a"},
       "the user's message 1 is '…hich came first?' in 'conversation_a' and '…hich came last?' in 'conversation_b'"},
      {{good, list({user, answer, user, answer}), "model_a"},
       "'conversation_a' has 1 messages of the user, 'conversation_b' has 2"},
      {{good, list({user}), "model_a"}, "key 'conversation_b': the assistant says nothing"},
      {{good, list({answer}), "model_a"}, "key 'conversation_b': the user says nothing"},
      {{good, list({user, user, answer}), "model_a"}, "two messages of the user follow each other"},
      {{good, list({user, message("tool", R"("x")")}), "model_a"}, "a message of 'tool'"},
      {{good, R"([{"role": "user"}])", "model_a"}, "a message of 'user' has a content that is no text"},
      {{good, R"("[{'role': 'user', 'content': 'x'}]")", "model_a"}, "messages as Python prints them"},
      {{good, R"("a text")", "model_a"}, "expected messages, or their JSON in a text"},
      {{good, "7", "model_a"}, "expected a list of messages"},
      {{"null", good, "model_a"}, "key 'conversation_a': expected a list of messages"},
  };
  for (const auto& [vote, why] : bad) {
    const auto path = folder.write("b.jsonl", jsonl_of({{good, good, "tie"}, vote, {good, good, "model_b"}}));
    const PreferenceData data = read_preferences(path, kRead);
    ASSERT_EQ(data.rows.size(), 2u) << why;
    EXPECT_EQ(data.rows[1].source_row, 3);
    EXPECT_THAT(data.report[Oddity::kNotJson].first_rows, ElementsAre(2));
    EXPECT_EQ(data.report[Oddity::kNotJson].dropped, 1);
    EXPECT_EQ(data.report.unusable_rows(), 1);
    EXPECT_THAT(data.report.unreadable, ElementsAre(AllOf(HasSubstr("row 2: "), HasSubstr(why))));
    EXPECT_THAT(data.report.format(), HasSubstr(why));
    ReadOptions read = kRead;
    read.strict = true;
    EXPECT_THAT(error_of([&] { read_preferences(path, read); }), AllOf(HasSubstr("row 2 (id q1)"), HasSubstr(why)));
    // A prediction is owed for every row.
    read = kRead;
    read.purpose = Purpose::kPredict;
    EXPECT_EQ(read_preferences(path, read).rows.size(), 3u);
  }
  ReadOptions read = kRead;
  read.max_dropped = 0.05;
  const auto path = folder.write("m.jsonl", jsonl_of({{good, good, "tie"}, bad[0].first}));
  EXPECT_THAT(error_of([&] { read_preferences(path, read); }),
              AllOf(HasSubstr("1 of 2 rows"), HasSubstr("of type 'image'"), Not(HasSubstr("data.cells"))));
}

TEST(Conversations, ColumnsThatAreMissingAreNamed) {
  TempFolder folder;
  const auto csv = folder.write("c.csv", csv_of(votes())), jsonl = folder.write("c.jsonl", jsonl_of(votes()));
  for (const auto& path : {csv, jsonl})
    EXPECT_THAT(error_of([&] { read_preferences(path, {}); }), HasSubstr("data.format: conversations"));
  EXPECT_THAT(error_of([&] { read_preferences(folder.write("d.csv", "id,conversation_a,winner\n"), kRead); }),
              HasSubstr("expected a column 'conversation_b'"));
  EXPECT_THAT(
      error_of([&] { read_preferences(folder.write("d.jsonl", R"({"conversation_a": [], "winner": "tie"})"), kRead); }),
      HasSubstr("expected a key 'conversation_b'"));
}

TEST(Conversations, ChosenAndRejectedMessagesInCells) {
  TempFolder folder;
  const std::string user = message("user", R"("Say a word, please.")"),
                    good = list({user, message("assistant", R"("Marmalade, gladly.")")}),
                    bad = list({user, message("assistant", R"("No.")")});
  const ReadOptions read{.format = Format::kChosen, .score_margin = 2};
  auto row = [](const std::string& prompt, const std::string& chosen, const std::string& rejected) {
    return fmt::format("{},{},{},4,1.5\n", csv_cell(prompt), csv_cell(chosen), csv_cell(rejected));
  };
  const std::string header = "prompt,chosen,rejected,score_chosen,score_rejected\n";
  PreferenceData data = read_preferences(
      folder.write("c.csv", header + row("Say a word, please.", good, bad) + row("List it.", "[1]", good) +
                                row(list({user}), "\"x\"", "plain") + row("Say \"so\".", "So.", "No.")),
      read);
  ASSERT_EQ(data.rows.size(), 4u);
  EXPECT_EQ(data.rows[0].id, "1");
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("Say a word, please."));
  EXPECT_THAT(data.rows[0].response_a, ElementsAre("Marmalade, gladly."));
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("No."));
  EXPECT_THAT(data.rows[0].label, ElementsAre(1, 0, 0));
  EXPECT_EQ(data.rows[0].margin, 5);
  EXPECT_THAT(data.rows[1].response_a, ElementsAre("[1]")) << "messages beside a text are a text";
  EXPECT_THAT(data.rows[1].response_b, ElementsAre(good));
  EXPECT_THAT(data.rows[2].prompt, ElementsAre("Say a word, please."));
  EXPECT_THAT(data.rows[2].response_a, ElementsAre("\"x\""));
  EXPECT_THAT(data.rows[3].prompt, ElementsAre("Say \"so\"."));
  // What pandas' to_csv writes of lists is not the answer's own text.
  const std::string python = "[{'role': 'assistant', 'content': 'x'}]";
  data = read_preferences(folder.write("p.csv", header + row("u", python, python) + row("u", "a", "b")), read);
  ASSERT_EQ(data.rows.size(), 1u);
  EXPECT_THAT(data.report.unreadable, ElementsAre(HasSubstr("row 1: key 'chosen': messages as Python prints them")));
}

TEST(Conversations, MessagesWrittenInTextsOfJsonAreCountedToo) {
  TempFolder folder;
  auto text = [](const std::string& json) {
    std::string out;
    append_json_text(json, out);
    return out;
  };
  const std::string good = list({message("user", R"("u")"), message("assistant", R"("half \ud83d")")});
  const std::string row = fmt::format(R"({{"prompt": "u", "chosen": {0}, "rejected": {0}}})", text(good));
  PreferenceData data = read_preferences(folder.write("a.jsonl", row), {.format = Format::kChosen});
  ASSERT_EQ(data.rows.size(), 1u);
  EXPECT_THAT(data.rows[0].response_a, ElementsAre("half \uFFFD"));
  EXPECT_EQ(data.report[Oddity::kLoneSurrogate].occurrences, 2);
  const std::string both =
      fmt::format(R"({{"conversation_a": {0}, "conversation_b": {0}, "winner": "tie"}})", text(good));
  data = read_preferences(folder.write("b.jsonl", both), kRead);
  EXPECT_EQ(data.report[Oddity::kLoneSurrogate].occurrences, 2);
  // A row to be judged that can't be read is taken as it is written.
  const std::string odd = R"({"prompt": "u", "chosen": [{"role": "tool"}], "rejected": "b"})";
  data = read_preferences(folder.write("c.jsonl", odd), {.format = Format::kChosen, .purpose = Purpose::kPredict});
  ASSERT_EQ(data.rows.size(), 1u);
  EXPECT_THAT(data.rows[0].response_a, ElementsAre(R"([{"role":"tool"}])"));
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("b"));
}

TEST(Conversations, RewardBenchAndHelpSteer3InCsv) {
  TempFolder folder;
  PreferenceData data = read_preferences(folder.write("r.csv",
                                                      "prompt,chosen,chosen_model,rejected,rejected_model,subset,id\n"
                                                      "Name a river.,The Elbe.,one,\"Rivers, mostly.\",two,chat,17\n"),
                                         {.format = Format::kChosen});
  ASSERT_EQ(data.rows.size(), 1u);
  EXPECT_EQ(data.rows[0].id, "17");
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("Rivers, mostly."));
  const std::string context =
      list({message("user", R"("One?")"), message("assistant", R"("1")"), message("user", R"("Two?")")});
  data = read_preferences(folder.write("h.csv", "context,response1,response2,overall_preference\n" + csv_cell(context) +
                                                    ",2,3,-2\n" + csv_cell("[{'role': 'user'}]") + ",2,3,1\n"),
                          {.format = Format::kHelpSteer3});
  ASSERT_EQ(data.rows.size(), 1u);
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("One?", "Two?"));
  EXPECT_THAT(data.rows[0].response_a, ElementsAre("1", "2"));
  EXPECT_THAT(data.rows[0].label, ElementsAre(1, 0, 0));
}

TEST(Conversations, ColumnsOfTheArenaInParquet) {
  if (!std::filesystem::exists(std::filesystem::path(GAVEL_BINARY_DIR) / "gavel_parquet.so"))
    GTEST_SKIP() << "this build has no Apache Arrow (tools/fetch_packages.py pyarrow)";
  const auto path = std::filesystem::path(GAVEL_SOURCE_DIR) / "tests/data/files/conversations.parquet";
  ReadOptions read = kRead;
  read.columns.weight = "price";                                      // a decimal
  read.columns.auxiliary_a = read.columns.auxiliary_b = "timestamp";  // a time
  const PreferenceData data = read_preferences(path, read);
  ASSERT_EQ(data.rows.size(), 2u);
  EXPECT_EQ(data.rows[0].id, "first");
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("A question?", "And another?"));
  EXPECT_THAT(data.rows[0].response_a, ElementsAre("Yes.", "No."));
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("Perhaps.", "Tschüß \"👋\""));
  EXPECT_THAT(data.rows[0].label, ElementsAre(0, 0, 1));
  EXPECT_EQ(data.rows[0].weight, 2.5f);
  EXPECT_THAT(data.rows[0].auxiliary[0], HasSubstr("2025-06-01 12:30:00"));
  EXPECT_EQ(data.rows[1].id, "third");
  EXPECT_THAT(data.report.unreadable,
              ElementsAre(HasSubstr("row 2: key 'conversation_a': a message of 'user' has a part "
                                    "of type 'image'")));
}

}  // namespace
}  // namespace gavel

// The layout of a file that nobody named: told by columns and first rows, or not told. All texts are made up.
#include "rows/layouts.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

Layout recognize(const std::string& name, const std::string& text) {
  const TempFolder folder;
  return recognize_layout(folder.write(name, text));
}

std::string refusal(const std::string& name, const std::string& text) {
  return error_of([&] { recognize(name, text); });
}

/** A file with a header, and one row of `cell` everywhere. */
std::string csv(const std::string& header, const std::string& cell) {
  std::string row = cell;
  for (char c : header)
    if (c == ',') row += "," + cell;
  return header + "\n" + row + "\n";
}

TEST(Layouts, EveryFormatIsToldByItsColumns) {
  const std::vector<std::tuple<std::string, Format, bool>> cases = {
      {"id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie", Format::kLmsys,
       true},
      {"id,prompt,response_a,response_b,winner,language", Format::kWsdm, true},
      {"question_id,model_a,model_b,winner,judge,conversation_a,conversation_b,turn", Format::kConversations, true},
      {"id,model_a,model_b,evaluation_order,conversation_a,conversation_b", Format::kConversations, false},
      {"domain,language,context,response1,response2,overall_preference", Format::kHelpSteer3, true},
      {"source,instruction,models,completions", Format::kRanked, true},
      {"prompt,responses,ranks", Format::kRanked, true},
      {"prompt,prompt_id,chosen,rejected,messages,score_chosen,score_rejected", Format::kChosen, true},
      {"prompt,chosen,chosen_model,rejected,rejected_model,subset,id", Format::kChosen, true},
      {"prompt,response,score", Format::kScored, true},
      {"id,prompt,response_a,response_b", Format::kWsdm, false},
  };
  for (const auto& [header, format, votes] : cases) {
    const Layout layout = recognize("a.csv", csv(header, "tie"));
    EXPECT_EQ(layout.format, format) << header;
    EXPECT_EQ(layout.votes, votes) << header;
    EXPECT_THAT(layout.why, HasSubstr("its columns ")) << header;
  }
  // The same of JSON.
  EXPECT_EQ(recognize("a.jsonl", R"({"conversation_a": [], "conversation_b": [], "winner": "tie"})").format,
            Format::kConversations);
  EXPECT_EQ(recognize("a.json", R"([{"prompt": "p", "chosen": "a", "rejected": "b"}])").format, Format::kChosen);
}

TEST(Layouts, FirstRowsTellHowTextsAreWritten) {
  const std::string lmsys = "prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n",
                    wsdm = "prompt,response_a,response_b,winner\n",
                    list = "\"[\"\"a\"\"]\",\"[\"\"b\"\", null]\",\"['c']\"", plain = "[a],b,c";
  EXPECT_EQ(recognize("a.csv", lmsys + list + ",1,0,0\n").cells, Cells::kJson);
  Layout layout = recognize("a.csv", lmsys + plain + ",1,0,0\n" + list + ",1,0,0\n");
  EXPECT_EQ(layout.format, Format::kLmsys);
  EXPECT_EQ(layout.cells, Cells::kText);
  EXPECT_THAT(layout.why, HasSubstr("no lists of turns"));
  EXPECT_EQ(recognize("a.csv", wsdm + plain + ",tie\n").format, Format::kWsdm);
  // What wsdm would take for plain text.
  layout = recognize("a.csv", wsdm + list + ",tie\n");
  EXPECT_EQ(layout.format, Format::kGeneric);
  EXPECT_EQ(layout.cells, Cells::kJson);
  EXPECT_EQ(layout.columns.winner, "winner");
  EXPECT_THAT(layout.why, HasSubstr("lists of turns"));
  // Files to be judged.
  EXPECT_EQ(recognize("a.csv", "prompt,response_a,response_b\n" + list + "\n").format, Format::kLmsys);
  EXPECT_EQ(recognize("a.csv", "prompt,response_a,response_b\n" + plain + "\n").format, Format::kWsdm);
}

TEST(Layouts, NamesThatPeopleUseAreGeneric) {
  const std::string header = "ID,Question,answer_1,Answer_2,Preference\n";
  Layout layout = recognize("a.csv", header + "1,q,a,b,model_a\n2,q,a,b,tie\n");
  EXPECT_EQ(layout.format, Format::kGeneric);
  EXPECT_EQ(layout.columns.id, "ID");
  EXPECT_EQ(layout.columns.prompt, "Question");
  EXPECT_EQ(layout.columns.response_a, "answer_1");
  EXPECT_EQ(layout.columns.response_b, "Answer_2");
  EXPECT_EQ(layout.columns.winner, "Preference");
  EXPECT_EQ(layout.cells, Cells::kText);
  EXPECT_THAT(layout.open_question, IsEmpty());
  // What 1 means is nobody's guess.
  layout = recognize("a.csv", header + "1,q,a,b,1\n2,q,a,b,2\n3,q,a,b,1\n");
  EXPECT_THAT(layout.open_question, AllOf(HasSubstr("'1' (2), '2' (1)"), HasSubstr("data.spellings")));
  layout = recognize("a.jsonl", R"({"instruction": ["i"], "output_a": ["x"], "output_b": ["y"], "better": "b"})");
  EXPECT_EQ(layout.columns.response_a, "output_a");
  EXPECT_TRUE(layout.votes);
  EXPECT_FALSE(recognize("a.csv", csv("query,reply1,reply2", "x")).votes);
}

TEST(Layouts, NothingIsTakenForSomethingElse) {
  EXPECT_THAT(
      refusal("a.csv", csv("prompt,response_a,response_b,winner,winner_model_a,winner_model_b,winner_tie", "x")),
      AllOf(HasSubstr("a.csv: its columns are those of more than one format"), HasSubstr("lmsys (its columns"),
            HasSubstr("wsdm (its columns")));
  EXPECT_THAT(refusal("a.csv", csv("prompt,chosen,rejected,response,score", "x")),
              AllOf(HasSubstr("chosen"), HasSubstr("scored"), HasSubstr("data.format=")));
  EXPECT_THAT(refusal("a.csv", csv("x,y", "1")), AllOf(HasSubstr("no format has columns like x, y"),
                                                       HasSubstr("data.format=generic data.columns.prompt=")));
  EXPECT_THAT(refusal("a.jsonl", R"({"data": []})"), HasSubstr("jq -c '.data[]'"));
  EXPECT_THAT(refusal("a.csv", ""), HasSubstr("a.csv: the file is empty"));
}

TEST(Layouts, ErrorsOfAnotherFormatNameTheOneThatFits) {
  const TempFolder folder;
  auto error = [&](const std::string& header, Format format) {
    return error_of([&] { read_preferences(folder.write("a.csv", csv(header, "x")), {.format = format}); });
  };
  EXPECT_THAT(error("context,response1,response2,overall_preference", Format::kLmsys),
              HasSubstr("the columns are those of data.format: helpsteer3"));
  EXPECT_THAT(error("prompt,response,score", Format::kChosen),
              HasSubstr("the columns are those of data.format: scored"));
  EXPECT_THAT(error("prompt,responses,scores", Format::kWsdm),
              HasSubstr("the columns are those of data.format: ranked"));
  EXPECT_THAT(error("question,answer_a,answer_b,better", Format::kWsdm),
              HasSubstr("data.format=generic data.columns.prompt=question data.columns.response_a=answer_a "
                        "data.columns.response_b=answer_b data.columns.winner=better"));
  EXPECT_THAT(error("prompt,response_a,response_b,winner", Format::kConversations), HasSubstr("data.format: wsdm"));
}

}  // namespace
}  // namespace gavel

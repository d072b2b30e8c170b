// Columns that only training reads: a teacher's shares, and what an auxiliary head tells of the answers.
#include <gmock/gmock.h>

#include "data/test_support.h"
#include "rows/preferences.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::FloatEq;
using testing::HasSubstr;

ReadOptions teacher_options() {
  ReadOptions options{.format = Format::kGeneric,
                      .columns = {.prompt = "q", .response_a = "a", .response_b = "b", .winner = "w"},
                      .cells = Cells::kText};
  options.columns.teacher_a = "ta";
  options.columns.teacher_b = "tb";
  options.columns.teacher_tie = "tt";
  return options;
}

constexpr std::string_view kTeacherHeader = "q,a,b,w,ta,tb,tt\n";

TEST(ExtraColumns, ATeachersSharesAreDividedByTheirSum) {
  TempFolder folder;
  const auto path = folder.write("a.csv", std::string(kTeacherHeader) +
                                              "p,x,y,model_a,1,2,1\n"
                                              "p2,x,y,tie,,,\n"
                                              "p3,x,y,,0.25,0.75,0\n"
                                              "p4,x,y,nonsense,0.25,0.75,0\n"
                                              "p5,x,y,,,,\n");
  ReadOptions options = teacher_options();
  const PreferenceData data = read_preferences(path, options);
  // A row without a vote stays for its teacher; one whose vote is not known, or that has neither, goes.
  ASSERT_EQ(data.rows.size(), 3u);
  EXPECT_EQ(data.report[Oddity::kBadLabel].dropped, 2);
  EXPECT_THAT(data.rows[0].label, ElementsAre(1, 0, 0));
  EXPECT_THAT(data.rows[0].teacher, ElementsAre(0.25f, 0.5f, 0.25f));
  EXPECT_THAT(swapped(data.rows[0]).teacher, ElementsAre(0.5f, 0.25f, 0.25f));
  EXPECT_FALSE(data.rows[1].has_teacher());
  EXPECT_FALSE(data.rows[2].has_label);
  EXPECT_THAT(data.rows[2].teacher, ElementsAre(0.25f, 0.75f, 0));
  // A tie that counts half for each does so for the teacher too.
  options.ties = Ties::kHalfEach;
  EXPECT_THAT(read_preferences(path, options).rows.at(0).teacher, ElementsAre(0.375f, 0.625f, 0));
  options = teacher_options();
  // One that knows no ties.
  options.columns.teacher_tie.clear();
  EXPECT_THAT(read_preferences(path, options).rows.at(0).teacher, ElementsAre(FloatEq(1.0f / 3), FloatEq(2.0f / 3), 0));
  // Only training asks for it, so that other files need not have it.
  options.purpose = Purpose::kPredict;
  const auto plain = folder.write("b.csv", "q,a,b,w\np,x,y,model_a\n");
  EXPECT_FALSE(read_preferences(plain, options).rows.at(0).has_teacher());
  options.purpose = Purpose::kTrain;
  EXPECT_THAT(error_of([&] { read_preferences(plain, options); }), HasSubstr("expected a column 'ta'"));
}

TEST(ExtraColumns, SharesThatAreNoneAreRefusedByTheirRow) {
  TempFolder folder;
  const ReadOptions options = teacher_options();
  auto error = [&](const std::string& cells) {
    const auto path =
        folder.write("a.csv", std::string(kTeacherHeader) + "p,x,y,model_a,1,0,0\np2,x,y,tie," + cells + "\n");
    return error_of([&] { read_preferences(path, options); });
  };
  EXPECT_THAT(error("0.5,-0.1,0.6"), HasSubstr("a.csv: row 2: 'tb' is a teacher's share"));
  EXPECT_THAT(error("0.5,-0.1,0.6"), HasSubstr("expected a number of 0 or more, found '-0.1'"));
  EXPECT_THAT(error("nan,0.5,0.5"), HasSubstr("row 2: 'ta'"));
  EXPECT_THAT(error("0.5,0.5,inf"), HasSubstr("row 2: 'tt'"));
  EXPECT_THAT(error("0.5,,0.5"), HasSubstr("row 2: 'tb'"));
  EXPECT_THAT(error("0,0,0"), HasSubstr("row 2: the teacher's shares are all 0 ('ta', …)"));
  const auto lines = folder.write("a.jsonl", R"({"q":"p","a":"x","b":"y","w":"model_b","ta":3,"tb":1,"tt":0}
{"q":"p2","a":"x","b":"y","w":null,"ta":0,"tb":"0.5","tt":0.5}
{"q":"p3","a":"x","b":"y","w":"tie","ta":null,"tb":null}
)");
  const PreferenceData data = read_preferences(lines, options);
  ASSERT_EQ(data.rows.size(), 3u);
  EXPECT_THAT(data.rows[0].teacher, ElementsAre(0.75f, 0.25f, 0));
  EXPECT_FALSE(data.rows[1].has_label);
  EXPECT_THAT(data.rows[1].teacher, ElementsAre(0, 0.5f, 0.5f));
  EXPECT_FALSE(data.rows[2].has_teacher());
  const auto bad = folder.write("b.jsonl", R"({"q":"p","a":"x","b":"y","w":"model_b","ta":0,"tb":0,"tt":0})");
  EXPECT_THAT(error_of([&] { read_preferences(bad, options); }),
              HasSubstr("b.jsonl: row 1: the teacher's shares are all 0"));
}

TEST(ExtraColumns, AuxiliaryTextsAreOneForEachAnswer) {
  TempFolder folder;
  ReadOptions options{.format = Format::kChosen};
  options.columns.auxiliary_a = "by_chosen";
  options.columns.auxiliary_b = "by_rejected";
  const auto path = folder.write("a.csv",
                                 "prompt,chosen,rejected,by_chosen,by_rejected\n"
                                 "p,x,y, m1 ,m2\n"
                                 "p2,x,y,,m1\n");
  const PreferenceData data = read_preferences(path, options);
  EXPECT_THAT(data.rows.at(0).auxiliary, ElementsAre("m1", "m2"));
  EXPECT_THAT(swapped(data.rows[0]).auxiliary, ElementsAre("m2", "m1"));
  EXPECT_THAT(data.rows.at(1).auxiliary, ElementsAre("", "m1"));
  // A row that becomes several pairs has no two answers that the columns could be of.
  options.format = Format::kRanked;
  const auto ranked = folder.write("a.jsonl", R"({"prompt":"p","responses":["x","y"],"scores":[1,2]})");
  EXPECT_THAT(error_of([&] { read_preferences(ranked, options); }),
              HasSubstr("data.columns.auxiliary: is of a row that is one pair of answers"));
  options.format = Format::kScored;
  EXPECT_THAT(error_of([&] { read_preferences(ranked, options); }), HasSubstr("rows of data.format: scored are not"));
}

}  // namespace
}  // namespace gavel

#include "rows/column_texts.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::ElementsAre;

TEST(ColumnTexts, AreThoseOfTheRowsWhateverTheirFormat) {
  TempFolder folder;
  ReadOptions lmsys;
  const auto csv = folder.write("a.csv",
                                "id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie,subset\n"
                                "1,\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",1,0,0,\"one, two\"\n"
                                "2,no list,x,y,0,0,9,\n");
  ASSERT_TRUE(column_texts(csv, "subset", lmsys).has_value());
  EXPECT_THAT(*column_texts(csv, "subset", lmsys), ElementsAre("one, two", ""));
  EXPECT_FALSE(column_texts(csv, "section", lmsys).has_value());

  ReadOptions chosen;
  chosen.format = Format::kChosen;
  const auto jsonl =
      folder.write("a.jsonl",
                   "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"subset\": \"hep-cpp\"}\n\n"
                   "{\"chosen\": [{\"role\": \"user\", \"content\": \"p\"}], \"rejected\": \"b\", \"subset\": 7}\n");
  EXPECT_THAT(*column_texts(jsonl, "subset", chosen), ElementsAre("hep-cpp", "7"));
  EXPECT_FALSE(column_texts(jsonl, "section", chosen).has_value());
  const auto torn = folder.write("b.jsonl",
                                 "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"subset\": \"x\"}\n"
                                 "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
  EXPECT_THROW(column_texts(torn, "subset", chosen), Error);
}

}  // namespace
}  // namespace gavel

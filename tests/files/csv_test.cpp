#include "files/csv.h"

#include <gmock/gmock.h>

#include "base/random.h"
#include "data/test_support.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::vector<std::string>> read_all(std::string_view text) {
  CsvReader reader(text, "test.csv");
  std::vector<std::vector<std::string>> out{reader.header()};
  std::vector<CsvField> fields;
  std::string scratch;
  while (reader.next(fields)) {
    auto& row = out.emplace_back();
    for (const auto& field : fields) row.emplace_back(field.text(scratch));
  }
  return out;
}

TEST(Csv, QuotedCellsHoldCommasNewlinesAndQuotes) {
  EXPECT_THAT(read_all("a,b\n\"x,\ny\",\"he said \"\"hi\"\"\"\n1,\n"),
              ElementsAre(ElementsAre("a", "b"), ElementsAre("x,\ny", "he said \"hi\""), ElementsAre("1", "")));
}

TEST(Csv, LineEndsByteOrderMarkAndBlankLines) {
  EXPECT_THAT(read_all("\xEF\xBB\xBF"
                       "a,b\r\n\r\n1,2\r3,4\n\n\"5\",\"6\""),
              ElementsAre(ElementsAre("a", "b"), ElementsAre("1", "2"), ElementsAre("3", "4"), ElementsAre("5", "6")));
}

TEST(Csv, CellsOfQuotesOnly) {
  EXPECT_THAT(read_all("a\n\"\"\"\"\n\"\"\n\"\"\"\"\"\"\n"),
              ElementsAre(ElementsAre("a"), ElementsAre("\""), ElementsAre(""), ElementsAre("\"\"")));
}

TEST(Csv, QuoteInsideAnUnquotedCellIsALetter) {
  EXPECT_THAT(read_all("a,b\n5\" nail,x\"\"y\n"),
              ElementsAre(ElementsAre("a", "b"), ElementsAre("5\" nail", "x\"\"y")));
}

TEST(Csv, ErrorsNameFileRowAndLine) {
  EXPECT_THAT(error_of([] { read_all(""); }), HasSubstr("test.csv: the file is empty"));
  EXPECT_THAT(error_of([] {
                read_all(
                    "\xFF\xFE"
                    "a");
              }),
              HasSubstr("UTF-16"));
  EXPECT_THAT(error_of([] { read_all("a,b\n\"x\ny\",1\n\"open,2\n"); }),
              HasSubstr("row 2 (line 4): a quoted cell is opened and never closed"));
  EXPECT_THAT(error_of([] { read_all("a,b\n1,2\n1,2,3\n"); }), HasSubstr("row 2 (line 3): expected 2 cells"));
  EXPECT_THAT(error_of([] { read_all("a,b\n\"x\"y,2\n"); }), HasSubstr("row 1 (line 2): expected a comma"));
}

TEST(Csv, WhatIsWrittenReadsBack) {
  Random random(7);
  const std::string letters = "ab\",\n\r \xC3\xA9";
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<std::vector<std::string>> rows{{"h1", "h2", "h3"}};
    for (int r = 0; r < 4; ++r) {
      auto& row = rows.emplace_back();
      for (int c = 0; c < 3; ++c) {
        std::string cell = "x";
        for (uint64_t n = random.below(9); n > 0; --n) cell += letters[random.below(letters.size())];
        row.push_back(cell);
      }
    }
    std::string text;
    for (const auto& row : rows)
      for (size_t c = 0; c < 3; ++c) text += csv_cell(row[c]) + (c == 2 ? (trial % 2 == 0 ? "\n" : "\r\n") : ",");
    EXPECT_EQ(read_all(text), rows) << text;
  }
}

}  // namespace
}  // namespace gavel

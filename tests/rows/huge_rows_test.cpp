// Rows that would take all memory, and headers that would fill the screen.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdlib>

#include "data/test_support.h"
#include "rows/preferences.h"
#include "rows/row_stream.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Lt;
using testing::Not;
using testing::SizeIs;

const std::string kLmsysHeader = "id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n";

std::string csv_row(int id, size_t letters) {
  return fmt::format("{},\"[\"\"{}\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",1,0,0\n", id, std::string(letters, 'p'));
}

std::string json_row(int id, size_t letters) {
  return fmt::format(
      "{{\"id\":{},\"prompt\":[\"{}\"],\"response_a\":[\"a\"],\"response_b\":[\"b\"],\"winner_model_a\":1,"
      "\"winner_model_b\":0,\"winner_tie\":0}}",
      id, std::string(letters, 'p'));
}

TEST(HugeRows, AreNamedWithTheSettingThatCapsThem) {
  TempFolder folder;
  const ReadOptions options{.max_cell_bytes = 1000};
  // The brackets and quotes are of the cell.
  const auto csv = [&](size_t letters) {
    return folder.write("rows.csv", kLmsysHeader + csv_row(1, 10) + csv_row(2, letters));
  };
  EXPECT_THAT(read_preferences(csv(990), options).rows, SizeIs(2));
  EXPECT_THAT(error_of([&] { read_preferences(csv(2000), options); }),
              AllOf(HasSubstr("rows.csv: row 2: column 'prompt'"), HasSubstr("data.max_cell_bytes"),
                    HasSubstr("at most 1000 bytes"), HasSubstr("found 2006")));
  // A row of JSON lines, of a JSON array, and the first one, whose keys are looked at before.
  for (const char* name : {"rows.jsonl", "rows.json"})
    for (int huge : {1, 2}) {
      const std::string a = json_row(1, huge == 1 ? 2000 : 10), b = json_row(2, huge == 2 ? 2000 : 10);
      const bool lines = std::string_view(name) == "rows.jsonl";
      const auto path = folder.write(name, lines ? a + "\n" + b + "\n" : "[" + a + ",\n" + b + "]");
      EXPECT_THAT(error_of([&] { read_preferences(path, options); }),
                  AllOf(HasSubstr(fmt::format("{}: row {}: expected at most 1000 bytes", name, huge)),
                        HasSubstr("data.max_cell_bytes")));
      EXPECT_THAT(read_preferences(path, {}).rows, SizeIs(2));
    }
}

TEST(HugeRows, APackedFileThatWasMadeToFillTheDiskIsRefused) {
  TempFolder folder;
  const std::string name = folder.write("bomb.csv", kLmsysHeader);
  if (std::system(fmt::format("truncate -s 100M {0} && gzip -9 {0}", name).c_str()) != 0)
    GTEST_SKIP() << "gzip is not here";
  EXPECT_THAT(error_of([&] { read_preferences(name + ".gz", {}); }),
              HasSubstr("bomb.csv.gz: becomes more than 200 times"));
}

TEST(HugeRows, ColumnsThatAreNotReadMayBeLarge) {
  TempFolder folder;
  const std::string header = "notes," + kLmsysHeader;
  const auto path = folder.write("rows.csv", header + std::string(5000, 'n') + "," + csv_row(1, 10));
  EXPECT_THAT(read_preferences(path, {.max_cell_bytes = 1000}).rows, SizeIs(1));
}

TEST(HugeRows, OfManyColumnsTheFirstAreNamed) {
  TempFolder folder;
  std::string header = std::string(500, 'x');
  for (int i = 0; i < 2000; ++i) header += fmt::format(",c{}", i);
  const std::string csv = error_of([&] { read_preferences(folder.write("rows.csv", header + "\n1\n"), {}); });
  EXPECT_THAT(csv, AllOf(HasSubstr("expected a column 'prompt'"), HasSubstr("c28 and 1971 more"), SizeIs(Lt(1000))));
  std::string object = "{\"a\":1";
  for (int i = 0; i < 2000; ++i) object += fmt::format(",\"k{}\":1", i);
  const std::string json = error_of([&] { read_preferences(folder.write("rows.jsonl", object + "}\n"), {}); });
  EXPECT_THAT(json, AllOf(HasSubstr("more"), Not(HasSubstr("k1000")), SizeIs(Lt(1500))));
}

TEST(HugeRows, ColumnsBeyondAllReasonAreRefused) {
  TempFolder folder;
  EXPECT_THAT(error_of([&] { read_preferences(folder.write("rows.csv", std::string(200'000, ',')), {}); }),
              HasSubstr("row 0 (line 1): expected at most 100000 cells"));
}

}  // namespace
}  // namespace gavel

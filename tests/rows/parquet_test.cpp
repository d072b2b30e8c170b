// Parquet files, where this build has the module for them (tools/parquet_sample.py wrote the file).
#include <gmock/gmock.h>

#include "data/test_support.h"
#include "rows/preferences.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::filesystem::path& sample() {
  static const auto path = std::filesystem::path(GAVEL_SOURCE_DIR) / "tests/data/files/pairs.parquet";
  return path;
}

bool has_module() {
  return std::filesystem::exists(std::filesystem::path(GAVEL_BINARY_DIR) / "gavel_parquet.so");
}

TEST(Parquet, ABuildWithoutArrowSaysWhatToDo) {
  if (has_module()) GTEST_SKIP() << "this build reads Parquet";
  std::string why = error_of([] { read_preferences(sample(), {}); });
  EXPECT_THAT(why, HasSubstr("make parquet"));
  EXPECT_THAT(why, HasSubstr("pairs.jsonl"));
}

TEST(Parquet, ListsTextsNumbersAndNulls) {
  if (!has_module()) GTEST_SKIP() << "this build has no Apache Arrow (tools/fetch_packages.py pyarrow)";
  PreferenceData data = read_preferences(sample(), {});
  EXPECT_EQ(data.report.rows_read, 5);
  ASSERT_EQ(data.rows.size(), 3u);  // both null, and no label
  EXPECT_EQ(data.rows[0].id, "1");
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("What is two and two?"));
  EXPECT_THAT(data.rows[0].label, ElementsAre(1, 0, 0));
  EXPECT_THAT(data.rows[1].prompt, ElementsAre("Say \"hi\".", "Now\nsay\tbye."));
  EXPECT_THAT(data.rows[1].response_a, ElementsAre("hi", "bye"));
  EXPECT_THAT(data.rows[1].response_b, ElementsAre("", "Tschüß 👋"));
  EXPECT_THAT(data.rows[1].label, ElementsAre(0, 0.25f, 0.75f));
  EXPECT_EQ(data.rows[2].source_row, 4);
  EXPECT_EQ(data.report[Oddity::kBothNull].dropped, 1);
  EXPECT_EQ(data.report[Oddity::kBadLabel].dropped, 1);
  EXPECT_EQ(data.report[Oddity::kNullTurn].occurrences, 3);
}

ReadOptions other_columns() {
  return {.format = Format::kGeneric,
          .columns = {.prompt = "text", .response_a = "text", .response_b = "text", .winner = "winner"},
          .cells = Cells::kText};
}

TEST(Parquet, OtherColumnsAndWhatIsMissing) {
  if (!has_module()) GTEST_SKIP() << "this build has no Apache Arrow (tools/fetch_packages.py pyarrow)";
  ReadOptions options = other_columns();
  PreferenceData data = read_preferences(sample(), options);
  ASSERT_EQ(data.rows.size(), 5u);
  EXPECT_EQ(data.rows[4].id, "5");  // the row's number
  EXPECT_THAT(data.rows[3].prompt, ElementsAre("[4"));
  EXPECT_THAT(data.rows[1].label, ElementsAre(0, 1, 0));
  options.columns.prompt = "prompts";
  EXPECT_THAT(error_of([&] { read_preferences(sample(), options); }),
              testing::AllOf(HasSubstr("expected a column 'prompts'"), HasSubstr("did you mean 'prompt'")));
  options.columns.prompt = "unused";
  EXPECT_THAT(error_of([&] { read_preferences(sample(), options); }),
              testing::AllOf(HasSubstr("pairs.parquet"), HasSubstr("no row is left")));
}

TEST(Parquet, MessagesAndCompletions) {
  if (!has_module()) GTEST_SKIP() << "this build has no Apache Arrow (tools/fetch_packages.py pyarrow)";
  const std::filesystem::path path = sample().parent_path() / "messages.parquet";
  ReadOptions options{.format = Format::kChosen};
  options.score_margin = 2;
  PreferenceData data = read_preferences(path, options);
  ASSERT_EQ(data.rows.size(), 2u);
  EXPECT_TRUE(data.has_labels);
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("u"));
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("b \"d\""));
  EXPECT_EQ(data.rows[0].margin, 3);
  data = read_preferences(path, {.format = Format::kRanked});
  ASSERT_EQ(data.rows.size(), 1u) << "an answer without a score";
  EXPECT_THAT(data.rows[0].prompt, ElementsAre("i"));
  EXPECT_THAT(data.rows[0].response_b, ElementsAre("y"));
  EXPECT_THAT(data.rows[0].label, ElementsAre(1, 0, 0));
}

TEST(Parquet, NoThreadReadsAhead) {
  if (!has_module()) GTEST_SKIP() << "this build has no Apache Arrow (tools/fetch_packages.py pyarrow)";
  TempFolder folder;
  const auto torn = folder.write("torn.parquet", "PAR1");
  EXPECT_NE(error_of([&] { read_preferences(torn, {}); }), "");  // Arrow is loaded, with threads of its allocators
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
  };
  const auto before = threads();
  // Threads of Arrow's that read ahead gave memory back to a file's pool that was gone with it: one process in ten crashed.
  read_preferences(sample(), other_columns());
  EXPECT_EQ(threads(), before);
}

TEST(Parquet, TornFilesAreErrors) {
  if (!has_module()) GTEST_SKIP() << "this build has no Apache Arrow (tools/fetch_packages.py pyarrow)";
  TempFolder folder;
  const std::string whole = read_text(sample());
  for (size_t size : {size_t{4}, size_t{12}, whole.size() / 2, whole.size() - 1}) {
    auto path = folder.write("torn.parquet", whole.substr(0, size));
    EXPECT_THAT(error_of([&] { read_preferences(path, {}); }), HasSubstr("torn.parquet: can't be read as Parquet"));
  }
}

}  // namespace
}  // namespace gavel

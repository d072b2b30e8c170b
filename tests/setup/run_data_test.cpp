// From a recipe to the tokens of a run: split, folds, cache.
#include "setup/run_data.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "data/load_dataset.h"
#include "sample/sample.h"
#include "setup/data_summary.h"
#include "setup/open_model.h"
#include "setup/run_options.h"
#include "setup/test_support.h"
#include "setup/tiny_tokenizer.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class RunDataTest : public testing::Test {
 protected:
  void SetUp() override {
    make_sample(file("train.csv"), file("test.csv"), 120, 30, 1);
    write_file(file("tokenizer.json"), tiny_tokenizer());
    if (const char* old = std::getenv("XDG_CACHE_HOME")) cache_before_ = old;
    ::setenv("XDG_CACHE_HOME", file("cache").c_str(), 1);
  }
  void TearDown() override {
    if (cache_before_)
      ::setenv("XDG_CACHE_HOME", cache_before_->c_str(), 1);
    else
      ::unsetenv("XDG_CACHE_HOME");
  }

  fs::path file(const std::string& name) const { return scratch_.path() / name; }
  Recipe recipe(const std::vector<std::string>& settings = {}) const {
    std::vector<std::string> all = {"model.path=none", "output=none", "data.max_length=64",
                                    "data.train=" + file("train.csv").string(), "data.valid=0.2"};
    all.insert(all.end(), settings.begin(), settings.end());
    return parse_recipe("", "test", all);
  }
  RunData load(const std::vector<std::string>& settings = {}) const {
    return RunDataLoader(recipe(settings), Tokenizer::load(file("tokenizer.json"))).get();
  }
  static std::set<int64_t> source_rows(const TokenizedRows& rows) {
    std::set<int64_t> out;
    for (int64_t row = 0; row < rows.tokens.num_rows(); ++row) out.insert(rows.tokens.source_row(row));
    return out;
  }
  std::string load_error(const std::vector<std::string>& settings) const {
    try {
      load(settings);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  TempFolder scratch_{"run_data"};
  std::optional<std::string> cache_before_;
};

TEST_F(RunDataTest, AListOfFilesIsReadAsOne) {
  const std::string header = "prompt,response_a,response_b,winner\n";
  std::string plain = header;
  for (int row = 0; row < 50; ++row) plain += fmt::format("question {0},one {0},two {0},model_a\n", row);
  write_file(file("more-1.csv"), plain);
  const std::string first = file("train.csv").string(), more = file("more-*.csv").string();
  const std::string list =
      fmt::format("data.train=[{}, {{path: \"{}\", weight: 0.5, rows: 20, format: wsdm}}]", first, more);
  RunData data = load({list, "data.valid=0"});
  ASSERT_EQ(data.files.size(), 2u);
  EXPECT_EQ(data.files[1].path, file("more-1.csv"));
  EXPECT_EQ(data.files[1].rows, 20);
  EXPECT_EQ(data.train_report.rows_read, 170);
  const TokenizedDataset& rows = data.train.tokens;
  ASSERT_EQ(rows.num_rows(), 140);
  std::vector<int64_t> drawn;
  for (int64_t row = 0; row < 140; ++row) {
    const auto [which, number] = rows.source(row);
    EXPECT_EQ(which, row < 120 ? 0u : 1u);
    EXPECT_EQ(rows.weight(row), row < 120 ? 1.0f : 0.5f);
    if (which == 1) drawn.push_back(number);
  }
  EXPECT_TRUE(std::is_sorted(drawn.begin(), drawn.end()));
  EXPECT_EQ(std::set<int64_t>(drawn.begin(), drawn.end()).size(), 20u);
  EXPECT_NE(drawn.back(), 20) << "the first rows, not drawn ones";
  // Drawing and weights are no part of what is kept, and another seed draws others.
  RunData other = load({list, "data.valid=0", "train.seed=7"});
  EXPECT_TRUE(other.from_cache);
  EXPECT_NE(source_rows(other.train), source_rows(data.train));
  EXPECT_THAT(describe_data(recipe({list}), data),
              testing::AllOf(HasSubstr("more-1.csv"), HasSubstr("20 of them are taken")));
  // A split goes over all files, and no prompt is on both sides.
  RunData split = load({list, "data.valid=0.25"});
  EXPECT_EQ(split.train.tokens.num_rows() + split.valid->tokens.num_rows(), 140);
  EXPECT_GT(*source_rows(*split.valid).rbegin(), 120);
  EXPECT_THAT(load_error({"data.train=[" + first + ", " + file("*in.csv").string() + "]"}),
              HasSubstr("is in the list twice"));
  EXPECT_THAT(load_error({"data.train=" + file("none-*.csv").string()}), HasSubstr("no file matches"));
}

TEST_F(RunDataTest, AFolderIsItsDataFilesByName) {
  const auto folder = file("votes");
  std::filesystem::create_directories(folder / "more");
  EXPECT_THAT(load_error({"data.train=" + folder.string()}), HasSubstr("is a folder without data"));
  EXPECT_THAT(load_error({"data.train=" + folder.string()}), HasSubstr("found more/"));
  const std::vector<PreferenceRow> rows = read_preferences(file("train.csv"), {}).rows;
  write_lmsys_csv(folder / "b.csv", {rows.begin(), rows.begin() + 70});
  write_lmsys_csv(folder / "a.csv", {rows.begin() + 70, rows.begin() + 100});
  write_file(folder / "README.md", "votes");
  write_file(folder / "dataset_info.json", "{}");
  write_file(folder / ".hidden.csv", "x");
  std::filesystem::create_directories(file("held"));
  write_lmsys_csv(file("held") / "v1.csv", {rows.begin() + 100, rows.begin() + 108});
  write_lmsys_csv(file("held") / "v2.csv", {rows.begin() + 108, rows.begin() + 120});
  const std::vector<std::string> settings = {"data.train=" + folder.string(), "data.valid=" + file("held").string()};
  RunData data = load(settings);
  ASSERT_EQ(data.files.size(), 2u);
  EXPECT_EQ(data.files[0].path, folder / "a.csv");
  EXPECT_EQ(data.files[0].rows, 30);
  EXPECT_EQ(data.files[1].path, folder / "b.csv");
  EXPECT_EQ(data.train.tokens.num_rows(), 100);
  ASSERT_TRUE(data.valid);
  EXPECT_EQ(data.valid->tokens.num_rows(), 20);
  EXPECT_EQ(data.valid->tokens.source_row(19), 20);
  EXPECT_GE(load({"data.exclude=" + file("held").string(), "data.valid=0"}).excluded_rows, 20);
  EXPECT_THAT(load_error({"data.train=[" + folder.string() + ", " + (folder / "a.csv").string() + "]"}),
              HasSubstr("is in the list twice"));
  EXPECT_THAT(load_error({"data.valid=" + file("votes/more").string()}), HasSubstr("it is empty"));
  EXPECT_THAT(describe_folders(recipe(settings)),
              testing::ElementsAre(HasSubstr("votes: 2 files: a.csv, b.csv; skipped: .hidden.csv, README.md, "
                                             "dataset_info.json, more/"),
                                   HasSubstr("held: 2 files: v1.csv, v2.csv")));
}

TEST_F(RunDataTest, PromptsOfOtherFilesAreKeptOut) {
  // Fifteen of the training rows are the validation file; five of its prompts are those of another file.
  std::vector<PreferenceRow> rows = read_preferences(file("train.csv"), {}).rows;
  const std::vector<PreferenceRow> valid(rows.begin(), rows.begin() + 15), small(rows.begin() + 10, rows.begin() + 30);
  write_lmsys_csv(file("valid.csv"), valid);
  write_lmsys_csv(file("small.csv"), small);
  auto with_prompts_of = [&](const std::vector<PreferenceRow>& others) {
    std::set<std::vector<std::string>> prompts;
    for (const PreferenceRow& row : others) prompts.insert(row.prompt);
    return std::count_if(rows.begin(), rows.end(),
                         [&](const PreferenceRow& row) { return prompts.contains(row.prompt); });
  };
  const std::string valid_file = "data.valid=" + file("valid.csv").string();
  EXPECT_EQ(load({valid_file}).shared_prompts, 15);
  RunData without = load({valid_file, "data.exclude_valid_prompts=true"});
  EXPECT_EQ(without.shared_prompts, 0);
  EXPECT_EQ(without.excluded_rows, with_prompts_of(valid));
  EXPECT_EQ(without.train.tokens.num_rows(), 120 - without.excluded_rows);
  EXPECT_EQ(without.valid->tokens.num_rows(), 15);
  RunData excluded = load({"data.exclude=" + file("small.csv").string()});
  EXPECT_EQ(excluded.excluded_rows, with_prompts_of(small));
  EXPECT_EQ(excluded.train.tokens.num_rows() + excluded.valid->tokens.num_rows(), 120 - excluded.excluded_rows);
  EXPECT_THAT(load_error({"data.exclude=" + file("train.csv").string()}), HasSubstr("all 120 rows"));
}

TEST_F(RunDataTest, IsSplitAndTheSecondStartTakesTheCache) {
  RunData first = load();
  EXPECT_FALSE(first.from_cache);
  EXPECT_EQ(first.train_report.rows_read, 120);
  ASSERT_TRUE(first.valid);
  EXPECT_EQ(first.train.tokens.num_rows() + first.valid->tokens.num_rows(), 120);
  EXPECT_EQ(first.train.turns.size(), static_cast<size_t>(first.train.tokens.num_rows()));
  RunData second = load();
  EXPECT_TRUE(second.from_cache);
  EXPECT_EQ(second.train_report.format(), first.train_report.format());
  EXPECT_EQ(source_rows(second.train), source_rows(first.train));
  for (int64_t row = 0; row < first.train.tokens.num_rows(); ++row)
    EXPECT_TRUE(std::ranges::equal(first.train.tokens.tokens(row), second.train.tokens.tokens(row)));
  // The split is no part of what is kept; another file is.
  EXPECT_TRUE(load({"data.valid=0.1", "train.seed=7", "data.fraction=0.5"}).from_cache);
  EXPECT_FALSE(load({"data.max_length=63"}).from_cache);
  std::ofstream(file("train.csv"), std::ios::app) << "x,m,n,\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",1,0,0\n";
  RunData changed = load();
  EXPECT_FALSE(changed.from_cache);
  EXPECT_EQ(changed.train_report.rows_read, 121);
}

TEST_F(RunDataTest, OnlyTrainingRowsAreMixedWithTheirTeachers) {
  const std::vector<PreferenceRow> rows = read_preferences(file("train.csv"), {}).rows;
  std::string text = "prompt,response_a,response_b,winner,ta,tb,by_a,by_b\n";
  for (size_t i = 0; i < rows.size(); ++i)
    text += fmt::format("question {0},one,two,{1},{2},m{3},m{4}\n", i, i % 4 == 3 ? "" : "model_a",
                        i % 4 == 2 ? "," : "1,3", i % 2, i % 3);
  write_file(file("teachers.csv"), text);
  const std::vector<std::string> settings = {"data.train=" + file("teachers.csv").string(), "data.format=wsdm",
                                             "data.columns.teacher_a=ta", "data.columns.teacher_b=tb",
                                             "data.columns.auxiliary=[by_a, by_b]"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), settings.begin(), settings.end());
    return more;
  };
  const RunData found = load(with({"data.teacher_weight=0.25", "data.valid=0.3"}));
  const TokenizedDataset &train = found.train.tokens, &valid = found.valid->tokens;
  for (int64_t row = 0; row < train.num_rows(); ++row) {
    const int64_t kind = (train.source_row(row) - 1) % 4;
    const std::array<float, 3> mixed = {0.8125f, 0.1875f, 0}, vote = {1, 0, 0}, teacher = {0.25f, 0.75f, 0};
    EXPECT_EQ(train.target(row), kind == 3 ? teacher : kind == 2 ? vote : mixed);
  }
  // Validation rows have votes, and their targets are these.
  EXPECT_GT(valid.num_rows(), 15);
  for (int64_t row = 0; row < valid.num_rows(); ++row)
    EXPECT_EQ(valid.target(row), (std::array<float, 3>{1, 0, 0})) << valid.source_row(row);
  EXPECT_EQ(train.num_auxiliary_classes(), 3);
  EXPECT_EQ(valid.num_auxiliary_classes(), 0);
  EXPECT_THAT(describe_data(recipe(with({"data.teacher_weight=0.25"})), found),
              testing::AllOf(HasSubstr("of them with a teacher, of weight 0.25 in their targets"),
                             HasSubstr("auxiliary head over by_a, by_b: 3 classes: m")));
  // The weight is no part of what is kept.
  EXPECT_TRUE(load(with({"data.teacher_weight=0.75", "data.valid=0"})).from_cache);
  EXPECT_THAT(load_error(with({"data.columns.teacher_a=none"})), HasSubstr("expected a column 'none'"));
  // A teacher that no row has is a mistake in the names; lines of JSON have no header to tell by.
  write_file(file("lines.jsonl"), R"({"prompt":"p","response_a":"x","response_b":"y","winner":"model_a"})");
  EXPECT_THAT(load_error(with({"data.train=" + file("lines.jsonl").string(), "data.valid=0"})),
              HasSubstr("data.columns.teacher_a: no training row has a teacher's shares"));
}

TEST_F(RunDataTest, WithoutTheCacheNothingIsWritten) {
  RunData found = load({"data.cache=false"});
  EXPECT_FALSE(found.from_cache);
  EXPECT_TRUE(fs::is_empty(token_cache_folder()));
  EXPECT_FALSE(load({"data.cache=false"}).from_cache);
}

TEST_F(RunDataTest, FoldsTakeTurnsAsValidationRows) {
  std::set<int64_t> seen;
  for (int fold = 0; fold < 3; ++fold) {
    RunData found = load({"data.folds=3", fmt::format("data.fold={}", fold)});
    ASSERT_TRUE(found.valid);
    EXPECT_EQ(found.train.tokens.num_rows() + found.valid->tokens.num_rows(), 120);
    for (int64_t row : source_rows(*found.valid)) {
      EXPECT_TRUE(seen.insert(row).second) << row;
      EXPECT_FALSE(source_rows(found.train).contains(row));
    }
  }
  EXPECT_EQ(seen.size(), 120u);
  EXPECT_THAT(load_error({"data.folds=3", "data.fold=3"}), HasSubstr("data.fold: expected 0 to 2"));
  EXPECT_THAT(load_error({"data.fold=1"}), HasSubstr("data.fold"));
  EXPECT_THAT(load_error({"data.folds=3", "data.valid=" + file("test.csv").string()}), HasSubstr("data.folds"));
  EXPECT_THAT(load_error({"data.folds=200"}), HasSubstr("data.folds: expected 2 to 120"));
}

TEST_F(RunDataTest, AValidationFileIsComparedWithTheTrainingRows) {
  RunData found = load({"data.valid=" + file("train.csv").string()});
  ASSERT_TRUE(found.valid && found.valid_report);
  EXPECT_EQ(found.train.tokens.num_rows(), 120);
  EXPECT_EQ(found.shared_prompts, 120);
  EXPECT_EQ(load({"data.valid=" + file("test.csv").string()}).shared_prompts, 0);
  EXPECT_FALSE(load({"data.valid=0"}).valid);
}

TEST_F(RunDataTest, WhatIsMissingIsSaidAtOnce) {
  Tokenizer tokenizer = Tokenizer::load(file("tokenizer.json"));
  EXPECT_THROW(RunDataLoader(recipe({"data.train=nowhere.csv"}), tokenizer), Error);
  EXPECT_THROW(RunDataLoader(recipe({"data.valid=nowhere.csv"}), tokenizer), Error);
  EXPECT_THROW(RunDataLoader(recipe({"data.format=wsdm"}), tokenizer), Error);
  // A row that is broken comes to light when the rows are asked for; a loader can also go unasked.
  std::ofstream(file("train.csv"), std::ios::app) << "1,2\n";
  EXPECT_THAT(load_error({}), HasSubstr("row 121"));
  RunDataLoader unasked(recipe(), tokenizer);
}

TEST_F(RunDataTest, SummaryCountsAndShows) {
  Tokenizer tokenizer = Tokenizer::load(file("tokenizer.json"));
  RunData data = load();
  DataSummary summary = summarize(recipe(), data, tokenizer, 2);
  ASSERT_EQ(summary.examples.size(), 2u);
  EXPECT_LE(summary.examples[0].full_tokens, summary.examples[1].full_tokens);
  EXPECT_EQ(summary.train.statistics.full_lengths.min, static_cast<double>(summary.examples[0].full_tokens));
  EXPECT_EQ(summary.train.turns.count, data.train.tokens.num_rows());
  std::string text = summary.format();
  for (const char* part : {"120 rows read, 120 kept", "A wins", "99%", "█", "cut by max_length 64", "packed", "| "})
    EXPECT_THAT(text, HasSubstr(part));
  std::string json = summary.to_json();
  for (const char* part : {"\"rows_read\": 120", "\"both_null\"", "\"99%\"", "\"histogram\"", "\"wasted\""})
    EXPECT_THAT(json, HasSubstr(part));
}

}  // namespace
}  // namespace gavel

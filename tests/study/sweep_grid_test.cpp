#include "study/sweep_grid.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "setup/test_support.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> values(const std::string& text) {
  return parse_swept_key("key=" + text).values;
}

std::string grid_error(const std::string& file, const std::vector<std::string>& texts) {
  try {
    make_grid(file, texts);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string value_error(const std::string& text) {
  try {
    parse_swept_key(text);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(SweptKeys, ValuesAreCutAtCommasOutsideBracketsAndQuotes) {
  EXPECT_EQ(parse_swept_key("train.seed=1,2").key, "train.seed");
  EXPECT_THAT(values("1,2,3"), ElementsAre("1", "2", "3"));
  EXPECT_THAT(values("5e-5"), ElementsAre("5e-5"));
  EXPECT_THAT(values("[a, b],[c]"), ElementsAre("[a, b]", "[c]"));
  EXPECT_THAT(values("[\"a,]\", b],x"), ElementsAre("[\"a,]\", b]", "x"));
  EXPECT_THAT(values("'a, b',\"c \\\", d\""), ElementsAre("'a, b'", "\"c \\\", d\""));
  EXPECT_THAT(values("it's,a=b"), ElementsAre("it's", "a=b"));
  EXPECT_THAT(values(""), ElementsAre(""));
}

TEST(SweptKeys, SlipsAreNamed) {
  EXPECT_THAT(value_error("train.seed"), HasSubstr("expected section.key=a,b,c, found 'train.seed'"));
  EXPECT_THAT(value_error("train.seed=1,,2"), AllOf(HasSubstr("train.seed"), HasSubstr("missing between commas")));
  EXPECT_THAT(value_error("train.seed=1,"), HasSubstr("missing between commas"));
  EXPECT_THAT(value_error("train.seed=1,2,1"), HasSubstr("the value 1 is given twice"));
  EXPECT_THAT(value_error("lora.target_modules=[a,b"), HasSubstr("is not closed"));
  EXPECT_THAT(value_error("lora.target_modules=[a]b,c"), HasSubstr("expected a comma after [a], found 'b,c'"));
}

class Grid : public testing::Test {
 protected:
  void SetUp() override {
    write_file(file(), "model: {path: m}\ndata: {train: t.csv}\noutput: o\ntrain: {warmup_steps: 1}\n");
  }
  std::string file() const { return (scratch_.path() / "recipe.yaml").string(); }
  TempFolder scratch_{"gavel_sweep_grid_test"};
};

TEST_F(Grid, HasAllCombinationsTheFirstKeySlowest) {
  const SweepGrid grid =
      make_grid(file(), {"train.learning_rate=1e-4,2e-4", "lora.r=4,8", "train.max_steps=50", "train.seed=1,2"});
  std::vector<std::string> names, folders;
  for (const SweepSetting& setting : grid.settings) {
    names.push_back(setting.name);
    for (const SweepSetting::Run& run : setting.runs) {
      folders.push_back(run.folder);
      EXPECT_EQ(run.recipe.train.max_steps, 50);
    }
  }
  EXPECT_THAT(names, ElementsAre("learning_rate=1e-4, r=4", "learning_rate=1e-4, r=8", "learning_rate=2e-4, r=4",
                                 "learning_rate=2e-4, r=8"));
  EXPECT_EQ(folders.size(), 8u);
  EXPECT_EQ(folders[3], "learning_rate=1e-4,r=8,seed=2");
  EXPECT_EQ(grid.settings[1].runs[1].recipe.train.seed, 2);
  EXPECT_EQ(grid.settings[1].runs[1].recipe.lora.r, 8);
  EXPECT_EQ(grid.settings[2].runs[0].recipe.train.learning_rate, 2e-4);
  EXPECT_EQ(grid.base.train.max_steps, 50);
  EXPECT_EQ(grid.keys.size(), 3u);
}

TEST_F(Grid, FoldersHaveSafeNamesOfTheirOwn) {
  // Without what is no plain letter they would be the same.
  const SweepGrid grid = make_grid(file(), {"data.template='{prompt} {response_a} {response_b}',"
                                            "'{prompt}, {response_a}{response_b}'",
                                            "model.path=../a,..a,a"});
  std::vector<std::string> folders;
  for (const SweepSetting& setting : grid.settings) {
    folders.push_back(setting.runs[0].folder);
    EXPECT_THAT(folders.back(), AllOf(Not(HasSubstr("/")), Not(HasSubstr(" ")), Not(HasSubstr("["))));
    EXPECT_NE(folders.back()[0], '.');
    EXPECT_LE(folders.back().size(), 90u);
  }
  std::sort(folders.begin(), folders.end());
  EXPECT_EQ(std::unique(folders.begin(), folders.end()), folders.end());
}

TEST_F(Grid, NamesEveryProblemBeforeAnythingRuns) {
  EXPECT_THAT(grid_error(file(), {"train.learning_rte=1,2", "lora.r=4,x"}),
              AllOf(HasSubstr("train.learning_rte: unknown key"), HasSubstr("lora.r"), HasSubstr("'x'")));
  EXPECT_THAT(grid_error(file(), {"lora.r=4,8", "lora.r=16"}), HasSubstr("lora.r: is given twice"));
  EXPECT_THAT(grid_error(file(), {"lora.r=4"}), HasSubstr("no key has several values"));
  EXPECT_THAT(grid_error(file(), {"data.valid=0.1,0.2"}), HasSubstr("data.valid: can't be swept"));
  EXPECT_THAT(grid_error(file(), {"data.columns.prompt=a,b"}), HasSubstr("can't be swept"));
  EXPECT_THAT(grid_error(file(), {"train.learning_rate=1e-4,0.0001"}), HasSubstr("is the same as learning_rate=1e-4"));
}

}  // namespace
}  // namespace gavel

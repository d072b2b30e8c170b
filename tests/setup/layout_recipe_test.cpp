// What is told of a file's layout can be given to a recipe as it is printed.
#include "setup/layout_recipe.h"

#include <gmock/gmock.h>

#include "recipe/recipe.h"
#include "setup/test_support.h"

namespace gavel {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<std::string> kRest = {"model.path=none", "output=none", "data.train=x.csv", "data.valid=0"};
constexpr const char* kRestAsYaml = "model: {path: none}\noutput: none\n";

Layout generic() {
  Layout layout{.format = Format::kGeneric, .name = "generic", .cells = Cells::kText};
  layout.columns = {
      .id = "no", .prompt = "Question: of, {all}", .response_a = "true", .response_b = "# b", .winner = "x y"};
  return layout;
}

void expect_generic(const Recipe::Data& data) {
  EXPECT_EQ(data.format, Format::kGeneric);
  EXPECT_EQ(data.cells, Cells::kText);
  EXPECT_EQ(data.columns.id, "no");
  EXPECT_EQ(data.columns.prompt, "Question: of, {all}");
  EXPECT_EQ(data.columns.response_a, "true");
  EXPECT_EQ(data.columns.response_b, "# b");
  EXPECT_EQ(data.columns.winner, "x y");
}

TEST(LayoutRecipe, SettingsAndLinesSayTheSameWhateverColumnsAreCalled) {
  std::vector<std::string> settings = layout_settings(generic());
  settings.insert(settings.end(), kRest.begin(), kRest.end());
  expect_generic(parse_recipe("", "test", settings).data);
  const std::string text = kRestAsYaml + layout_recipe(generic());
  expect_generic(parse_recipe(text, "test", {"data.train=x.csv"}).data);
}

TEST(LayoutRecipe, FormatsOfRewardsBringTheirTask) {
  const Layout scored{.format = Format::kScored, .name = "scored"};
  const Recipe recipe = parse_recipe(kRestAsYaml + layout_recipe(scored), "test", {"data.train=x.csv"});
  EXPECT_EQ(recipe.task, Recipe::TaskKind::kReward);
  EXPECT_EQ(recipe.reward.loss, Recipe::RewardLoss::kRegression);
  EXPECT_EQ(recipe.data.format, Format::kScored);
  EXPECT_THAT(layout_recipe({.format = Format::kChosen, .name = "chosen"}), HasSubstr("swap: random"));
}

TEST(LayoutRecipe, ListsOfTurnsBesideWsdmAreDoubted) {
  const TempFolder scratch{"layout_recipe"};
  const auto path = scratch.path() / "a.csv";
  write_file(path, "prompt,response_a,response_b,winner\n\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",tie\n");
  EXPECT_THAT(doubt_about_layout(path, {.format = Format::kWsdm}),
              AllOf(HasSubstr("a.csv: the texts are lists of turns"), HasSubstr("format: generic")));
  EXPECT_THAT(doubt_about_layout(path, {.format = Format::kGeneric}), IsEmpty());
  write_file(path, "prompt,response_a,response_b,winner\np,a,[b],tie\n");
  EXPECT_THAT(doubt_about_layout(path, {.format = Format::kWsdm}), IsEmpty());
}

}  // namespace
}  // namespace gavel

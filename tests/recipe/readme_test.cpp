#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "base/file.h"
#include "recipe/recipe.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;

TEST(Readme, TableOfSettingsIsTheProgramsOwn) {
  const std::string page = read_text(fs::path(GAVEL_SOURCE_DIR) / "docs/settings.md");
  const size_t table = page.find("| key |");
  ASSERT_NE(table, std::string::npos);
  if (page.substr(table) == recipe_markdown()) return;
  const fs::path right = fs::path(GAVEL_BINARY_DIR) / "settings.md";
  write_file(right, recipe_markdown());
  FAIL() << "docs/settings.md's table is not what recipe_markdown() says; the right one is in " << right;
}

TEST(Readme, EveryRecipeIsReadAndNamed) {
  const std::string readme = read_text(fs::path(GAVEL_SOURCE_DIR) / "README.md");
  int recipes = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(GAVEL_SOURCE_DIR) / "recipes")) {
    EXPECT_NO_THROW(load_recipe(entry.path())) << entry.path();
    EXPECT_NE(readme.find(entry.path().filename().string()), std::string::npos) << entry.path();
    ++recipes;
  }
  EXPECT_GT(recipes, 0);
}

TEST(Readme, GenericColumnsExampleIsAValidRecipe) {
  const std::string guide = read_text(fs::path(GAVEL_SOURCE_DIR) / "docs/guide.md");
  const size_t begin = guide.find("   data:\n     train: mine.csv"), end = guide.find("   ```", begin);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  // The list item's own indentation stays: YAML asks only for the same one on every line.
  const Recipe recipe = parse_recipe(guide.substr(begin, end - begin), "docs/guide.md", {"model.path=m"});
  EXPECT_EQ(recipe.data.format, Format::kGeneric);
  EXPECT_EQ(recipe.data.columns.winner, "better");
  EXPECT_EQ(recipe.data.cells, Cells::kText);
}

}  // namespace
}  // namespace gavel

#include "recipe/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "recipe/recipe.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json schema() {
  return json::parse(recipe_schema());
}

/** The schema of a key, found by its sections. */
json schema_of(std::string key) {
  json at = schema();
  for (size_t dot = key.find('.'); dot != std::string::npos; dot = key.find('.')) {
    at = at.at("properties").at(key.substr(0, dot));
    key.erase(0, dot + 1);
  }
  return at.at("properties").at(key);
}

/** How many keys with a description the object and those in it have. */
size_t count_keys(const json& object) {
  size_t count = 0;
  EXPECT_EQ(object.at("additionalProperties"), false);
  for (const auto& [name, value] : object.at("properties").items())
    count += value.contains("properties") ? count_keys(value) : value.contains("description");
  return count;
}

TEST(Schema, HasEveryKeyAndNoOther) {
  EXPECT_EQ(schema().at("$schema"), "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(count_keys(schema()), recipe_keys().size());
  for (const RecipeKey& key : recipe_keys()) {
    const json found = schema_of(key.key);
    EXPECT_EQ(found.at("description"), key.help) << key.key;
    EXPECT_EQ(found.contains("default"), !key.required) << key.key;
    if (key.type == "choice") {
      EXPECT_EQ(found.at("enum"), json(key.choices)) << key.key;
      EXPECT_THAT(key.choices, testing::Contains(found.at("default").get<std::string>())) << key.key;
    }
  }
}

TEST(Schema, BoundsAreTheFields) {
  EXPECT_EQ(schema_of("train.learning_rate").at("minimum"), 0);
  EXPECT_FALSE(schema_of("train.learning_rate").contains("maximum"));
  EXPECT_EQ(schema_of("train.learning_rate").at("default"), 5e-5);
  EXPECT_EQ(schema_of("lora.lora_alpha").at("exclusiveMinimum"), 0);
  EXPECT_FALSE(schema_of("lora.lora_alpha").contains("minimum"));
  EXPECT_EQ(schema_of("train.adam_beta1").at("exclusiveMaximum"), 1);
  EXPECT_EQ(schema_of("data.fraction").at("exclusiveMinimum"), 0);
  EXPECT_EQ(schema_of("data.fraction").at("maximum"), 1);
  EXPECT_EQ(schema_of("train.seed").at("maximum"), 9007199254740991);
  EXPECT_EQ(schema_of("data.valid").at("anyOf")[0].at("exclusiveMaximum"), 1);
  // A bound that a recipe is refused by is one of the schema.
  EXPECT_THROW(parse_recipe("", "test", {"model.path=m", "data.train=d", "lora.lora_alpha=0"}), std::exception);
  EXPECT_THROW(parse_recipe("", "test", {"model.path=m", "data.train=d", "train.adam_beta1=1"}), std::exception);
}

TEST(Schema, NullIsForKeysThatTakeIt) {
  EXPECT_EQ(schema_of("train.max_steps").at("type"), json({"integer", "null"}));
  EXPECT_EQ(schema_of("train.max_steps").at("default"), nullptr);
  EXPECT_EQ(schema_of("train.epochs").at("type"), "integer");
  EXPECT_EQ(schema_of("data.exclude").at("anyOf").back(), json({{"type", "null"}}));
  EXPECT_EQ(schema().at("properties").at("train").at("type"), json({"object", "null"}));  // an empty section
  EXPECT_EQ(schema().at("properties").at("data").at("type"), "object");                   // has a key that is required
  EXPECT_EQ(schema().at("required"), json({"model", "data"}));
  EXPECT_EQ(schema().at("properties").at("data").at("required"), json::array({"train"}));
}

TEST(Schema, FilesOfTheTrainingData) {
  const json forms = schema_of("data.train").at("anyOf");
  ASSERT_EQ(forms.size(), 3u);
  EXPECT_EQ(forms[0].at("type"), "string");
  EXPECT_EQ(forms[1].at("required"), json::array({"path"}));
  EXPECT_EQ(forms[1].at("additionalProperties"), false);
  for (const char* key : {"path", "weight", "rows", "format", "cells"})
    EXPECT_TRUE(forms[1].at("properties").contains(key)) << key;
  EXPECT_EQ(forms[1].at("properties").at("weight").at("exclusiveMinimum"), 0);
  EXPECT_EQ(forms[2].at("items").at("anyOf")[1], forms[1]);
}

TEST(Schema, TheFileOfTheDocsIsTheProgramsOwn) {
  if (read_text(fs::path(GAVEL_SOURCE_DIR) / "docs/recipe.schema.json") == recipe_schema()) return;
  const fs::path right = fs::path(GAVEL_BINARY_DIR) / "recipe.schema.json";
  write_file(right, recipe_schema());
  FAIL() << "docs/recipe.schema.json is not what gavel schema prints; the right one is in " << right;
}

TEST(Schema, RecipesNameIt) {
  const std::string first = "# yaml-language-server: $schema=";
  int recipes = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(GAVEL_SOURCE_DIR) / "recipes")) {
    const std::string text = read_text(entry.path());
    ASSERT_TRUE(text.starts_with(first)) << entry.path();
    const fs::path schema = text.substr(first.size(), text.find('\n') - first.size());
    EXPECT_TRUE(fs::exists(entry.path().parent_path() / schema)) << entry.path();
    ++recipes;
  }
  EXPECT_GT(recipes, 0);
}

TEST(Schema, PathsAreKnown) {
  EXPECT_TRUE(names_a_path("data.train"));
  EXPECT_TRUE(names_a_path("model.path"));
  EXPECT_FALSE(names_a_path("train.seed"));
  EXPECT_FALSE(names_a_path("no.such"));
}

}  // namespace
}  // namespace gavel

// Settings of what training reads beside votes: teachers, auxiliary columns, the order of rows.
#include <gmock/gmock.h>

#include "base/error.h"
#include "recipe/recipe.h"

namespace gavel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Recipe recipe_with(std::vector<std::string> settings) {
  settings.insert(settings.begin(), {"model.path=m", "data.train=t.csv", "output=o"});
  return parse_recipe("", "r.yaml", settings);
}

std::string problem_with(const std::vector<std::string>& settings) {
  try {
    recipe_with(settings);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ExtraColumns, AreOffAndOfAnyFormatOfPairs) {
  const Recipe plain = recipe_with({});
  EXPECT_FALSE(plain.data.columns.teacher_a);
  EXPECT_TRUE(plain.data.columns.auxiliary.empty());
  EXPECT_EQ(plain.data.teacher_weight, 0.5);
  EXPECT_EQ(plain.data.curriculum, Curriculum::kNone);
  EXPECT_EQ(plain.train.auxiliary_weight, 0.1);
  const Recipe recipe = recipe_with({"data.columns.teacher_a=ta", "data.columns.teacher_b=tb",
                                     "data.teacher_weight=0.25", "data.columns.auxiliary=[model_a, model_b]",
                                     "train.auxiliary_weight=0.2", "data.curriculum=length"});
  EXPECT_EQ(recipe.data.columns.teacher_b, "tb");
  EXPECT_FALSE(recipe.data.columns.teacher_tie);
  EXPECT_THAT(recipe.data.columns.auxiliary, ElementsAre("model_a", "model_b"));
  EXPECT_EQ(recipe.data.curriculum, Curriculum::kLength);
  EXPECT_EQ(parse_recipe(to_yaml(recipe), "again"), recipe);
  // With another format the recipe still reads what is judged.
  EXPECT_EQ(problem_with({"data.format=ranked", "data.columns.auxiliary=[a, b]"}), "no error");
}

TEST(ExtraColumns, WhatDoesNotFitIsNamed) {
  EXPECT_THAT(problem_with({"data.columns.teacher_a=ta"}),
              HasSubstr("a teacher has the columns teacher_a and teacher_b"));
  EXPECT_THAT(problem_with({"data.columns.teacher_tie=tt"}), HasSubstr("data.columns.teacher_a: a teacher has"));
  EXPECT_THAT(problem_with({"data.teacher_weight=1.5"}),
              HasSubstr("data.teacher_weight: expected a number from 0 to 1"));
  EXPECT_THAT(problem_with({"data.columns.auxiliary=[model_a]"}),
              HasSubstr("data.columns.auxiliary: expected two columns, of A and of B, found 1"));
  EXPECT_THAT(problem_with({"train.auxiliary_weight=0"}), HasSubstr("train.auxiliary_weight"));
  EXPECT_THAT(problem_with({"data.curriculum=width"}), HasSubstr("data.curriculum"));
}

}  // namespace
}  // namespace gavel

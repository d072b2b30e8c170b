#include "base/json_text.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json_number.h"

namespace gavel {
namespace {

std::string nested(int levels, const std::string& open = "[", const std::string& close = "]") {
  std::string text;
  for (int i = 0; i < levels; ++i) text += open;
  for (int i = 0; i < levels; ++i) text += close;
  return text;
}

TEST(WholeNumber, IsOneThatAnInt64Holds) {
  using Json = nlohmann::json;
  EXPECT_EQ(whole_number(Json(-3)), -3);
  EXPECT_EQ(whole_number(Json::parse("9223372036854775807")), INT64_MAX);
  for (const char* text :
       {"9223372036854775808", "18446744073709551616", "2.5", "1e30", "true", "null", "\"3\"", "[3]"})
    EXPECT_EQ(whole_number(Json::parse(text)), std::nullopt) << text;
}

TEST(JsonText, DepthIsThatOfListsAndObjectsInOneAnother) {
  EXPECT_FALSE(json_is_deeper(nested(8), 8));
  EXPECT_TRUE(json_is_deeper(nested(9), 8));
  EXPECT_TRUE(json_is_deeper(nested(9, "{\"a\":", "}"), 8));
  EXPECT_FALSE(json_is_deeper("[[],[],[],[],[],[]]", 2));
  EXPECT_FALSE(json_is_deeper("", 0));
  EXPECT_TRUE(json_is_deeper(std::string(300'000, '['), 8));
}

TEST(JsonText, BracketsInTextsDoNotCount) {
  EXPECT_FALSE(json_is_deeper(R"(["[[[[[[", "\"[[[[", "\\"])", 1));
  EXPECT_TRUE(json_is_deeper(R"(["\\", [[]]])", 2));
}

TEST(JsonText, WhatIsTooDeepIsNamed) {
  EXPECT_EQ(within_json_depth("[1]", "x.json"), "[1]");
  try {
    within_json_depth(nested(300'000), "x.json");
    FAIL() << "taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("x.json: expected JSON of at most 256 levels"));
  }
}

}  // namespace
}  // namespace gavel

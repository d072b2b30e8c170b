#include "judge/pair_json.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace gavel {
namespace {

std::string id_of(const std::string& id) {
  return pairs_from_json(fmt::format(R"({{"id": {}, "prompt": "p", "response_a": "a 12345678901234567890123 \"b\"", )"
                                     R"("response_b": "b"}})",
                                     id),
                         1)
      .at(0)
      .id;
}

TEST(PairJson, IdsKeepAllTheirDigits) {
  for (const char* id : {"7", "-9223372036854775808", "9223372036854775807", "18446744073709551615",
                         "18446744073709551616", "-9223372036854775809", "123456789012345678901234567890"})
    EXPECT_EQ(id_of(id), id);
  EXPECT_EQ(id_of("\"00123\""), "00123");
  EXPECT_THROW(id_of("00000000000000000000000001"), Error);  // no JSON
  EXPECT_THROW(id_of("12345678901234567890123x"), Error);
}

TEST(PairJson, DigitsInTextsStayAsTheyAre) {
  const auto pair = pairs_from_json(
      R"({"prompt": "12345678901234567890123", "response_a": "\"12345678901234567890123", "response_b": ["1e400"]})",
      1);
  EXPECT_EQ(pair.at(0).prompt.at(0), "12345678901234567890123");
  EXPECT_EQ(pair.at(0).response_a.at(0), "\"12345678901234567890123");
}

TEST(PairJson, InAListTheyAreKeptToo) {
  const auto json = parse_shallow("[123456789012345678901234567890, 1.5, -2]");
  EXPECT_EQ(json.dump(), R"(["123456789012345678901234567890",1.5,-2])");
}

}  // namespace
}  // namespace gavel

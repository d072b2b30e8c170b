#include "report/scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "report/validation_file.h"

namespace gavel {
namespace {

JudgedRow row(std::array<double, 3> label, std::array<double, 3> p, int64_t tokens = 10, int64_t turns = 1) {
  return {"id", 1, tokens, turns, label, p};
}

TEST(Scores, FiguresOfAHandfulOfRows) {
  std::vector<JudgedRow> rows = {row({1, 0, 0}, {0.7, 0.2, 0.1}, 10), row({1, 0, 0}, {0.2, 0.7, 0.1}, 20),
                                 row({0, 1, 0}, {0.1, 0.8, 0.1}, 30, 2), row({0, 0, 1}, {0.1, 0.1, 0.8}, 40, 7)};
  Scores scores = score(rows);
  EXPECT_NEAR(scores.log_loss, -(std::log(0.7) + std::log(0.2) + 2 * std::log(0.8)) / 4, 1e-12);
  EXPECT_DOUBLE_EQ(scores.accuracy, 0.75);
  EXPECT_NEAR(scores.brier, ((0.09 + 0.04 + 0.01) + (0.64 + 0.49 + 0.01) + (0.01 + 0.04 + 0.01) * 2) / 4, 1e-12);
  EXPECT_EQ(scores.confusion[0], (std::array<int64_t, 3>{1, 1, 0}));
  EXPECT_DOUBLE_EQ(scores.classes[0].recall, 0.5);
  EXPECT_DOUBLE_EQ(scores.classes[0].precision, 1);
  EXPECT_DOUBLE_EQ(scores.classes[1].precision, 0.5);
  // Bins [0.667, 0.733) with accuracy 1/2 and [0.8, 0.867) with 1.
  ASSERT_EQ(scores.bins.size(), 2u);
  EXPECT_NEAR(scores.calibration_error, 0.5 * 0.2 + 0.5 * 0.2, 1e-12);
  EXPECT_NEAR(scores.constant_log_loss, 0.5 * std::log(2) + 0.5 * std::log(4), 1e-12);
  EXPECT_DOUBLE_EQ(scores.constant_accuracy, 0.5);
  ASSERT_EQ(scores.by_length.size(), 4u);
  EXPECT_EQ(scores.by_length[0].name, "10 tokens");
  EXPECT_EQ(scores.by_length[3].name, "31 to 40 tokens");
  ASSERT_EQ(scores.by_turns.size(), 3u);
  EXPECT_EQ(scores.by_turns[0].rows, 2);
  EXPECT_THAT(format_scores(scores), testing::HasSubstr("5 or more turns"));
}

TEST(Scores, OddRows) {
  // A probability of 0 for what happened, an empty class, soft labels, confidence 1, no turns known.
  std::vector<JudgedRow> rows = {row({1, 0, 0}, {0, 0, 1}, 0, 0), row({0.5, 0.5, 0}, {0.4, 0.6, 0}, 0, 0)};
  Scores scores = score(rows);
  EXPECT_TRUE(std::isfinite(scores.log_loss));
  EXPECT_DOUBLE_EQ(scores.accuracy, 0.5);  // of equal labels any counts
  EXPECT_TRUE(std::isnan(scores.classes[2].recall));
  EXPECT_EQ(scores.by_length.size(), 1u);
  EXPECT_TRUE(scores.by_turns.empty());
  EXPECT_THAT(format_scores(scores), testing::HasSubstr("-"));
  EXPECT_THROW(score({}), Error);
}

TEST(ValidationFile, ComesBackAndNamesWhatIsBroken) {
  auto path = std::filesystem::temp_directory_path() / "gavel_validation_test.jsonl";
  std::vector<JudgedRow> rows = {{"a\"<b>\n\xff", 7, 33, 2, {0, 0, 1}, {0.25, 0.25, 0.5}},
                                 {"2", 9, 1, 0, {1, 0, 0}, {1, 0, 0}}};
  write_validation(path, 40, rows);
  ValidationRows back = read_validation(path);
  EXPECT_EQ(back.step, 40);
  ASSERT_EQ(back.rows.size(), 2u);
  EXPECT_EQ(back.rows[0].row, 7);
  EXPECT_EQ(back.rows[0].tokens, 33);
  EXPECT_EQ(back.rows[0].probabilities, rows[0].probabilities);
  for (const char* bad : {"{}\n", "[1]\n", "{\"label\":[1,0],\"probabilities\":[1,0,0]}\n",
                          "{\"label\":", "{\"label\":[1,0,\"x\"],\"probabilities\":[1,0,0]}",
                          R"({"label":[1,0,0],"probabilities":[1,0,0],"tokens":1e30})",
                          R"({"label":[1,0,0],"probabilities":[1,0,0],"step":2.5})"}) {
    write_file(path, bad);
    EXPECT_THROW(read_validation(path), Error) << bad;
  }
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace gavel

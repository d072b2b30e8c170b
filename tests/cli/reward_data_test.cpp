// Rewards from what is more than pairs: weights, margins, ranked answers, and scores of single answers.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "cli_fixture.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class RewardData : public Cli {
 protected:
  /** Three answers to each prompt, the longer the better. */
  std::string ranked() const {
    std::string text;
    for (int i = 0; i < 16; ++i)
      text += fmt::format(
          R"({{"id": "r{0}", "prompt": "p{0}", "responses": ["a", "a b c d", "a b"], "scores": [1, {1}, 2], "w": {2}}})"
          "\n",
          i, i % 3 == 0 ? 2 : 3, 1 + i % 2);
    return text;
  }
  std::string scored() const {
    std::string text = "id,prompt,response,score,helpful\n";
    for (int i = 0; i < 24; ++i)
      text += fmt::format("{0},p{0},{1},{2},{3}\n", i, i % 2 ? "yes" : "no no", i % 2, 2 * (i % 2) + 1);
    return text;
  }
  int train(const std::string& name, std::vector<std::string> more) const {
    std::vector<std::string> arguments = {"train",
                                          file("recipe.yaml").string(),
                                          "task=reward",
                                          "data.valid=0.25",
                                          "output=" + file(name).string(),
                                          "model.head=fresh",
                                          "train.max_steps=4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  std::vector<double> losses(const std::string& name) const {
    std::vector<double> out;
    std::istringstream lines(read_text(file(name) / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);)
      if (auto row = nlohmann::json::parse(line); row["kind"] == "train") out.push_back(row["loss"]);
    return out;
  }
  std::string adapter(const std::string& name) const { return file(name).string(); }
};

TEST_F(RewardData, RankedAnswersWithMarginsAndWeights) {
  write_file(file("ranked.jsonl"), ranked());
  const std::vector<std::string> data = {"data.train=" + file("ranked.jsonl").string(), "data.format=ranked"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), data.begin(), data.end());
    return more;
  };
  ASSERT_EQ(train("plain", with({})), 0);
  ASSERT_EQ(train("margin", with({"reward.score_margin=0.5", "data.columns.weight=w", "train.save_every=2"})), 0);
  const std::vector<double> plain = losses("plain"), margin = losses("margin");
  ASSERT_EQ(plain.size(), 4u);
  // The fresh head's rewards are nearly 0: being asked to be ahead costs at once.
  EXPECT_GT(margin[0], plain[0] + 0.05);
  // Figures of validation know no margin, and all settings are in the adapter's recipe.
  testing::internal::CaptureStdout();
  ASSERT_EQ(run({"eval", "--adapter", adapter("margin"), "--data", file("ranked.jsonl").string(), "--json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(testing::internal::GetCapturedStdout())["rows"], 48);
  const fs::path part = file("part");
  fs::copy(file("margin"), part, fs::copy_options::recursive);
  fs::remove_all(part / "checkpoints" / "step-4");
  fs::remove(part / "adapter_model.safetensors");
  ASSERT_EQ(train("part", with({"reward.score_margin=0.5", "data.columns.weight=w", "train.save_every=2",
                                "train.resume=auto"})),
            0);
  EXPECT_EQ(read_text(part / "adapter_model.safetensors"), read_text(file("margin") / "adapter_model.safetensors"));
  EXPECT_THAT(
      error_of({"predict", "--adapter", adapter("plain"), "--data", file("ranked.jsonl").string(), "--out", "z"}),
      HasSubstr("gavel rank"));
}

TEST_F(RewardData, ScoresOfSingleAnswers) {
  write_file(file("scored.csv"), scored());
  for (const char* loss : {"regression", "bce"}) {
    std::vector<std::string> settings = {"data.train=" + file("scored.csv").string(), "data.format=scored",
                                         std::string("reward.loss=") + loss};
    if (loss == std::string("regression")) settings.emplace_back("data.columns.score=helpful");
    testing::internal::CaptureStderr();
    const int status = train(loss, settings);
    const std::string said = testing::internal::GetCapturedStderr();
    ASSERT_EQ(status, 0) << said;
    const std::vector<double> found = losses(loss);
    ASSERT_EQ(found.size(), 4u);
    if (loss == std::string("regression"))
      EXPECT_GT(found[0], 1);  // scores of 1 and 3, rewards of nearly 0
    else
      EXPECT_NEAR(found[0], std::log(2), 0.2);
    ASSERT_EQ(run({"predict", "--adapter", adapter(loss), "--data", file("scored.csv").string(), "--out",
                   file("out.csv").string(), "--restart"}),
              0);
    std::istringstream lines(read_text(file("out.csv")));
    std::string line;
    std::getline(lines, line);
    EXPECT_EQ(line, "id,reward");
    std::vector<double> rewards;
    while (std::getline(lines, line)) rewards.push_back(std::stod(line.substr(line.find(',') + 1)));
    ASSERT_EQ(rewards.size(), 24u);
    fs::remove(file("out.csv"));

    // The same rewards put answers in order and judge pairs.
    write_file(file("n.jsonl"), R"({"prompt": "p1", "responses": ["yes", "no no", "yes"]})");
    ASSERT_EQ(run({"rank", "--adapter", adapter(loss), "--data", file("n.jsonl").string(), "--out",
                   file("r.jsonl").string(), "--overwrite"}),
              0);
    const auto ranked = nlohmann::json::parse(read_text(file("r.jsonl")))["rewards"].get<std::vector<double>>();
    ASSERT_EQ(ranked.size(), 3u);
    EXPECT_NEAR(ranked[0], rewards[1], 2e-2 * (1 + std::abs(rewards[1])));
    EXPECT_NEAR(ranked[0], ranked[2], 1e-6);
    testing::internal::CaptureStdout();
    ASSERT_EQ(run({"judge", "--adapter", adapter(loss), "--prompt", "p1", "--a", "yes", "--b", "no no", "--json"}), 0);
    const auto verdict = nlohmann::json::parse(testing::internal::GetCapturedStdout());
    EXPECT_NEAR(verdict["rewards"]["A"].get<double>(), ranked[0], 2e-2);
    EXPECT_NEAR(verdict["rewards"]["B"].get<double>(), ranked[1], 2e-2);
    testing::internal::CaptureStdout();
    ASSERT_EQ(run({"eval", "--adapter", adapter(loss), "--data", file("test.csv").string(), "--json",
                   "data.format=lmsys", "data.columns.score=null"}),
              0);
    EXPECT_EQ(nlohmann::json::parse(testing::internal::GetCapturedStdout())["rows"], 12);
    EXPECT_THAT(error_of({"eval", "--adapter", adapter(loss), "--data", file("scored.csv").string()}),
                HasSubstr("gavel predict writes the rewards"));
  }
  EXPECT_THAT(
      error_of({"train", file("recipe.yaml").string(), "task=reward", "reward.loss=bce"}),
      HasSubstr("reward.loss: bce learns from scores of single answers: expected data.format: scored, found lmsys"));
}

TEST_F(RewardData, SettingsThatDoNotFitAreRefused) {
  auto error = [&](std::vector<std::string> settings) {
    std::vector<std::string> arguments = {"train", file("recipe.yaml").string()};
    arguments.insert(arguments.end(), settings.begin(), settings.end());
    return error_of(arguments);
  };
  EXPECT_THAT(error({"data.columns.margin=m"}), HasSubstr("data.columns.margin: is for task: reward"));
  EXPECT_THAT(error({"data.format=scored"}), HasSubstr("scored is for task: reward with reward.loss"));
  EXPECT_THAT(error({"task=reward", "reward.score_margin=1"}), HasSubstr("needs scores of answers"));
  EXPECT_THAT(error({"task=reward", "reward.score_margin=1", "data.format=ranked", "data.columns.margin=m"}),
              HasSubstr("set one of them"));
  EXPECT_THAT(error({"task=reward", "reward.loss=bce", "data.format=scored", "reward.center_coefficient=1"}),
              HasSubstr("reward.center_coefficient: has no meaning with reward.loss: bce"));
}

/** Weights stand in the training file alone. */
TEST_F(RewardData, ValidationNeedsNoWeights) {
  std::istringstream lines(read_text(file("train.csv")));
  std::string text, line;
  for (int i = 0; std::getline(lines, line); ++i) text += line + (i == 0 ? ",w" : i % 4 == 0 ? ",0" : ",2") + "\n";
  write_file(file("weighted.csv"), text);
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "data.train=" + file("weighted.csv").string(),
                 "data.columns.weight=w", "train.max_steps=2"}),
            0);
  testing::internal::CaptureStdout();
  ASSERT_EQ(run({"eval", "--adapter", file("run").string(), "--data", file("test.csv").string(), "--json"}), 0);
  EXPECT_EQ(nlohmann::json::parse(testing::internal::GetCapturedStdout())["rows"], 12);
}

}  // namespace
}  // namespace gavel

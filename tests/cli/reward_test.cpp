// A reward from its training to its answers.
#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "cli_fixture.h"
#include "io/model_files.h"
#include "judge/judge.h"
#include "judge/rank.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class RewardCommands : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    ASSERT_EQ(train("reward"), 0);
  }
  int train(const std::string& name, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"train", file("recipe.yaml").string(), "task=reward",
                                          "output=" + file(name).string(),
                                          // The tiny model has a head of three labels.
                                          "model.head=fresh", "train.max_steps=4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  std::string adapter() const { return file("reward").string(); }
  static PreferenceRow row(const std::string& prompt, const std::string& a, const std::string& b) {
    PreferenceRow out;
    out.prompt = {prompt};
    out.response_a = {a};
    out.response_b = {b};
    return out;
  }
};

TEST_F(RewardCommands, AHeadOfZerosRewardsNothingAndLearns) {
  ASSERT_EQ(train("zeros", {"model.head=shares", "train.learning_rate=0", "train.max_steps=1"}), 0);
  ASSERT_EQ(train("learnt", {"model.head=shares"}), 0);
  const std::vector<PreferenceRow> rows = {row("q", "one answer", "another")};
  EXPECT_THAT(*Judge(JudgeOptions{file("zeros").string(), std::nullopt, {}}).judge(rows, 0)[0].rewards,
              testing::Each(0.0));
  EXPECT_THAT(*Judge(JudgeOptions{file("learnt").string(), std::nullopt, {}}).judge(rows, 0)[0].rewards,
              testing::Each(testing::Ne(0.0)));
}

TEST_F(RewardCommands, ProbabilitiesFollowFromTheRewardsAndTheTie) {
  Judge judge(JudgeOptions{adapter(), std::nullopt, {"model.compute_dtype=float32"}});
  const double tie = nlohmann::json::parse(read_text(file("reward") / "reward.json"))["tie_logit"].get<double>();
  const std::vector<PreferenceRow> rows = {row("q", "one answer", "another"), row("q", "another", "one answer"),
                                           row("other", "x", "x")};
  const std::vector<Verdict> verdicts = judge.judge(rows, 1.0);
  for (const Verdict& verdict : verdicts) {
    ASSERT_TRUE(verdict.rewards.has_value());
    const auto [a, b] = *verdict.rewards;
    const double sum = std::exp((a - b) / 2) + std::exp((b - a) / 2) + std::exp(tie);
    EXPECT_NEAR(verdict.probabilities[0], std::exp((a - b) / 2) / sum, 1e-5);
    EXPECT_NEAR(verdict.probabilities[2], std::exp(tie) / sum, 1e-5);
    EXPECT_FALSE(verdict.swapped_logits.has_value());
  }
  EXPECT_NEAR((*verdicts[0].rewards)[0], (*verdicts[1].rewards)[1], 1e-5);
  EXPECT_NEAR(verdicts[0].probabilities[0], verdicts[1].probabilities[1], 1e-5);
  EXPECT_NEAR((*verdicts[2].rewards)[0], (*verdicts[2].rewards)[1], 1e-5);
}

TEST_F(RewardCommands, PredictEvalAndJudgeSayRewards) {
  ASSERT_EQ(
      run({"predict", "--adapter", adapter(), "--data", file("test.csv").string(), "--out", file("out.csv").string()}),
      0);
  std::istringstream lines(read_text(file("out.csv")));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "id,winner_model_a,winner_model_b,winner_tie,reward_a,reward_b");
  int rows = 0;
  for (; std::getline(lines, line); ++rows) EXPECT_EQ(std::count(line.begin(), line.end(), ','), 5) << line;
  EXPECT_EQ(rows, 12);
  testing::internal::CaptureStdout();
  ASSERT_EQ(run({"eval", "--adapter", adapter(), "--data", file("test.csv").string(), "--calibrate", "--json"}), 0);
  const auto scores = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  EXPECT_LT(scores["log_loss"].get<double>(), 2);
  testing::internal::CaptureStdout();
  ASSERT_EQ(run({"judge", "--adapter", adapter(), "--prompt", "p", "--a", "x", "--b", "y", "--json"}), 0);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("\"rewards\":{\"A\":"));
}

TEST_F(RewardCommands, RankPutsTheBestFirst) {
  write_file(file("n.jsonl"),
             "{\"id\": \"x\", \"prompt\": \"p\", \"responses\": [\"a\", \"b b b\", \"c\"]}\n\n"
             "{\"prompt\": [\"p\", \"q\"], \"responses\": [\"alone\"]}\n");
  ASSERT_EQ(
      run({"rank", "--adapter", adapter(), "--data", file("n.jsonl").string(), "--out", file("r.jsonl").string()}), 0);
  std::istringstream lines(read_text(file("r.jsonl")));
  std::string line;
  std::getline(lines, line);
  const auto first = nlohmann::json::parse(line);
  EXPECT_EQ(first["id"], "x");
  const auto rewards = first["rewards"].get<std::vector<double>>();
  ASSERT_EQ(rewards.size(), 3u);
  const auto order = first["order"].get<std::vector<size_t>>();
  EXPECT_GE(rewards[order[0]], rewards[order[1]]);
  EXPECT_GE(rewards[order[1]], rewards[order[2]]);
  EXPECT_EQ(first["best"], (std::vector<std::string>{"a", "b b b", "c"}[order[0]]));
  std::getline(lines, line);
  EXPECT_EQ(nlohmann::json::parse(line)["id"], "3");
  write_file(file("bad.jsonl"), "{\"prompt\": \"p\"}\n");
  EXPECT_THAT(
      error_of({"rank", "--adapter", adapter(), "--data", file("bad.jsonl").string(), "--out", file("z").string()}),
      HasSubstr("line 1: key 'responses' is missing"));
}

TEST_F(RewardCommands, AJudgeAndARewardAreNotTakenForEachOther) {
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=1", "train.warmup_steps=0"}), 0);
  EXPECT_THAT(error_of({"rank", "--adapter", file("run").string(), "--data", file("test.csv").string(), "--out", "z"}),
              HasSubstr("line 1: not valid JSON"));
  EXPECT_THAT(error_of({"judge", "--adapter", adapter(), "--prompt", "p", "--a", "x", "--b", "y", "task=judge"}),
              HasSubstr("one label: a reward model, opened with task=reward"));
  EXPECT_THAT(error_of({"train", file("recipe.yaml").string(), "task=reward", "data.swap=both"}),
              HasSubstr("expected none with task: reward"));
  EXPECT_THAT(error_of({"train", file("recipe.yaml").string(), "task=reward", "output=" + file("x").string()}),
              HasSubstr("has shape [3, 24], this task's head has [1, 24]: set model.head=fresh"));
}

TEST_F(RewardCommands, ARewardOfOtherToolsHasNoTies) {
  fs::copy(file("reward"), file("other"), fs::copy_options::recursive);
  fs::remove(file("other") / "reward.json");
  fs::remove(file("other") / "recipe.yaml");
  Judge judge(JudgeOptions{file("other"), model().string(), {"task=reward", "model.compute_dtype=float32"}});
  const std::vector<PreferenceRow> rows = {row("q", "one answer", "another")};
  const Verdict verdict = judge.judge(rows)[0];
  EXPECT_EQ(verdict.probabilities[2], 0);
  const auto [a, b] = *verdict.rewards;
  EXPECT_NEAR(verdict.probabilities[0], 1 / (1 + std::exp(b - a)), 1e-6);
}

TEST_F(RewardCommands, ResumesWithTheSameBytes) {
  ASSERT_EQ(train("whole", {"train.save_every=2"}), 0);
  const fs::path part = file("part");
  fs::copy(file("whole"), part, fs::copy_options::recursive);
  fs::remove_all(part / "checkpoints" / "step-4");
  for (const char* name : {"adapter_model.safetensors", "reward.json"}) fs::remove(part / name);
  ASSERT_EQ(train("part", {"train.save_every=2", "train.resume=auto"}), 0);
  for (const char* name : {"adapter_model.safetensors", "reward.json"})
    EXPECT_EQ(read_text(part / name), read_text(file("whole") / name)) << name;
}

TEST_F(RewardCommands, IsMergedAndStartedFrom) {
  ASSERT_EQ(train("again", {"lora.init_adapter=" + adapter(), "train.max_steps=1", "train.warmup_steps=0",
                            "train.learning_rate=1e-30", "train.weight_decay=0"}),
            0);
  EXPECT_EQ(read_text(file("again") / "reward.json"), read_text(file("reward") / "reward.json"));
  ASSERT_EQ(run({"merge", "--adapter", adapter(), "--out", file("merged").string()}), 0);
  EXPECT_EQ(ModelFiles::open(file("merged")).shape("score.weight"), (Shape{1, 24}));
  EXPECT_EQ(nlohmann::json::parse(read_text(file("merged") / "config.json"))["id2label"].size(), 1u);
  // A reward model as base: the head starts from its own.
  ASSERT_EQ(train("onward", {"model.path=" + file("merged").string(), "model.head=base"}), 0);
}

}  // namespace
}  // namespace gavel

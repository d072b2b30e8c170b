// A reward from its training to its answers.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "base/http_client.h"
#include "base/loopback.h"
#include "cli_fixture.h"
#include "data/template.h"
#include "io/model_files.h"
#include "judge/judge.h"
#include "judge/rank.h"
#include "serve/paired_texts.h"
#include "serve/service.h"

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
  EXPECT_EQ(nlohmann::json::parse(read_text(file("merged") / "config.json"))["id2label"].dump(), R"({"0":"LABEL_0"})");
  // A reward model as base: the head starts from its own.
  ASSERT_EQ(train("onward", {"model.path=" + file("merged").string(), "model.head=base"}), 0);
}

TEST_F(RewardCommands, EvalHasFiguresOfSubsets) {
  // The held-out rows again, every third of another subset.
  std::istringstream lines(read_text(file("test.csv")));
  std::string line, text;
  for (int row = -1; std::getline(lines, line); ++row)
    text += line + (row < 0 ? ",kind" : row % 3 == 0 ? ",few" : ",many") + "\n";
  write_file(file("kinds.csv"), text);
  auto evaluate = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"eval",  "--adapter", adapter(), "--data", file("kinds.csv").string(),
                                          "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    testing::internal::CaptureStdout();
    EXPECT_EQ(run(arguments), 0);
    return nlohmann::json::parse(testing::internal::GetCapturedStdout());
  };
  EXPECT_FALSE(evaluate({}).contains("by_subset"));
  const auto json = evaluate({"--subset", "kind", "--rows", file("rows.jsonl").string()});
  const auto& found = json["by_subset"]["subsets"];
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0]["name"], "few");
  EXPECT_EQ(found[0]["rows"], 4);
  EXPECT_EQ(found[1]["rows"], 8);
  EXPECT_EQ(json["by_subset"]["over_rows"]["log_loss"], json["log_loss"]);
  double few = 0, pairs = 0, right = 0;
  std::istringstream rows(read_text(file("rows.jsonl")));
  while (std::getline(rows, line)) {
    const auto row = nlohmann::json::parse(line);
    if ((row["row"].get<int>() - 1) % 3 == 0) few += row["loss"].get<double>() / 4;
    const auto rewards = row["rewards"].get<std::array<double, 2>>();
    const auto label = row["label"].get<std::array<double, 3>>();
    if (label[2] == 1) continue;
    ++pairs;
    right += label[0] == 1 ? rewards[0] > rewards[1] : rewards[1] > rewards[0];
  }
  EXPECT_NEAR(found[0]["log_loss"].get<double>(), few, 1e-9);
  EXPECT_NEAR(json["by_subset"]["over_rows"]["pair_accuracy"].get<double>(), right / pairs, 1e-12);
  EXPECT_THAT(error_of({"eval", "--adapter", adapter(), "--data", file("kinds.csv").string(), "--subset", "kin"}),
              HasSubstr("there is no column 'kin' (--subset)"));
}

TEST_F(RewardCommands, EvalStandsBesideAnother) {
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=2"}), 0);
  ASSERT_EQ(train("untied", {"reward.ties=none"}), 0);
  auto against = [&](const std::string& first, const std::string& other) {
    testing::internal::CaptureStdout();
    EXPECT_EQ(run({"eval", "--adapter", file(first).string(), "--data", file("test.csv").string(), "--against",
                   file(other).string(), "--json"}),
              0);
    return nlohmann::json::parse(testing::internal::GetCapturedStdout());
  };
  const auto same = against("reward", "reward");
  EXPECT_EQ(same["against"]["agreement"], 1);
  EXPECT_EQ(same["against"]["log_loss_difference"]["mean"], 0);
  EXPECT_EQ(same["against"]["rows"], 12);
  EXPECT_EQ(same["against"]["log_loss"][1], same["log_loss"]);
  const auto judge = against("run", "reward");
  EXPECT_EQ(judge["against"]["log_loss"][0], judge["log_loss"]);
  EXPECT_EQ(judge["against"]["log_loss"][1], same["log_loss"]);
  EXPECT_NEAR(judge["against"]["log_loss_difference"]["mean"].get<double>(),
              judge["log_loss"].get<double>() - same["log_loss"].get<double>(), 1e-12);
  // Without ties on one side both are asked for A or B.
  const auto untied = against("reward", "untied");
  EXPECT_FALSE(untied["against"]["ties"].get<bool>());
  EXPECT_EQ(untied["against"]["left_out"], untied["classes"]["tie"]["rows"]);
  EXPECT_GT(untied["against"]["left_out"], 0);
  EXPECT_THAT(error_of({"eval", "--adapter", adapter(), "--data", file("test.csv").string(), "--against", "nowhere"}),
              HasSubstr("nowhere"));
}

TEST_F(RewardCommands, CalibrationTakesTheProbabilitiesAndLeavesTheRewards) {
  ASSERT_EQ(train("untied", {"reward.ties=none"}), 0);
  for (const char* name : {"reward", "untied"}) {
    auto rewards = [&] {
      const std::string out = file(std::string(name) + ".csv").string();
      EXPECT_EQ(run({"predict", "--adapter", file(name).string(), "--data", file("test.csv").string(), "--out", out,
                     "--overwrite"}),
                0);
      std::string text;
      std::istringstream lines(read_text(out));
      for (std::string line; std::getline(lines, line);) {
        for (int comma = 0; comma < 4; ++comma) line = line.substr(line.find(',') + 1);
        text += line + "\n";
      }
      return text;
    };
    auto log_loss = [&](std::vector<std::string> more) {
      std::vector<std::string> arguments = {
          "eval", "--adapter", file(name).string(), "--data", file("test.csv").string(), "--json"};
      arguments.insert(arguments.end(), more.begin(), more.end());
      testing::internal::CaptureStdout();
      EXPECT_EQ(run(arguments), 0);
      return nlohmann::json::parse(testing::internal::GetCapturedStdout())["log_loss"].get<double>();
    };
    const std::string before = rewards();
    const double plain = log_loss({"--calibrate"});
    const auto calibration = nlohmann::json::parse(read_text(file(name) / "calibration.json"))["one_order"];
    const auto figure = [&](size_t i) { return calibration["log_loss"][i]["in_sample"].get<double>(); };
    EXPECT_NEAR(figure(0), plain, 1e-9) << name;
    EXPECT_LE(figure(1), plain) << name;
    EXPECT_NE(calibration["temperature"], 1) << name;
    EXPECT_NEAR(log_loss({}), figure(1), 1e-9) << name;
    EXPECT_NEAR(log_loss({"--no-temperature"}), plain, 1e-9) << name;
    EXPECT_EQ(rewards(), before) << name;
  }
}

TEST_F(RewardCommands, BestOfCountsTheLargestReward) {
  const std::vector<std::vector<std::string>> answers = {
      {"one answer", "b b b", "c", "another"}, {"x", "one y"}, {"same", "same"}};
  write_file(file("best.jsonl"),
             "{\"id\": \"1\", \"subset\": \"Focus\", \"prompt\": \"p\", \"chosen\": [\"one answer\"], "
             "\"rejected\": [\"b b b\", \"c\", \"another\"]}\n"
             "{\"id\": 2, \"subset\": \"Math\", \"prompt\": [\"p\"], \"chosen\": \"x\", \"rejected\": [\"one y\"]}\n"
             "{\"id\": 3, \"subset\": \"Math\", \"prompt\": \"p\", \"chosen\": [\"same\"], \"rejected\": \"same\"}\n");
  Judge judge(JudgeOptions{adapter(), std::nullopt, {}});
  std::vector<double> expected;
  for (const std::vector<std::string>& of : answers) {
    const std::vector<Candidates> one = {{"", {"p"}, of}};
    const std::vector<double> rewards = rewards_of(judge, one).front();
    expected.push_back(best_first(rewards).front() == 0 ? 1 : 0);
  }
  testing::internal::CaptureStdout();
  ASSERT_EQ(run({"eval", "--adapter", adapter(), "--data", file("best.jsonl").string(), "--best-of", "--json"}), 0);
  const auto json = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  ASSERT_EQ(json["subsets"].size(), 2U);
  EXPECT_EQ(json["subsets"][0]["score"], expected[0]);
  EXPECT_EQ(json["subsets"][1]["score"], (expected[1] + 0.5) / 2) << "two equal rewards share the point";
  testing::internal::CaptureStdout();
  ASSERT_EQ(run({"eval", "--adapter", adapter(), "--data", file("best.jsonl").string(), "--best-of"}), 0);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("mean of the subsets     3"));
  write_file(file("bad.jsonl"), "{\"prompt\": \"p\", \"chosen\": [], \"rejected\": [\"a\"]}\n");
  EXPECT_THAT(error_of({"eval", "--adapter", adapter(), "--data", file("bad.jsonl").string(), "--best-of"}),
              HasSubstr("bad.jsonl: line 1: 0 chosen and 1 rejected answers"));
}

TEST_F(RewardCommands, ServesTrainersAndOtherClients) {
  if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
  Judge judge(JudgeOptions{adapter(), std::nullopt, {"model.compute_dtype=float32"}});
  const std::vector<Candidates> asked = {{"", {"q"}, {"one answer", "another"}}};
  const std::vector<double> rewards = rewards_of(judge, asked).front();
  ServiceOptions options;
  options.http.port = 0;
  options.kind = JudgeKind::kReward;
  Service service(with_paired_texts([&](std::span<const PreferenceRow> rows) { return judge.judge(rows); }), options);
  std::thread thread([&] { service.run(); });
  auto ask = [&](const char* path, const nlohmann::json& body) {
    const auto found = http_post(service.port(), path, body.dump());
    EXPECT_TRUE(found && found->status == 200) << path << (found ? found->body : "");
    return found ? nlohmann::json::parse(found->body) : nlohmann::json();
  };
  const auto trainer = ask("/get_reward", {{"prompt", {"q", "q"}}, {"response", {"one answer", "another"}}});
  EXPECT_NEAR(trainer["rewards"][0].get<double>(), rewards[0], 1e-5);
  EXPECT_NEAR(trainer["rewards"][1].get<double>(), rewards[1], 1e-5);
  const nlohmann::json messages = {{{"role", "user"}, {"content", "q"}},
                                   {{"role", "assistant"}, {"content", "another"}}};
  EXPECT_NEAR(ask("/pooling", {{"messages", messages}})["data"][0]["data"][0].get<double>(), rewards[1], 1e-5);
  const auto classified = ask("/v1/classify", {{"messages", messages}});
  EXPECT_NEAR(classified["data"][0]["probs"][0].get<double>(), 1 / (1 + std::exp(-rewards[1])), 1e-6);
  // The same conversations, written out as the template "origin" has them.
  const nlohmann::json texts = {Template::parse_conversation("origin").render(row("q", "one answer", ""), false),
                                Template::parse_conversation("origin").render(row("q", "another", ""), false)};
  const auto raw = ask("/get_reward", {{"query", texts}, {"prompts", {"q", "q"}}, {"labels", {"", ""}}});
  EXPECT_NEAR(raw["rewards"][0].get<double>(), rewards[0], 1e-5);
  EXPECT_NEAR(raw["rewards"][1].get<double>(), rewards[1], 1e-5);
  const auto pooled = ask("/pooling", {{"input", texts[1]}});
  EXPECT_NEAR(pooled["data"][0]["data"][0].get<double>(), rewards[1], 1e-5);
  EXPECT_EQ(pooled["usage"]["prompt_tokens"], classified["usage"]["prompt_tokens"]);
  EXPECT_GT(pooled["usage"]["prompt_tokens"], 0);
  service.stop();
  thread.join();
}

}  // namespace
}  // namespace gavel

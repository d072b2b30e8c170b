// Models and adapters as other tools write them (../shared/cases/opening): opened with the probabilities that transformers +
// PEFT give, or refused where that is right too.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli_fixture.h"
#include "io/model_files.h"
#include "judge/judge.h"
#include "model/adapter.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr double kTolerance = 1e-4;

std::vector<fs::path> opening_cases() {
  std::vector<fs::path> cases;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(shared_folder() / "cases" / "opening", absent))
    if (fs::exists(entry.path() / "expected.json")) cases.push_back(entry.path());
  std::sort(cases.begin(), cases.end());
  return cases;
}

nlohmann::json expected_of(const fs::path& folder) {
  return nlohmann::json::parse(read_text(folder / "expected.json"));
}

std::vector<PreferenceRow> pairs_of(const nlohmann::json& expected) {
  std::vector<PreferenceRow> rows;
  for (const auto& pair : expected["pairs"]) {
    PreferenceRow& row = rows.emplace_back();
    row.prompt = {pair["prompt"].get<std::string>()};
    row.response_a = {pair["response_a"].get<std::string>()};
    row.response_b = {pair["response_b"].get<std::string>()};
  }
  return rows;
}

double largest_difference(const std::vector<Verdict>& verdicts, const nlohmann::json& probabilities) {
  double largest = 0;
  for (size_t row = 0; row < verdicts.size(); ++row)
    for (size_t label = 0; label < 3; ++label) {
      const double difference =
          std::abs(verdicts[row].probabilities[label] - probabilities.at(row).at(label).get<double>());
      largest = std::isfinite(difference) ? std::max(largest, difference) : HUGE_VAL;
    }
  return largest;
}

TEST(Opening, WhatOthersMadeJudgesAsItDoesThereOrIsRefused) {
  const std::vector<fs::path> cases = opening_cases();
  if (cases.empty()) GTEST_SKIP() << "no folder " << shared_folder() / "cases" / "opening";
  for (const fs::path& folder : cases) {
    SCOPED_TRACE(folder.filename());
    const nlohmann::json expected = expected_of(folder);
    const auto right = expected["right"].get<std::string>();
    try {
      Judge judge(JudgeOptions{
          folder / "adapter", (folder / "base").string(), {"model.dtype=float32", "model.compute_dtype=float32"}});
      ASSERT_NE(right, "refused") << "it was opened";
      EXPECT_LT(largest_difference(judge.judge(pairs_of(expected)), expected["probabilities"]), kTolerance);
    } catch (const Error& error) {
      EXPECT_NE(right, "equal") << error.what();
      EXPECT_THAT(error.what(), HasSubstr(folder.string()));
    }
  }
}

/** Starting from what is there: the command line's fixture has a tiny model without a head. */
class Beginning : public Cli {
 protected:
  /** A run of no more than one step whose learning rate changes nothing. */
  std::string start(const std::string& name, std::vector<std::string> settings) {
    std::vector<std::string> arguments = {"train",
                                          file("recipe.yaml").string(),
                                          "output=" + file(name).string(),
                                          "train.max_steps=1",
                                          "train.warmup_steps=0",
                                          "train.learning_rate=1e-30",
                                          "train.weight_decay=0"};
    arguments.insert(arguments.end(), settings.begin(), settings.end());
    EXPECT_EQ(run(arguments), 0);
    return file(name).string();
  }
  std::vector<Verdict> verdicts(const std::string& adapter) {
    Judge judge(JudgeOptions{adapter, model().string(), {"model.compute_dtype=float32"}});
    PreferenceRow row;
    row.prompt = {"a question"};
    row.response_a = {"an answer"};
    row.response_b = {"another one, longer"};
    return judge.judge(std::vector<PreferenceRow>(1, row));
  }
  void expect_same(const std::string& first, const std::string& second) {
    const Outcome a = verdicts(first)[0].logits, b = verdicts(second)[0].logits;
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5);
  }
};

TEST_F(Beginning, AnAdapterKeepsItsFunctionWhateverTheRecipeSays) {
  ASSERT_EQ(run({"train", file("recipe.yaml").string()}), 0);
  const std::string again =
      start("again", {"lora.init_adapter=" + file("run").string(), "lora.r=8", "lora.lora_alpha=1",
                      "lora.use_rslora=true", "lora.target_modules=[q_proj]"});
  expect_same(file("run").string(), again);
  EXPECT_THAT(read_text(fs::path(again) / "adapter_config.json"), HasSubstr("\"lora_alpha\": 4.0"));
  EXPECT_THAT(read_text(fs::path(again) / "recipe.yaml"), HasSubstr("lora_alpha: 4"));
}

TEST_F(Beginning, DoraStartsAsTheBaseAndMergesAsItJudges) {
  const std::string plain = start("plain", {}), dora = start("dora", {"lora.use_dora=true"});
  expect_same(plain, dora);
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "lora.use_dora=true"}), 0);
  ASSERT_EQ(run({"merge", "--adapter", file("run").string(), "--out", file("merged").string()}), 0);
  // The merged model with an adapter that adds nothing and its own head.
  const std::string nothing = start("nothing", {"model.path=" + file("merged").string()});
  Judge before(JudgeOptions{file("run"), model().string(), {"model.compute_dtype=float32"}});
  Judge after(JudgeOptions{nothing, file("merged").string(), {"model.compute_dtype=float32"}});
  PreferenceRow row;
  row.prompt = {"a question"};
  row.response_a = {"an answer"};
  row.response_b = {"another one, longer"};
  const std::vector<PreferenceRow> rows(1, row);
  const Outcome a = before.judge(rows)[0].logits, b = after.judge(rows)[0].logits;
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5);
  EXPECT_THAT(error_of({"average", file("run").string(), dora, "--out", file("mean").string()}),
              HasSubstr("adapters with use_dora have no mean"));
}

TEST_F(Beginning, ABaseWithAHeadStartsFromIt) {
  ASSERT_EQ(run({"train", file("recipe.yaml").string()}), 0);
  ASSERT_EQ(run({"merge", "--adapter", file("run").string(), "--out", file("merged").string()}), 0);
  const std::string from_base = "model.path=" + file("merged").string();
  auto head = [&](const std::string& folder) {
    auto tensor = read_adapter(PeftConfig::read(folder), ModelFiles::open(model()).spec(), 3).values.back();
    return std::vector<float>(tensor.as<float>().begin(), tensor.as<float>().end());
  };
  const std::vector<float> trained = head(file("run").string());
  EXPECT_EQ(head(start("auto", {from_base})), trained);
  EXPECT_EQ(head(start("base", {from_base, "model.head=base"})), trained);
  EXPECT_NE(head(start("fresh", {from_base, "model.head=fresh"})), trained);
  EXPECT_THAT(error_of({"train", file("recipe.yaml").string(), "model.head=base", "model.random_init=true",
                        "output=" + file("none").string()}),
              HasSubstr("model.head: base, but"));
  EXPECT_THAT(error_of({"train", file("recipe.yaml").string(), from_base, "model.num_labels=2",
                        "output=" + file("two").string()}),
              HasSubstr("has shape [3, 24], this task's head has [2, 24]: set model.head=fresh"));
}

}  // namespace
}  // namespace gavel

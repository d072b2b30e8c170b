// Whole runs with a teacher's shares, an auxiliary head and rows that come from short to long.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <set>

#include "cli_fixture.h"
#include "files/csv.h"
#include "io/safetensors.h"
#include "report/metrics.h"
#include "rows/preferences.h"
#include "train/checkpoint.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class TrainingData : public Cli {
 protected:
  /** The sample with columns of its own: answers of models m0 and m1, and of m2 too seldom for a class (48 rows: 40, 40 and 16
   * answers), and a teacher that every other row has. */
  void SetUp() override {
    Cli::SetUp();
    const std::vector<PreferenceRow> rows = read_preferences(file("train.csv"), {}).rows;
    std::string text = "id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie,by_a,by_b,ta,tb,tt\n";
    for (size_t i = 0; i < rows.size(); ++i) {
      const PreferenceRow& row = rows[i];
      text += fmt::format("{},{},{},{},{},{},{},m{},m{},{}\n", row.id, csv_cell(json_cell(row.prompt)),
                          csv_cell(json_cell(row.response_a)), csv_cell(json_cell(row.response_b)), row.label[0],
                          row.label[1], row.label[2], i % 2, (i + 1) % 3, i % 2 == 0 ? "0.2,0.5,0.3" : ",,");
    }
    write_file(file("train.csv"), text);
  }
  std::vector<std::string> arguments(const std::string& name, std::vector<std::string> more) const {
    std::vector<std::string> all = {"train",
                                    file("recipe.yaml").string(),
                                    "train.max_steps=8",
                                    "train.save_every=2",
                                    "train.keep_last=100",
                                    "train.eval_every=4",
                                    "lora.lora_dropout=0.1",
                                    "output=" + file(name).string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  int train(const std::string& name, std::vector<std::string> more) const {
    return run(arguments(name, std::move(more)));
  }
  std::string adapter(const std::string& name) const { return read_text(file(name) / "adapter_model.safetensors"); }
  /** Goes on from a copy's checkpoint of step 4. */
  void expect_the_same_when_resumed(const std::string& name, std::vector<std::string> settings) const {
    const std::string copy = name + "-resumed";
    fs::copy(file(name), file(copy), fs::copy_options::recursive);
    const CheckpointStore store(file(copy) / "checkpoints");
    for (int64_t step : store.steps())
      if (step > 4) fs::remove_all(store.path(step));
    fs::remove(file(copy) / "adapter_model.safetensors");
    settings.push_back("--resume");
    ASSERT_EQ(train(copy, settings), 0);
    EXPECT_EQ(adapter(copy), adapter(name));
    EXPECT_EQ(store.steps().back(), 8);
    const fs::path last = fs::path("checkpoints") / "step-8" / "optimizer.safetensors";
    EXPECT_EQ(read_text(file(copy) / last), read_text(file(name) / last));
  }
  static std::set<std::string> names_in(const fs::path& path) {
    std::set<std::string> names;
    const auto weights = SafetensorsFile::open(path);
    for (const auto& [name, info] : weights->tensors()) names.insert(name);
    return names;
  }
};

TEST_F(TrainingData, ATeacherIsMixedIntoTrainingAlone) {
  const std::vector<std::string> teacher = {"data.columns.teacher_a=ta", "data.columns.teacher_b=tb",
                                            "data.columns.teacher_tie=tt"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), teacher.begin(), teacher.end());
    return more;
  };
  ASSERT_EQ(train("votes", {}), 0);
  ASSERT_EQ(train("none", with({"data.teacher_weight=0"})), 0);
  EXPECT_EQ(adapter("none"), adapter("votes"));
  ASSERT_EQ(train("half", with({})), 0);
  EXPECT_NE(adapter("half"), adapter("votes"));
  expect_the_same_when_resumed("half", with({}));
  // Before the first step the same weights are measured against the same votes.
  auto first = [&](const std::string& name) { return read_metrics(file(name) / "metrics.jsonl").front(); };
  EXPECT_EQ(metric(first("half"), "log_loss"), metric(first("votes"), "log_loss"));
  // Two labels, and a reward.
  ASSERT_EQ(train("two", with({"model.num_labels=2", "model.head=fresh"})), 0);
  ASSERT_EQ(train("reward", with({"task=reward", "model.head=fresh"})), 0);
  EXPECT_THAT(error_of(arguments("absent", {"data.columns.teacher_a=ta", "data.columns.teacher_b=ty"})),
              HasSubstr("expected a column 'ty'"));
}

TEST_F(TrainingData, AnAuxiliaryHeadTrainsAlongIsResumedAndNotSaved) {
  const std::vector<std::vector<std::string>> tasks = {
      {"data.swap=random"}, {"task=reward", "model.head=fresh", "train.batch_size=4", "train.gradient_accumulation=2"}};
  for (size_t i = 0; i < tasks.size(); ++i) {
    std::vector<std::string> plain = tasks[i], with = tasks[i];
    with.insert(with.end(), {"data.columns.auxiliary=[by_a, by_b]", "train.auxiliary_weight=0.5"});
    const std::string name = fmt::format("auxiliary-{}", i), other = fmt::format("plain-{}", i);
    ASSERT_EQ(train(other, plain), 0);
    ASSERT_EQ(train(name, with), 0);
    EXPECT_NE(adapter(name), adapter(other));
    expect_the_same_when_resumed(name, with);
    const auto about = nlohmann::json::parse(read_text(file(name) / "run.json"));
    EXPECT_THAT(about["data"]["auxiliary_classes"].get<std::vector<std::string>>(), ElementsAre("m0", "m1", "other"));
    // The adapter is like any other; the head is in the optimizer's file alone.
    const fs::path step = fs::path("checkpoints") / "step-4";
    for (const fs::path& folder : {fs::path(), step})
      EXPECT_EQ(names_in(file(name) / folder / "adapter_model.safetensors"),
                names_in(file(other) / folder / "adapter_model.safetensors"));
    const std::string optimizer = (file(name) / step / "optimizer.safetensors").string();
    EXPECT_TRUE(names_in(optimizer).contains("auxiliary"));
    EXPECT_EQ(SafetensorsFile::open(optimizer)->tensor("auxiliary").shape().at(0), i == 0 ? 6 : 3);
    EXPECT_FALSE(names_in(file(other) / step / "optimizer.safetensors").contains("auxiliary"));
    ASSERT_EQ(run({"predict", "--adapter", file(name).string(), "--data", file("test.csv").string(), "--out",
                   file(name + ".csv").string()}),
              0);
  }
  // The weights of the best evaluation, and an adapter to start from.
  std::vector<std::string> best = tasks[0];
  best.insert(best.end(), {"data.columns.auxiliary=[by_a, by_b]", "train.load_best_at_end=true",
                           "lora.init_adapter=" + file("auxiliary-0").string(), "train.eval_every=2",
                           "lora.freeze_head=true", "train.learning_rate=0.1"});
  ASSERT_EQ(train("best", best), 0);
  EXPECT_THAT(error_of(arguments("few", {"data.columns.auxiliary=[by_a, by_b]", "data.fraction=0.2"})),
              HasSubstr("data.columns.auxiliary: expected two classes or more in the training rows"));
}

TEST_F(TrainingData, RowsComeFromShortToLong) {
  const std::vector<std::string> rising = {"data.curriculum=length", "train.batch_size=4", "data.max_length=128",
                                           "data.batching=padded"};
  ASSERT_EQ(train("rising", rising), 0);
  std::vector<double> tokens;
  for (const MetricRow& row : read_metrics(file("rising") / "metrics.jsonl"))
    if (row[0] == std::pair<std::string, MetricValue>("kind", "train")) tokens.push_back(metric(row, "real_tokens"));
  ASSERT_EQ(tokens.size(), 8u);
  EXPECT_LT(tokens[0] + tokens[1] + tokens[2], tokens[5] + tokens[6] + tokens[7]);
  expect_the_same_when_resumed("rising", rising);
}

}  // namespace
}  // namespace gavel

// The program as a user runs it: a tiny model from the repository's own golden, whole runs, and what goes wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <functional>

#include "base/file.h"
#include "base/scoped_variable.h"
#include "cli/cli_fixture.h"
#include "io/safetensors.h"
#include "judge/judge.h"
#include "model/adapter.h"
#include "report/metrics.h"
#include "setup/test_support.h"
#include "train/run_training.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

TEST_F(Cli, TrainsPredictsAndJudges) {
  ASSERT_EQ(run({"train", file("recipe.yaml").string()}), 0);
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "recipe.yaml",
                           "metrics.jsonl", "loss.svg"})
    EXPECT_TRUE(fs::exists(file("run") / name)) << name;
  EXPECT_FALSE(fs::exists(file("run") / ".lock"));

  int64_t trained = 0, evaluated = 0;
  for (const MetricRow& row : read_metrics(file("run") / "metrics.jsonl")) {
    bool is_train = std::get<std::string>(row[0].second) == "train";
    (is_train ? trained : evaluated) += 1;
    if (is_train) {
      EXPECT_TRUE(std::isfinite(metric(row, "loss")));
      EXPECT_EQ(metric(row, "step"), trained);
    }
  }
  EXPECT_EQ(trained, 6);
  EXPECT_EQ(evaluated, 2);

  fs::path out = file("out.csv");
  ASSERT_EQ(
      run({"predict", "--adapter", file("run").string(), "--data", file("test.csv").string(), "--out", out.string()}),
      0);
  PreferenceData rows = read_preferences(file("test.csv"), ReadOptions{});
  std::string text = read_text(out);
  EXPECT_THAT(text, testing::StartsWith("id,winner_model_a,winner_model_b,winner_tie\n"));
  size_t at = text.find('\n') + 1;
  for (const PreferenceRow& row : rows.rows) {
    double a = 0, b = 0, tie = 0;
    char id[64];
    ASSERT_EQ(std::sscanf(text.c_str() + at, "%63[^,],%lf,%lf,%lf", id, &a, &b, &tie), 4);
    EXPECT_EQ(id, row.id);
    EXPECT_NEAR(a + b + tie, 1, 1e-9);
    at = text.find('\n', at) + 1;
  }
  EXPECT_EQ(at, text.size());
  // One pair alone gets what it got among others.
  testing::internal::CaptureStdout();
  EXPECT_EQ(run({"judge", "--adapter", file("run").string(), "--prompt", "p", "--a", "good", "--b", "bad"}), 0);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), HasSubstr("verdict"));
  EXPECT_EQ(run({"eval", "--adapter", file("run").string(), "--data", file("test.csv").string()}), 0);

  // The folder holds a run now.
  EXPECT_THAT(error_of({"train", file("recipe.yaml").string()}), HasSubstr("holds a run already"));
}

TEST_F(Cli, TheSameRecipeGivesTheSameAdapterBitForBit) {
  for (const char* name : {"one", "two"})
    ASSERT_EQ(run({"train", file("recipe.yaml").string(), "lora.lora_dropout=0.1", "output=" + file(name).string()}),
              0);
  EXPECT_EQ(read_text(file("one") / "adapter_model.safetensors"), read_text(file("two") / "adapter_model.safetensors"));
}

TEST_F(Cli, EveryBatchingSwapAndTruncationTrains) {
  int number = 0;
  for (const char* settings :
       {"data.batching=padded", "data.batching=packed", "data.swap=both", "data.swap=random", "data.truncation=left",
        "data.truncation=proportional", "train.gradient_accumulation=2", "train.layers=scan", "train.max_grad_norm=1",
        "train.label_smoothing=0.1", "data.template=turns", "train.schedule=linear"}) {
    std::vector<std::string> arguments = {"train",
                                          file("recipe.yaml").string(),
                                          settings,
                                          "train.max_steps=2",
                                          "data.max_length=64",
                                          "output=" + file(std::to_string(number++)).string()};
    EXPECT_EQ(run(arguments), 0) << settings;
  }
}

TEST_F(Cli, MistakesInTheCommandLineEndWithTwo) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"--vesion"},
                                                    {"predict"},
                                                    {"predict", "--adaptr", "x", "--data", "y"},
                                                    {"jugde"},
                                                    {}}) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(run(arguments), 2) << testing::PrintToString(arguments);
    const std::string text = testing::internal::GetCapturedStderr();
    if (!arguments.empty() && arguments[0] == "--vesion") {
      EXPECT_THAT(text, HasSubstr("did you mean '--version'?"));
    }
    if (arguments.size() > 1) {
      EXPECT_THAT(text, HasSubstr("--adaptr (did you mean '--adapter'?)"));
    }
  }
  testing::internal::CaptureStdout();
  EXPECT_EQ(run({"-V"}), 0);
  EXPECT_THAT(testing::internal::GetCapturedStdout(), testing::StartsWith("gavel "));
}

TEST_F(Cli, OutputThatNobodyTakesIsAnError) {
  const std::string program = std::string(GAVEL_BINARY_DIR) + "/gavel";
  if (!std::filesystem::exists(program) || !std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no " << program;
  for (const char* arguments : {" --version", " train --help"}) {
    const int status = std::system((program + arguments + " > /dev/full 2> " + file("errors").string()).c_str());
    EXPECT_EQ(WEXITSTATUS(status), 1) << arguments;
    EXPECT_THAT(read_text(file("errors")), HasSubstr("standard output can't be written"));
  }
  // More than the buffer holds, so that it is noticed before the end.
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=1"}), 0);
  const std::string judge = fmt::format("{} judge --adapter {} --prompt {} --a b --b c > /dev/full 2> {}", program,
                                        file("run").string(), std::string(20000, 'p'), file("errors").string());
  EXPECT_EQ(WEXITSTATUS(std::system(judge.c_str())), 1);
  EXPECT_THAT(read_text(file("errors")),
              testing::AllOf(HasSubstr("standard output can't be written"), testing::Not(HasSubstr("report it"))));
}

// The plugin would end the process by a signal.
TEST_F(Cli, TooFewAddressesForThePluginAreToldBeforeItIsLoaded) {
  const std::string program = std::string(GAVEL_BINARY_DIR) + "/gavel";
  if (!std::filesystem::exists(program)) GTEST_SKIP() << "no " << program;
  const int status = std::system(fmt::format("ulimit -v 400000; ulimit -c 0; {} train {} train.max_steps=1 2> {}",
                                             program, file("recipe.yaml").string(), file("errors").string())
                                     .c_str());
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_THAT(read_text(file("errors")), HasSubstr("the limit on addresses (ulimit -v) is 409 MB"));
}

TEST_F(Cli, ErrorsGiveATerminalNothingToActOn) {
  using namespace std::string_literals;
  write_file(file("evil.csv"), "id,pro\x1b[31mmpt\x1b]0;pwned\x07,x\0y\n1,2,3\n"s);
  const std::string text = error_of({"data", file("evil.csv").string(), "--recipe", file("recipe.yaml").string()});
  EXPECT_THAT(text, testing::AllOf(HasSubstr("\\x1b[31mmpt"), HasSubstr("x\\x00y"), HasSubstr("check data.format")));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  std::string header = "c0";
  for (int i = 1; i < 50'000; ++i) header += fmt::format(",c{}", i);
  write_file(file("wide.csv"), header + "\n");
  EXPECT_LT(error_of({"data", file("wide.csv").string(), "--recipe", file("recipe.yaml").string()}).size(), 2000u);
}

TEST_F(Cli, AnEmptyTokenIsNoOpenService) {
  const std::string empty = file("token").string();
  write_file(empty, "\n");
  EXPECT_THAT(error_of({"serve", "--adapter", "nowhere", "--token-file", ""}),
              HasSubstr("--token-file: expected a file"));
  EXPECT_THAT(error_of({"serve", "--adapter", "nowhere", "--token-file", empty}), HasSubstr("token is empty"));
  const ScopedVariable none("GAVEL_TOKEN", "");
  EXPECT_THAT(error_of({"serve", "--adapter", "nowhere"}), HasSubstr("GAVEL_TOKEN is set and empty"));
}

TEST_F(Cli, SettingsThatCannotWorkAreNamed) {
  EXPECT_THAT(train_error({"train.learning_rat=1"}), HasSubstr("learning_rate"));
  EXPECT_THAT(train_error({"lora.target_modules=[q_prj]"}), HasSubstr("q_proj"));
  EXPECT_THAT(train_error({"mesh.fsdp=0"}), HasSubstr("mesh"));
  EXPECT_THAT(train_error({"mesh.rules=" + file("no-rules.yaml").string()}), HasSubstr("no-rules"));
  EXPECT_THAT(train_error({"device=cuda_that_is_not_there"}), HasSubstr("cuda_that_is_not_there"));
  EXPECT_THAT(train_error({"train.early_stopping_patience=2"}), HasSubstr("eval_every"));
  EXPECT_THAT(train_error({"data.valid=0", "train.load_best_at_end=true"}), HasSubstr("load_best_at_end"));
  EXPECT_THAT(train_error({"train.batch_size=1000"}), HasSubstr("rows"));
  EXPECT_THAT(train_error({"model.path=" + file("nothing").string()}), HasSubstr("nothing"));
  EXPECT_THAT(error_of({"train", file("no.yaml").string()}), HasSubstr("no.yaml"));
  EXPECT_THAT(error_of({"trian"}), HasSubstr("trian"));
}

TEST_F(Cli, OutputThatCannotBeWrittenIsNamedBeforeAnyWork) {
  write_file(file("blocked"), "a file");
  EXPECT_THAT(train_error({"output=" + (file("blocked") / "run").string()}), HasSubstr("blocked"));
}

TEST_F(Cli, DamagedDataIsNamed) {
  auto with_data = [&](const std::string& text) {
    write_file(file("bad.csv"), text);
    return train_error({"data.train=" + file("bad.csv").string()});
  };
  const std::string header =
      "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n";
  EXPECT_THAT(with_data(""), AllOf(HasSubstr("bad.csv"), HasSubstr("empty")));
  EXPECT_THAT(with_data("id,prompt,response_a\n1,a,b\n"), HasSubstr("response_b"));
  EXPECT_THAT(with_data(header + "1,x,y,\"[\"\"p\"\"]\",\"[null]\",\"[null]\",1,0,0\n"), HasSubstr("no row"));
  EXPECT_THAT(with_data(header + "1,x,y,\"[\"\"p"), HasSubstr("bad.csv"));
}

TEST_F(Cli, DamagedModelIsNamed) {
  std::string whole = read_text(model() / "model.safetensors");
  write_file(model() / "model.safetensors", whole.substr(0, whole.size() / 2));
  EXPECT_THAT(train_error({}), HasSubstr("model.safetensors"));
  write_file(model() / "model.safetensors", whole);
  std::string config = read_text(model() / "config.json");
  auto at = config.find("\"hidden_size\": 24");
  write_file(model() / "config.json", config.replace(at, 17, "\"hidden_size\": 32"));
  EXPECT_THAT(train_error({}), HasSubstr("shape"));
}

TEST_F(Cli, AdapterOfAnotherModelIsNamed) {
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=1", "train.warmup_steps=0"}), 0);
  fs::path weights = file("run") / "adapter_model.safetensors";
  auto adapter = SafetensorsFile::open(weights);
  std::vector<std::pair<std::string, HostTensor>> tensors;
  for (const auto& [name, info] : adapter->tensors()) {
    Shape shape = info.shape;
    if (name.find("lora_A") != std::string::npos) shape[1] += 8;
    tensors.emplace_back(name, HostTensor(DType::kF32, shape));
  }
  write_safetensors(weights, tensors, {});
  std::vector<std::string> predict = {"predict",
                                      "--adapter",
                                      file("run").string(),
                                      "--data",
                                      file("test.csv").string(),
                                      "--out",
                                      file("out.csv").string()};
  EXPECT_THAT(error_of(predict), HasSubstr("another model"));
  EXPECT_FALSE(fs::exists(file("out.csv")));
  write_file(file("run") / "adapter_config.json", "{\"peft_type\": \"IA3\"}");
  EXPECT_THAT(error_of(predict), HasSubstr("peft_type"));
  write_file(file("run") / "adapter_config.json", "{\"peft_type\": \"LORA\", \"r\": 2, \"use_qalora\": true}");
  EXPECT_THAT(error_of(predict), HasSubstr("use_qalora"));
  write_file(file("run") / "adapter_config.json", "{");
  EXPECT_THAT(error_of(predict), HasSubstr("JSON"));
  EXPECT_THAT(error_of({"predict", "--adapter", file("none").string(), "--data", "x"}), HasSubstr("none"));
}

TEST_F(Cli, PredictKeepsEveryRowHoweverOdd) {
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=1", "train.warmup_steps=0"}), 0);
  write_file(file("odd.csv"),
             "id,prompt,response_a,response_b\n"
             "7,\"[\"\"p\"\"]\",\"[null]\",\"[null]\"\n"
             "\"8,x\",not json,\"[\"\"\\ud800\"\"]\",\"[\"\"b\"\"]\"\n"
             "9,\"[\"\"p\xff\"\"]\",\"[]\",\"[\"\"b\"\", \"\"c\"\"]\"\n");
  ASSERT_EQ(run({"predict", "--adapter", file("run").string(), "--data", file("odd.csv").string(), "--out",
                 file("out.csv").string()}),
            0);
  EXPECT_THAT(read_text(file("out.csv")), AllOf(HasSubstr("\n7,0."), HasSubstr("\n\"8,x\",0."), HasSubstr("\n9,0.")));
}

}  // namespace
}  // namespace gavel

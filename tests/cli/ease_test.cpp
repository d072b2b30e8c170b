// What people run into before anything is learnt: work that is not lost, outputs that are not written over, mistakes that are
// told at once, and what Ctrl-C leaves.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "base/scoped_variable.h"
#include "cli_fixture.h"
#include "io/safetensors.h"
#include "judge/predict.h"
#include "report/metrics.h"
#include "setup/check_inputs.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

/** `gavel` in a process of its own, with what it says in a file. */
class Program {
 public:
  Program(std::vector<std::string> arguments, fs::path messages) : messages_(std::move(messages)) {
    arguments.insert(arguments.begin(), program());
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    process_ = ::fork();
    if (process_ != 0) return;
    ::signal(SIGINT, SIG_DFL);
    ::dup2(::open(messages_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  static std::string program() { return (fs::path(GAVEL_BINARY_DIR) / "gavel").string(); }
  /** Waits for something, then interrupts. The exit status. */
  template <class Ready>
  int interrupt_when(Ready ready) {
    return end_after(ready, [&] { ::kill(process_, SIGINT); });
  }
  /** Waits for something, acts, and waits for the end. The exit status, or minus the signal that ended it. */
  template <class Ready, class Action>
  int end_after(Ready ready, Action action) {
    for (int i = 0; i < 60000 && !ready(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    action();
    int status = 0;
    ::waitpid(process_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string messages() const { return read_text(messages_); }

 private:
  fs::path messages_;
  pid_t process_ = -1;
};

class Ease : public Cli {
 protected:
  std::vector<std::string> train_arguments(std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"train", file("recipe.yaml").string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  int train(std::vector<std::string> more = {}) const { return run(train_arguments(std::move(more))); }
  std::string output_of(const std::vector<std::string>& arguments) const {
    testing::internal::CaptureStdout();
    EXPECT_EQ(run(arguments), 0);
    return testing::internal::GetCapturedStdout();
  }
  std::vector<std::string> predict(const std::string& data, const std::string& out,
                                   std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"predict",           "--adapter", file("run").string(), "--data",
                                    file(data).string(), "--out",     file(out).string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  /** Rows 1 to `count` as JSONL, `changed` with another answer; `end` behind them. */
  void write_rows(const std::string& name, int count, int changed = 0, const std::string& end = "") const {
    std::string text;
    for (int i = 1; i <= count; ++i)
      text += fmt::format(
          "{{\"id\": {}, \"prompt\": [\"question {}\"], \"response_a\": [\"{}\"], \"response_b\": [\"no\"]}}\n", i, i,
          i == changed ? "changed" : "yes");
    write_file(file(name), text + end);
  }
  /** Judges in windows of 4 rows and stops in the second, as a kill does. */
  void predict_and_stop(Judge& judge, const std::string& data, const std::string& out) const {
    struct Stop {};
    EXPECT_THROW(predict_file(judge, {file(data), file(out), 0, 4, false},
                              [](int64_t done, int64_t) {
                                if (done > 4) throw Stop();
                              }),
                 Stop);
  }
};

TEST_F(Ease, PredictFindsABrokenEndBeforeItJudges) {
  ASSERT_EQ(train({"train.max_steps=1"}), 0);
  Judge judge(JudgeOptions{file("run"), std::nullopt, {}, true});
  write_rows("broken.jsonl", 12, 0, "{\"id\": 13, \"prompt\":\n");
  bool judged = false;
  try {
    predict_file(judge, {file("broken.jsonl"), file("out.csv"), 0, 4, false}, [&](int64_t, int64_t) { judged = true; });
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("broken.jsonl: row 13"), HasSubstr("expected a JSON object")));
  }
  EXPECT_FALSE(judged);
  EXPECT_FALSE(fs::exists(file("out.csv.partial")));
}

TEST_F(Ease, PredictGoesOnWithAFileThatWasMendedBehindWhatIsDone) {
  ASSERT_EQ(train({"train.max_steps=1"}), 0);
  Judge judge(JudgeOptions{file("run"), std::nullopt, {}, true});
  write_rows("data.jsonl", 12);
  predict_and_stop(judge, "data.jsonl", "out.csv");
  EXPECT_EQ(rows_in_partial_file(file("out.csv")), 4);
  // Another answer in a row that was judged, and a file with fewer rows.
  write_rows("data.jsonl", 12, 3);
  EXPECT_THAT(error_of(predict("data.jsonl", "out.csv", {"--window", "4"})),
              AllOf(HasSubstr("4 rows that are not the first ones of"), HasSubstr("--restart")));
  write_rows("data.jsonl", 3);
  EXPECT_THAT(error_of(predict("data.jsonl", "out.csv", {"--window", "4"})), HasSubstr("not the first ones of"));
  // One that was not judged yet, and a row more.
  write_rows("data.jsonl", 13, 9);
  const PredictResult result = predict_file(judge, {file("data.jsonl"), file("out.csv"), 0, 4, false});
  EXPECT_EQ(result.resumed_rows, 4);
  EXPECT_EQ(result.rows, 13);
  ASSERT_EQ(run(predict("data.jsonl", "whole.csv", {"--window", "4"})), 0);
  EXPECT_EQ(read_text(file("out.csv")), read_text(file("whole.csv")));
}

TEST_F(Ease, APartialFileWithoutRowsIsInNobodysWay) {
  ASSERT_EQ(train({"train.max_steps=1"}), 0);
  write_rows("data.jsonl", 3);
  write_file(file("out.csv.partial"), "id,winner_model_a,winner_model_b,winner_tie\n");
  write_file(file("out.csv.partial.json"),
             R"({"key":"another judge","content":"0","rows":0,"bytes":44,"swapped_rows":0,"flipped_rows":0})");
  EXPECT_EQ(run(predict("data.jsonl", "out.csv")), 0);
  EXPECT_FALSE(fs::exists(file("out.csv.partial")));
  EXPECT_FALSE(fs::exists(file("out.csv.partial.json")));
}

TEST_F(Ease, ARunThatEndsAtItsFirstStepIsNotInTheNextOnesWay) {
  // Its step is not finite; one that does a step is kept.
  EXPECT_THAT(error_of(train_arguments({"train.max_loss=0.0001"})), HasSubstr("step 1:"));
  ASSERT_TRUE(fs::exists(file("run") / "checkpoints" / "step-0"));
  ASSERT_EQ(train({"train.max_steps=2"}), 0);
  EXPECT_FALSE(fs::exists(file("run") / "checkpoints" / "step-0"));
  int lines = 0;
  for (const MetricRow& row : read_metrics(file("run") / "metrics.jsonl"))
    lines += row[0] == std::pair<std::string, MetricValue>("kind", "train");
  EXPECT_EQ(lines, 2);
  EXPECT_THAT(error_of(train_arguments()), HasSubstr("holds a run already"));
  // With --resume it begins anew too, whatever its settings were.
  EXPECT_THAT(error_of(train_arguments({"train.max_loss=0.0001", "output=" + file("again").string()})),
              HasSubstr("step 1:"));
  EXPECT_EQ(train({"--resume", "train.learning_rate=0.001", "output=" + file("again").string()}), 0);
  // One that is refused before it leaves no folder.
  EXPECT_THAT(error_of(train_arguments({"train.batch_size=1000", "output=" + file("none").string()})),
              HasSubstr("rows"));
  EXPECT_FALSE(fs::exists(file("none")));
}

TEST_F(Ease, WhatIsFinishedIsWrittenOverOnDemandOnly) {
  ASSERT_EQ(train({"train.max_steps=1"}), 0);
  const std::string adapter = file("run").string();
  auto refused_and_then_written = [&](std::vector<std::string> command, const fs::path& out) {
    SCOPED_TRACE(command.front());
    ASSERT_EQ(run(command), 0);
    const std::string first = read_text(out);
    EXPECT_THAT(error_of(command), HasSubstr("--overwrite"));
    write_file(out, "old");
    EXPECT_THAT(error_of(command), HasSubstr("--overwrite"));
    EXPECT_EQ(read_text(out), "old");
    command.push_back("--overwrite");
    EXPECT_EQ(run(command), 0);
    EXPECT_EQ(read_text(out), first);
  };
  refused_and_then_written(predict("test.csv", "out.csv"), file("out.csv"));
  refused_and_then_written(
      {"eval", "--adapter", adapter, "--data", file("test.csv").string(), "--rows", file("rows.jsonl").string()},
      file("rows.jsonl"));
  refused_and_then_written({"data", "make-sample", "--out", file("sample").string()}, file("sample") / "test.csv");
  refused_and_then_written({"report", adapter, adapter, "--out", file("both.html").string()}, file("both.html"));
  refused_and_then_written({"merge", "--adapter", adapter, "--out", file("merged").string()},
                           file("merged") / "config.json");
  refused_and_then_written({"average", adapter, adapter, "--out", file("mean").string()},
                           file("mean") / "adapter_model.safetensors");
  refused_and_then_written({"export", "--model", model().string(), "--out", file("base").string()},
                           file("base") / "model.safetensors");
  // What is left of an adapter would be taken for a part of the model.
  fs::copy_file(file("mean") / "adapter_config.json", file("merged") / "adapter_config.json");
  ASSERT_EQ(run({"merge", "--adapter", adapter, "--out", file("merged").string(), "--overwrite"}), 0);
  EXPECT_FALSE(fs::exists(file("merged") / "adapter_config.json"));
  // Nothing writes over a run, over what it reads, or over what is no file.
  const std::string data = file("test.csv").string(), before = read_text(file("test.csv"));
  ASSERT_EQ(::mkfifo(file("pipe").c_str(), 0600), 0);
  fs::create_symlink(file("test.csv"), file("linked.csv"));
  for (const std::string& out : {data, file("linked.csv").string(), file("pipe").string()}) {
    const std::string why = out == file("pipe").string() ? "which a file does not replace" : "is what is to be read";
    for (std::vector<std::string> command :
         {predict("test.csv", fs::path(out).filename().string()),
          std::vector<std::string>{"eval", "--adapter", adapter, "--data", data, "--rows", out},
          std::vector<std::string>{"eval", "--adapter", adapter, "--data", file("train.csv").string(),
                                   "--baselines-from", data, "--rows", out}}) {
      command.push_back("--overwrite");
      EXPECT_THAT(error_of(command), HasSubstr(why)) << command.front() << out;
    }
  }
  EXPECT_THAT(error_of({"report", adapter, adapter, "--out", file("pipe").string(), "--overwrite"}),
              HasSubstr("which a file does not replace"));
  EXPECT_THAT(
      error_of({"report", adapter, adapter, "--out", (fs::path(adapter) / "recipe.yaml").string(), "--overwrite"}),
      HasSubstr("is what is to be read"));
  make_folder(file("piped"));
  ASSERT_EQ(::mkfifo((file("piped") / "test.csv").c_str(), 0600), 0);
  EXPECT_THAT(error_of({"data", "make-sample", "--out", file("piped").string(), "--overwrite"}),
              HasSubstr("which a file does not replace"));
  EXPECT_TRUE(fs::is_fifo(file("pipe")) && fs::is_fifo(file("piped") / "test.csv"));
  EXPECT_FALSE(fs::exists(file("piped") / "train.csv"));
  EXPECT_EQ(read_text(file("test.csv")), before);
  EXPECT_THAT(error_of({"merge", "--adapter", file("mean").string(), "--out", adapter, "--overwrite"}),
              HasSubstr("a run"));
  EXPECT_THAT(error_of({"export", "--model", model().string(), "--out", model().string(), "--overwrite"}),
              HasSubstr("is what is to be read"));
  EXPECT_TRUE(fs::exists(model() / "model.safetensors"));
}

TEST_F(Ease, ALongWarmUpIsCutToTheRunWithOneLine) {
  testing::internal::CaptureStderr();
  ASSERT_EQ(train({"train.warmup_steps=128", "train.max_steps=3", "data.valid=0"}), 0);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, AllOf(HasSubstr("train.warmup_steps: 128 is more than the run's 3 steps"),
                          HasSubstr("train.warmup_steps=1")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  std::vector<double> rates;
  for (const MetricRow& row : read_metrics(file("run") / "metrics.jsonl"))
    rates.push_back(metric(row, "learning_rate"));
  ASSERT_EQ(rates.size(), 3u);
  for (int step = 0; step < 3; ++step) EXPECT_NEAR(rates[step], 0.01 * step / 3, 1e-12);
}

TEST_F(Ease, PathsInTheHomeFolderAreFound) {
  // Packages stay where they are.
  const ScopedVariable cache("XDG_CACHE_HOME", cache_folder().parent_path().string());
  const ScopedVariable home("HOME", scratch_.path().string());
  ASSERT_EQ(train({"model.path=~/model", "data.train=[~/train.csv]", "data.valid=~/test.csv", "output=~/mine",
                   "train.max_steps=1"}),
            0);
  EXPECT_TRUE(fs::exists(file("mine") / "adapter_model.safetensors"));
  EXPECT_EQ(run({"predict", "--adapter=~/mine", "--data=~/test.csv", "--out=~/out.csv"}), 0);
  EXPECT_TRUE(fs::exists(file("out.csv")));
}

TEST_F(Ease, WhatIsMissingIsToldAtOnceAndTogether) {
  const std::string text = error_of(train_arguments(
      {"model.path=./models/llama-3", "data.train=data/none.csv", "mesh.rules=none.yaml", "lora.init_adapter=none"}));
  for (const char* part : {"model.path: ./models/llama-3: expected a Hugging Face folder", "data.train: data/none.csv:",
                           "mesh.rules: none.yaml: is not there", "lora.init_adapter: none: is not there"})
    EXPECT_THAT(text, HasSubstr(part));
  EXPECT_FALSE(fs::exists(file("run")));
  write_file(file("columns.csv"), "id,prompt,response_a\n1,a,b\n");
  EXPECT_THAT(error_of(train_arguments({"model.path=none", "data.valid=" + file("columns.csv").string()})),
              AllOf(HasSubstr("model.path"), HasSubstr("response_b")));
  // A judge is not put on its device for a file that it can't read.
  ASSERT_EQ(train({"train.max_steps=1"}), 0);
  EXPECT_THAT(error_of(predict("columns.csv", "out.csv", {"device=/nowhere/plugin.so"})), HasSubstr("response_b"));
  EXPECT_THAT(error_of({"eval", "--adapter", file("run").string(), "--data", file("columns.csv").string(),
                        "device=/nowhere/plugin.so"}),
              HasSubstr("response_b"));
}

TEST_F(Ease, ATpuThatIsNotThereIsToldAtOnce) {
  const ScopedVariable type("TPU_ACCELERATOR_TYPE", ""), hosts("TPU_WORKER_HOSTNAMES", "");
  if (missing_hardware("tpu").empty()) GTEST_SKIP() << "there is a TPU";
  const auto start = std::chrono::steady_clock::now();
  const std::string text = error_of(train_arguments({"device=tpu"}));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_THAT(text, HasSubstr("device: tpu: no TPU on this machine"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THROW(make_client("tpu"), Error);
  const ScopedVariable named("TPU_ACCELERATOR_TYPE", "v5e-8");
  EXPECT_EQ(missing_hardware("tpu"), "");
}

TEST(OpeningLimit, EndsAProcessWhoseDeviceDoesNotOpen) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const OpeningLimit limit("slow", std::chrono::milliseconds(100));
        std::this_thread::sleep_for(std::chrono::seconds(20));
      },
      testing::ExitedWithCode(1), "device slow: its plugin did not open it within 0.1 s");
  const OpeningLimit fast("fast", std::chrono::hours(1));
}

TEST_F(Ease, ARunThatWasInterruptedNamesItsNewestCheckpoint) {
  ASSERT_EQ(train({"train.save_every=1", "train.max_steps=6", "--until", "3", "train.keep_last=5"}), 0);
  fs::create_directories(file("run") / "checkpoints" / "step-9");  // not whole
  const std::string checkpoint = (file("run") / "checkpoints" / "step-3").string();
  EXPECT_THAT(error_of(predict("test.csv", "out.csv")),
              AllOf(HasSubstr("--adapter " + checkpoint + ","), HasSubstr("recipe.yaml --resume")));
  EXPECT_EQ(
      run({"predict", "--adapter", checkpoint, "--data", file("test.csv").string(), "--out", file("out.csv").string()}),
      0);
}

TEST_F(Ease, ABaseBesideTheAdapterIsFound) {
  ASSERT_EQ(train({"train.max_steps=1"}), 0);
  ASSERT_EQ(run(predict("test.csv", "before.csv")), 0);
  fs::remove(file("run") / "calibration.json");
  auto name_base = [&](const std::string& base) {
    std::string recipe = read_text(file("run") / "recipe.yaml");
    const size_t at = recipe.find("path: "), end = recipe.find('\n', at);
    ASSERT_NE(at, std::string::npos);
    write_file(file("run") / "recipe.yaml", recipe.replace(at, end - at, "path: " + base));
  };
  name_base("../model");
  ASSERT_EQ(run(predict("test.csv", "after.csv")), 0);
  EXPECT_EQ(read_text(file("before.csv")), read_text(file("after.csv")));
  name_base("org/model-8b");
  EXPECT_THAT(error_of(predict("test.csv", "none.csv")),
              AllOf(HasSubstr("its base model is org/model-8b"), HasSubstr("--model")));
  EXPECT_EQ(run(predict("test.csv", "given.csv", {"--model", model().string()})), 0);
  // PEFT's own, without a recipe.
  fs::remove(file("run") / "recipe.yaml");
  std::string config = read_text(file("run") / "adapter_config.json");
  const std::string was = model().string();
  ASSERT_NE(config.find(was), std::string::npos);
  write_file(file("run") / "adapter_config.json", config.replace(config.find(was), was.size(), "../model"));
  EXPECT_EQ(run(predict("test.csv", "peft.csv")), 0);
}

TEST_F(Ease, RowsBeyondTheModelsPositionsAreToldOf) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(train({"data.max_length=128", "train.max_steps=1", "data.valid=0"}), 0);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("have more tokens than the 64 positions"), HasSubstr("set data.max_length=64")));
}

TEST_F(Ease, AnAdapterOfPeftsIsMergedInItsBasesOwnType) {
  ASSERT_EQ(train({"train.max_steps=1", "model.dtype=bfloat16"}), 0);
  fs::remove(file("run") / "recipe.yaml");  // as PEFT leaves it
  ASSERT_EQ(run({"merge", "--adapter", file("run").string(), "--out", file("merged").string()}), 0);
  const char* untouched = "model.layers.0.mlp.up_proj.weight";
  const HostTensor base = SafetensorsFile::open(model() / "model.safetensors")->tensor(untouched);
  const HostTensor merged = SafetensorsFile::open(file("merged") / "model.safetensors")->tensor(untouched);
  ASSERT_EQ(base.dtype(), DType::kF32);
  ASSERT_EQ(base.bytes(), merged.bytes());
  EXPECT_EQ(std::memcmp(base.data(), merged.data(), base.bytes()), 0);
}

TEST_F(Ease, DoctorSaysWhatIsThere) {
  if (!fs::exists(Program::program())) GTEST_SKIP() << "the program is not built";
  const std::string out = file("doctor").string();
  ASSERT_EQ(std::system((Program::program() + " doctor > " + out + " 2> /dev/null").c_str()), 0);
  const std::string text = read_text(out);
  for (const char* part : {"gavel ", "Parquet files: ", "packages in ", "cpu   ok: ", "cuda  ", "tpu   ",
                           "smollm2-135m-instruct", "gemma-3-270m"})
    EXPECT_THAT(text, HasSubstr(part));
}

TEST_F(Ease, AQuietRunPrintsItsResult) {
  const std::string text = output_of(train_arguments({"train.max_steps=2"}));
  EXPECT_THAT(text, AllOf(HasSubstr(file("run").string() + ": 2 steps, mean loss "), HasSubstr("validation log loss "),
                          HasSubstr(", accuracy ")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THAT(output_of(train_arguments({"train.max_steps=4", "--until", "1", "output=" + file("parts").string()})),
              HasSubstr("stopped after step 1 of 4, as asked"));
}

TEST_F(Ease, PredictSaysOnCtrlCHowToGoOn) {
  if (!fs::exists(Program::program())) GTEST_SKIP() << "the program is not built";
  ASSERT_EQ(train({"train.max_steps=1"}), 0);
  write_rows("data.jsonl", 4000);
  auto command = predict("data.jsonl", "my out.csv", {"--window", "2", "--restart"});
  Program predicting(command, file("messages"));
  EXPECT_EQ(predicting.interrupt_when([&] { return rows_in_partial_file(file("my out.csv")) > 0; }), 130);
  const std::string text = predicting.messages();
  EXPECT_THAT(text, AllOf(HasSubstr("SIGINT"), HasSubstr("rows are kept in "),
                          HasSubstr("go on with:\n  " + Program::program())));
  // The line that is to be pasted goes on: without --restart, and with its file's name in quotes.
  const size_t at = text.find("  " + Program::program());
  std::string pasted = text.substr(at, text.find('\n', at) - at);
  EXPECT_THAT(pasted, AllOf(Not(HasSubstr("--restart")), HasSubstr("'" + file("my out.csv").string() + "'")));
  write_rows("data.jsonl", 40);
  const int64_t kept = rows_in_partial_file(file("my out.csv"));
  if (kept <= 40) {
    EXPECT_EQ(std::system((pasted + " 2> " + file("again").string()).c_str()), 0);
    EXPECT_THAT(read_text(file("again")), HasSubstr("rows were there from an interrupted call"));
  }
}

// The file is mapped, and what is read behind its new end comes as a signal.
TEST_F(Ease, PredictNamesAFileThatIsCutShortMeanwhile) {
  if (!fs::exists(Program::program())) GTEST_SKIP() << "the program is not built";
  ASSERT_EQ(train({"train.max_steps=1"}), 0);
  // Three blocks of the file, of which the first is judged when its end goes.
  std::string text;
  for (int i = 1; i <= 400; ++i)
    text += fmt::format("{{\"id\": {}, \"prompt\": [\"{}\"], \"response_a\": [\"yes\"], \"response_b\": [\"no\"]}}\n",
                        i, std::string(100'000, 'x'));
  write_file(file("data.jsonl"), text);
  Program predicting(predict("data.jsonl", "out.csv", {"--window", "8"}), file("messages"));
  EXPECT_EQ(predicting.end_after([&] { return rows_in_partial_file(file("out.csv")) > 0; },
                                 [&] { fs::resize_file(file("data.jsonl"), 0); }),
            1)
      << predicting.messages();
  EXPECT_THAT(predicting.messages(), HasSubstr("error: " + file("data.jsonl").string() + ": was cut short"));
  EXPECT_FALSE(fs::exists(file("out.csv")));
  EXPECT_GT(rows_in_partial_file(file("out.csv")), 0);  // what was judged is kept, as after a kill
}

TEST_F(Ease, TrainingSaysOnCtrlCHowToGoOn) {
  if (!fs::exists(Program::program())) GTEST_SKIP() << "the program is not built";
  Program training(train_arguments({"train.max_steps=4000", "train.save_every=2", "data.valid=0"}), file("messages"));
  EXPECT_EQ(training.interrupt_when([&] { return fs::exists(file("run") / "checkpoints"); }), 130);
  const std::string text = training.messages();
  const std::string command =
      "  " + Program::program() + " train " + (file("run") / "recipe.yaml").string() + " --resume\n";
  EXPECT_THAT(text, AllOf(HasSubstr("go on from step "), HasSubstr(command)));
  // No terminal, no bar and no colours.
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace gavel

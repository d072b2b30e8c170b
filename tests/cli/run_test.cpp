// Runs that are killed, stopped, resumed and hindered. The program runs as a process of its own where signals
// are sent. tools/try_reliability.py does the same at length.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>

#include "base/file.h"
#include "base/random.h"
#include "base/scoped_variable.h"
#include "cli/cli_fixture.h"
#include "io/model_files.h"
#include "io/safetensors.h"
#include "model/adapter.h"
#include "report/metrics.h"
#include "report/tensorboard.h"
#include "report/validation_file.h"
#include "train/checkpoint.h"
#include "train/stop_signals.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

/** `gavel train` in a process of its own; its JSON lines go to a pipe, its messages to a file. */
class TrainProcess {
 public:
  TrainProcess(std::vector<std::string> arguments, const fs::path& messages) : messages_(messages) {
    int ends[2];
    if (::pipe(ends) != 0) fail("no pipe");
    arguments.insert(arguments.begin(), {(fs::path(GAVEL_BINARY_DIR) / "gavel").string(), "train"});
    arguments.push_back("--json");
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    process_ = ::fork();
    if (process_ == 0) {
      for (int signal : {SIGINT, SIGHUP}) ::signal(signal, SIG_DFL);  // whatever the tests were started with
      ::dup2(ends[1], STDOUT_FILENO);
      ::dup2(::open(messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      ::execv(pointers[0], pointers.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    out_ = ::fdopen(ends[0], "r");
  }
  ~TrainProcess() {
    if (process_ > 0) {
      send(SIGKILL);
      wait();
    }
    close_output();
  }
  void close_output() {
    if (out_ != nullptr) std::fclose(out_);
    out_ = nullptr;
  }

  /** Reads lines until one has all the texts; false at the end of the run. */
  bool until(std::initializer_list<const char*> texts) {
    char line[4096];
    while (std::fgets(line, sizeof line, out_) != nullptr) {
      bool all = true;
      for (const char* text : texts) all = all && std::string_view(line).find(text) != std::string_view::npos;
      if (all) return true;
    }
    return false;
  }
  void send(int signal) const { ::kill(process_, signal); }
  /** Lets no file of the process become larger. */
  void limit_files(rlim_t bytes) const {
    const rlimit limit{bytes, RLIM_INFINITY};
    ASSERT_EQ(::prlimit(process_, RLIMIT_FSIZE, &limit, nullptr), 0);
  }
  /** Waits for a text among the messages. */
  bool says(std::string_view text) const {
    for (int i = 0; i < 6000; ++i, std::this_thread::sleep_for(std::chrono::milliseconds(10)))
      if (messages().find(text) != std::string::npos) return true;
    return false;
  }
  /** The exit status, or minus the signal that ended it. */
  int wait() {
    int status = 0;
    ::waitpid(process_, &status, 0);
    process_ = -1;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }
  std::string messages() const { return read_text(messages_); }

 private:
  fs::path messages_;
  pid_t process_ = -1;
  FILE* out_ = nullptr;
};

class Run : public Cli {
 protected:
  std::vector<std::string> arguments(const std::string& output, std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {
        file("recipe.yaml").string(), "train.max_steps=12", "train.save_every=2", "train.eval_every=5",
        "lora.lora_dropout=0.1",      "data.swap=random",   "train.keep_last=3",  "output=" + file(output).string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  int train(const std::string& output, std::vector<std::string> more = {}) const {
    std::vector<std::string> all = arguments(output, std::move(more));
    all.insert(all.begin(), "train");
    return run(all);
  }
  std::string error(const std::string& output, std::vector<std::string> more) const {
    std::vector<std::string> all = arguments(output, std::move(more));
    all.insert(all.begin(), "train");
    return error_of(all);
  }
  TrainProcess start(const std::string& output, std::vector<std::string> more = {}) const {
    return TrainProcess(arguments(output, std::move(more)), file("messages"));
  }
  /** Puts a file into the place of a run's folder, in one step: the run would make it anew. */
  void block(const std::string& output) const {
    const fs::path aside = file(output + " aside");
    write_file(aside, "in the way");
    ASSERT_EQ(::renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, file(output).c_str(), RENAME_EXCHANGE), 0);
  }
  std::string adapter(const std::string& output) const { return read_text(file(output) / "adapter_model.safetensors"); }
  CheckpointStore checkpoints(const std::string& output) const { return CheckpointStore(file(output) / "checkpoints"); }

  /** metrics.jsonl without times, and without what is not finite, which equals nothing. */
  std::vector<MetricRow> rows(const std::string& output) const {
    std::vector<MetricRow> rows = read_metrics(file(output) / "metrics.jsonl");
    for (MetricRow& row : rows)
      std::erase_if(row, [](const auto& entry) {
        return entry.first.find("second") != std::string::npos || entry.first == "mfu" ||
               (std::holds_alternative<double>(entry.second) && std::isnan(std::get<double>(entry.second)));
      });
    return rows;
  }
  /** (step, first tag) of all scalars of all event files, in the order of their names. */
  std::vector<std::pair<int64_t, std::string>> scalars(const std::string& output) const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(file(output)))
      if (entry.path().filename().string().starts_with("events.")) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    std::vector<std::pair<int64_t, std::string>> found;
    for (const fs::path& path : files)
      for (const auto& event : read_events(path))
        if (!event.scalars.empty()) found.emplace_back(event.step, event.scalars[0].first);
    return found;
  }
  void expect_same(const std::string& output, const std::string& reference) const {
    EXPECT_EQ(adapter(output), adapter(reference));
    EXPECT_EQ(rows(output), rows(reference));
    EXPECT_EQ(scalars(output), scalars(reference));
  }
};

TEST_F(Run, InFloat16GoesOnWithItsLossScaleBitForBit) {
  constexpr double kFirst = 0x1p22;
  const std::vector<std::string> half = {"model.dtype=float16", "model.compute_dtype=float16", "train.keep_last=100",
                                         fmt::format("train.loss_scale={}", kFirst)};
  ASSERT_EQ(train("whole", half), 0);
  fs::copy(file("whole"), file("parts"), fs::copy_options::recursive);
  for (int64_t step : checkpoints("parts").steps())
    if (step > 4) fs::remove_all(checkpoints("parts").path(step));
  std::vector<std::string> resumed = half;
  resumed.push_back("--resume");
  ASSERT_EQ(train("parts", resumed), 0);
  expect_same("parts", "whole");
  // The scale is too large at first: steps are left out, counted, and halve it.
  double scale = kFirst;
  int64_t skipped = 0, good = 0;
  for (const MetricRow& row : rows("whole")) {
    if (std::get<std::string>(row[0].second) != "train") continue;
    if (metric(row, "skipped") == 1) {
      scale /= 2;
      ++skipped;
    } else {
      ++good;
    }
    EXPECT_EQ(metric(row, "loss_scale"), scale);
  }
  EXPECT_GT(skipped, 0);
  EXPECT_GT(good, 0);
  EXPECT_THAT(read_text(file("whole") / "run.json"), HasSubstr(fmt::format("\"skipped_steps\": {}", skipped)));
  auto state = SafetensorsFile::open(checkpoints("whole").path(12) / "optimizer.safetensors");
  EXPECT_EQ(state->tensor("loss_scale").as<float>()[0], scale);
  EXPECT_EQ(state->tensor("loss_scale").as<float>()[1], good);
  EXPECT_THAT(error("parts", {"model.dtype=float16", "model.compute_dtype=float32", "--resume"}),
              HasSubstr("model.compute_dtype"));
}

TEST_F(Run, GoesOnFromAnyCheckpointBitForBit) {
  ASSERT_EQ(train("whole", {"train.keep_last=100"}), 0);
  EXPECT_EQ(checkpoints("whole").steps(), (std::vector<int64_t>{2, 4, 5, 6, 8, 10, 12}));
  for (int64_t step : {2, 5, 10}) {
    std::string name = fmt::format("from-{}", step);
    fs::copy(file("whole"), file(name), fs::copy_options::recursive);
    for (int64_t later : checkpoints(name).steps())
      if (later > step) fs::remove_all(checkpoints(name).path(later));
    fs::remove(file(name) / "adapter_model.safetensors");
    ASSERT_EQ(train(name, {"--resume", "train.log_every=3"}), 0);
    expect_same(name, "whole");
  }
  // Finished: nothing is left to do, and everything stays.
  ASSERT_EQ(train("from-5", {"train.resume=auto"}), 0);
  expect_same("from-5", "whole");
}

TEST_F(Run, StoppedAfterAStepAndResumedIsTheSame) {
  // Evaluated at the steps that it stops after, so that the whole run has the same lines.
  ASSERT_EQ(train("whole", {"train.eval_every=4"}), 0);
  ASSERT_EQ(train("parts", {"train.eval_every=4", "--until", "4"}), 0);
  EXPECT_FALSE(fs::exists(file("parts") / "adapter_model.safetensors"));
  EXPECT_THAT(read_text(file("parts") / "run.json"), HasSubstr("\"paused\""));
  EXPECT_EQ(checkpoints("parts").steps().back(), 4);
  EXPECT_EQ(read_validation(file("parts") / "validation.jsonl").step, 4);
  ASSERT_EQ(train("parts", {"train.eval_every=4", "--resume", "--until", "8"}), 0);
  EXPECT_EQ(checkpoints("parts").steps().back(), 8);
  // What it has done already stays done.
  ASSERT_EQ(train("parts", {"train.eval_every=4", "--resume", "--until", "2"}), 0);
  EXPECT_EQ(checkpoints("parts").steps().back(), 8);
  ASSERT_EQ(train("parts", {"train.eval_every=4", "--resume", "--until", "100"}), 0);
  expect_same("parts", "whole");
  // An evaluation that is due only because it stops there changes no weight.
  ASSERT_EQ(train("odd", {"train.eval_every=4", "--until", "3"}), 0);
  EXPECT_EQ(read_validation(file("odd") / "validation.jsonl").step, 3);
  ASSERT_EQ(train("odd", {"train.eval_every=4", "--resume"}), 0);
  EXPECT_EQ(adapter("odd"), adapter("whole"));
}

TEST_F(Run, AFrozenHeadIsSavedAsItStartedAndStaysSoWhenResumed) {
  const std::vector<std::string> frozen = {"lora.freeze_head=true", "train.weight_decay=0.5", "train.keep_last=100"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), frozen.begin(), frozen.end());
    return more;
  };
  auto weights = [&](const std::string& output) {
    return read_adapter(PeftConfig::read(file(output)), ModelFiles::open(model()).spec(), 3).values;
  };
  auto floats = [](const HostTensor& tensor) {
    return std::vector<float>(tensor.as<float>().begin(), tensor.as<float>().end());
  };
  // Where it starts: a step of rate 0 changes nothing.
  ASSERT_EQ(train("start", {"train.max_steps=1", "train.learning_rate=0"}), 0);
  ASSERT_EQ(train("whole", with({})), 0);
  ASSERT_EQ(train("trained"), 0);
  EXPECT_EQ(floats(weights("whole").back()), floats(weights("start").back()));
  EXPECT_NE(floats(weights("whole").front()), floats(weights("start").front()));
  EXPECT_NE(floats(weights("trained").back()), floats(weights("start").back()));

  fs::copy(file("whole"), file("resumed"), fs::copy_options::recursive);
  for (int64_t later : checkpoints("resumed").steps())
    if (later > 4) fs::remove_all(checkpoints("resumed").path(later));
  fs::remove(file("resumed") / "adapter_model.safetensors");
  EXPECT_THAT(error("resumed", {"--resume", "train.weight_decay=0.5"}), HasSubstr("lora.freeze_head: true → false"));
  ASSERT_EQ(train("resumed", with({"--resume"})), 0);
  expect_same("resumed", "whole");

  // An adapter's head is a start like any other.
  const std::string from_trained = "lora.init_adapter=" + file("trained").string();
  ASSERT_EQ(train("again", with({from_trained})), 0);
  EXPECT_EQ(floats(weights("again").back()), floats(weights("trained").back()));
  EXPECT_NE(floats(weights("again").front()), floats(weights("trained").front()));
}

TEST_F(Run, RatesOfTheirOwnGoOnBitForBitFromWithinTheHeadsSteps) {
  const std::vector<std::string> settings = {
      "train.head_learning_rate=0.02", "train.head_only_steps=5", "lora.lora_plus_ratio=4", "lora.layer_decay=0.5",
      "lora.layers_to_transform=[1]",  "model.head=shares",       "train.keep_last=100"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), settings.begin(), settings.end());
    return more;
  };
  ASSERT_EQ(train("whole", with({})), 0);
  // Rows of zeros: every outcome is as likely, whatever the labels.
  EXPECT_NEAR(metric(rows("whole").front(), "log_loss"), std::log(3.0), 1e-6);
  auto weights = [&](int64_t step) {
    return read_adapter(PeftConfig::read(checkpoints("whole").path(step)), ModelFiles::open(model()).spec(), 3).values;
  };
  auto differ = [&](int64_t one, int64_t other, size_t tensor) {
    const HostTensor a = weights(one)[tensor], b = weights(other)[tensor];
    return std::memcmp(a.data(), b.data(), a.bytes()) != 0;
  };
  const size_t head = weights(2).size() - 1;
  EXPECT_TRUE(differ(2, 4, head));
  for (size_t tensor = 0; tensor < head; ++tensor) {
    EXPECT_FALSE(differ(2, 5, tensor)) << tensor;
    EXPECT_TRUE(differ(5, 8, tensor)) << tensor;
  }
  for (int64_t step : {4, 6}) {
    const std::string name = fmt::format("from-{}", step);
    fs::copy(file("whole"), file(name), fs::copy_options::recursive);
    for (int64_t later : checkpoints(name).steps())
      if (later > step) fs::remove_all(checkpoints(name).path(later));
    fs::remove(file(name) / "adapter_model.safetensors");
    ASSERT_EQ(train(name, with({"--resume"})), 0);
    expect_same(name, "whole");
  }
  EXPECT_THAT(error("whole", {"--resume"}),
              AllOf(HasSubstr("train.head_only_steps: 5 → 0"), HasSubstr("lora.layer_decay"),
                    HasSubstr("lora.layers_to_transform: [1] → null")));
}

TEST_F(Run, KilledAtRandomMomentsAndResumedIsTheSame) {
  ASSERT_EQ(train("whole"), 0);
  Random random(std::random_device{}());
  int kills = 0;
  const std::vector<std::vector<const char*>> moments = {{"\"train\""}, {"\"saving\""}, {"\"evaluation\""}};
  for (int i = 0; i < 6; ++i) {
    TrainProcess process = start("killed", {"--resume"});
    if (!process.until({moments[static_cast<size_t>(i) % 3][0]})) break;
    std::this_thread::sleep_for(std::chrono::microseconds(random.below(20'000)));
    process.send(SIGKILL);
    kills += process.wait() == -SIGKILL;
  }
  EXPECT_GE(kills, 2);
  ASSERT_EQ(train("killed", {"--resume"}), 0);
  expect_same("killed", "whole");
  EXPECT_EQ(checkpoints("killed").steps(), checkpoints("whole").steps());
}

TEST_F(Run, SignalsSaveAndSayHowToGoOn) {
  ASSERT_EQ(train("whole"), 0);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    std::string name = fmt::format("signal-{}", signal);
    TrainProcess process = start(name);
    ASSERT_TRUE(process.until({"\"train\"", "\"step\":3"}));
    process.send(signal);
    EXPECT_EQ(process.wait(), 128 + signal);
    EXPECT_THAT(process.messages(), AllOf(HasSubstr(signal_name(signal)), HasSubstr("--resume")));
    EXPECT_THAT(read_text(file(name) / "run.json"), HasSubstr("interrupted"));
    EXPECT_FALSE(fs::exists(file(name) / "adapter_model.safetensors"));
    ASSERT_EQ(train(name, {"--resume"}), 0);
    expect_same(name, "whole");
  }
}

TEST_F(Run, ASecondSignalEndsItAtOnceAndHarmsNothing) {
  ASSERT_EQ(train("whole"), 0);
  TrainProcess process = start("twice");
  ASSERT_TRUE(process.until({"\"saving\"", "\"step\":4"}));
  process.send(SIGINT);
  process.send(SIGTERM);
  int status = process.wait();
  EXPECT_TRUE(status == 128 + SIGINT || status == 128 + SIGTERM) << status;
  ASSERT_EQ(train("twice", {"--resume"}), 0);
  expect_same("twice", "whole");
}

TEST_F(Run, AReaderThatGoesAwayDoesNotEndIt) {
  ASSERT_EQ(train("whole"), 0);
  TrainProcess process = start("unread");
  ASSERT_TRUE(process.until({"\"train\""}));
  process.close_output();
  EXPECT_EQ(process.wait(), 0);
  EXPECT_THAT(process.messages(), HasSubstr("standard output can't be written"));
  expect_same("unread", "whole");
}

TEST_F(Run, WhatAKilledProcessLeftUnfinishedIsRemoved) {
  ASSERT_EQ(train("run"), 0);
  fs::path unfinished = file("run") / ".metrics.jsonl.a1B2c3", other = file("run") / ".notes.a1B2c3";
  write_file(unfinished, "{");
  write_file(other, "not ours");
  ASSERT_EQ(train("run", {"--resume"}), 0);
  EXPECT_FALSE(fs::exists(unfinished));
  EXPECT_TRUE(fs::exists(other));
}

TEST_F(Run, AnExplodingLossIsNamedWithItsRows) {
  testing::internal::CaptureStderr();
  run({"train", file("recipe.yaml").string(), "output=" + file("exploding").string(), "train.max_steps=40",
       "train.learning_rate=100", "train.schedule=constant"});
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("the loss explodes"), HasSubstr("rows "), HasSubstr("train.csv")));
}

TEST_F(Run, ASecondRunInTheFolderIsRefused) {
  TrainProcess process = start("shared");
  ASSERT_TRUE(process.until({"\"train\""}));
  EXPECT_THAT(error("shared", {"--resume"}), HasSubstr("in use by another run"));
  EXPECT_EQ(process.wait(), 0);
  EXPECT_THAT(error("shared", {}), AllOf(HasSubstr("holds a run already"), HasSubstr("--resume")));
}

TEST_F(Run, WhatChangedIsRefusedByName) {
  ASSERT_EQ(train("run", {"train.save_every=4"}), 0);
  EXPECT_THAT(error("run", {"--resume", "train.seed=7"}), HasSubstr("train.seed: 2024 → 7"));
  std::string data = read_text(file("train.csv"));
  write_file(file("train.csv"), data + "\n");
  EXPECT_THAT(error("run", {"--resume"}), AllOf(HasSubstr("data.train"), HasSubstr("train.csv")));
  write_file(file("train.csv"), data);
  std::string weights = read_text(model() / "model.safetensors");
  weights.back() = static_cast<char>(weights.back() ^ 1);
  write_file(model() / "model.safetensors", weights);
  EXPECT_THAT(error("run", {"--resume"}), HasSubstr("model.path/model.safetensors"));
  EXPECT_EQ(train("run", {"--resume", "--allow-changes", "train.max_steps=14"}), 0);
  EXPECT_EQ(metric(rows("run").back(), "step"), 14);
}

TEST_F(Run, AListOfFilesIsResumedByContentAndSettings) {
  const std::string other = file("other.csv").string();
  make_sample(other, std::nullopt, 24, 0, 9);
  auto list = [&](const std::string& weight) {
    return fmt::format("data.train=[{}, {{path: {}, weight: {}}}]", file("train.csv").string(), other, weight);
  };
  ASSERT_EQ(train("listed", {list("0.5")}), 0);
  EXPECT_EQ(train("listed", {"--resume", list("0.5")}), 0);
  EXPECT_THAT(error("listed", {"--resume", list("2")}),
              HasSubstr("data.train, file by file: weight 1; weight 0.5 → weight 1; weight 2"));
  make_sample(other, std::nullopt, 24, 0, 10);
  EXPECT_THAT(error("listed", {"--resume", list("0.5")}), AllOf(HasSubstr("data.train/2"), HasSubstr("other.csv")));
}

TEST_F(Run, CheckpointsThatCanNotBeWrittenDoNotEndIt) {
  ASSERT_EQ(train("whole"), 0);
  TrainProcess process = start("hindered");
  ASSERT_TRUE(process.until({"\"saved\""}));
  // Where a folder can't be made, also not by root.
  fs::rename(file("hindered") / "checkpoints", file("hindered") / "kept");
  write_file(file("hindered") / "checkpoints", "in the way");
  EXPECT_EQ(process.wait(), 0);
  EXPECT_THAT(process.messages(), AllOf(HasSubstr("could not be written"), HasSubstr("training goes on")));
  EXPECT_EQ(adapter("hindered"), adapter("whole"));
  fs::remove(file("hindered") / "checkpoints");
  fs::rename(file("hindered") / "kept", file("hindered") / "checkpoints");
  fs::remove(file("hindered") / "adapter_model.safetensors");
  ASSERT_EQ(train("hindered", {"--resume"}), 0);
  expect_same("hindered", "whole");
}

TEST_F(Run, ARemovedFolderIsMadeAgain) {
  ASSERT_EQ(train("whole"), 0);
  TrainProcess process = start("removed");
  ASSERT_TRUE(process.until({"\"saved\""}));
  // Away in one step: the run goes on writing into a folder that is removed file by file.
  fs::rename(file("removed"), file("gone"));
  fs::remove_all(file("gone"));
  EXPECT_EQ(process.wait(), 0);
  EXPECT_THAT(process.messages(), HasSubstr("was removed"));
  EXPECT_EQ(adapter("removed"), adapter("whole"));
  EXPECT_TRUE(fs::exists(file("removed") / "recipe.yaml"));
}

// In the folder's place stands what no folder can be made of, also not by root.
TEST_F(Run, ItsRefugeIsANewFolderForTheUserAlone) {
  ASSERT_EQ(train("whole"), 0);
  make_folder(file("temporary"));
  const ScopedVariable temporary("TMPDIR", file("temporary").string());
  TrainProcess process = start("blocked");
  ASSERT_TRUE(process.until({"\"saved\""}));
  block("blocked");
  EXPECT_EQ(process.wait(), 1);
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(file("temporary"))) found.push_back(entry.path());
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(process.messages(), HasSubstr("the trained adapter is in " + found[0].string() + " instead"));
  const std::string name = found[0].filename();
  EXPECT_TRUE(name.starts_with("gavel-blocked-") && name.size() == 20) << name;
  EXPECT_EQ(fs::status(found[0]).permissions(), fs::perms::owner_all);
  EXPECT_EQ(read_text(found[0] / "adapter_model.safetensors"), adapter("whole"));
}

TEST_F(Run, AnAdapterThatCanGoNowhereIsTriedAgain) {
  ASSERT_EQ(train("whole"), 0);
  const ScopedVariable temporary("TMPDIR", file("not there").string());
  for (const bool stopped : {false, true}) {
    const std::string name = stopped ? "stopped" : "blocked";
    TrainProcess process = start(name);
    ASSERT_TRUE(process.until({"\"saved\""}));
    block(name);
    ASSERT_TRUE(process.says("trying again in"));
    EXPECT_THAT(process.messages(), HasSubstr("nor can the trained adapter go elsewhere"));
    if (stopped) {
      process.send(SIGTERM);
      EXPECT_EQ(process.wait(), 1);
      EXPECT_THAT(process.messages(), HasSubstr("not tried again, for SIGTERM came"));
      continue;
    }
    fs::remove(file(name));
    EXPECT_EQ(process.wait(), 0);
    EXPECT_EQ(adapter(name), adapter("whole"));
  }
}

// SIGXFSZ would kill it without a word.
TEST_F(Run, AFileAtTheLimitOfItsSizeIsLikeAFullDisk) {
  ASSERT_EQ(train("whole"), 0);
  TrainProcess process = start("limited");
  ASSERT_TRUE(process.until({"\"saved\""}));
  process.limit_files(adapter("whole").size() - 1);
  ASSERT_TRUE(process.says("File too large"));
  ASSERT_TRUE(process.says("trying again in"));
  process.limit_files(RLIM_INFINITY);
  EXPECT_EQ(process.wait(), 0);
  EXPECT_EQ(adapter("limited"), adapter("whole"));
}

TEST_F(Run, AStepThatIsNotFiniteIsNamedAndTheStateBeforeItKept) {
  std::string text = error("bad", {"train.max_loss=0.0001"});
  EXPECT_THAT(text, AllOf(HasSubstr("step 1:"), HasSubstr("rows "), HasSubstr("train.csv"), HasSubstr("step-0")));
  EXPECT_EQ(checkpoints("bad").steps(), (std::vector<int64_t>{0}));
  EXPECT_THAT(read_text(file("bad") / "run.json"), HasSubstr("failed"));
  // With another limit it goes on from there, and the run is the same as one that never had it.
  ASSERT_EQ(train("bad", {"--resume", "train.max_loss=null"}), 0);
  ASSERT_EQ(train("whole"), 0);
  EXPECT_EQ(adapter("bad"), adapter("whole"));

  std::string skipped = error("skipping", {"train.max_loss=0.0001", "train.skip_nonfinite=true"});
  EXPECT_THAT(skipped, AllOf(HasSubstr("left out"), HasSubstr("10 steps in a row")));
  EXPECT_EQ(metric(rows("skipping").back(), "skipped"), 1);

  EXPECT_THAT(error("nan", {"train.learning_rate=1e30"}), HasSubstr("gradient norm"));
}

TEST_F(Run, WhileStepsAreLeftOutNoCheckpointGoes) {
  std::vector<std::string> settings = {"train.keep_last=1", "train.eval_every=0"};
  ASSERT_EQ(train("run", settings), 0);
  EXPECT_EQ(checkpoints("run").steps(), (std::vector<int64_t>{12}));
  settings.insert(settings.end(), {"--resume", "--allow-changes", "train.max_steps=30", "train.max_loss=0.0001",
                                   "train.skip_nonfinite=true"});
  EXPECT_THAT(error("run", settings), AllOf(HasSubstr("10 steps in a row"), HasSubstr("checkpoints")));
  EXPECT_EQ(checkpoints("run").steps(), (std::vector<int64_t>{12, 14, 16, 18, 20}));
}

TEST_F(Run, StopsEarlyAndLoadsTheBest) {
  std::vector<std::string> settings = {"train.eval_every=1",          "train.early_stopping_patience=2",
                                       "train.learning_rate=0.3",     "train.max_steps=40",
                                       "train.load_best_at_end=true", "train.keep_last=1"};
  ASSERT_EQ(train("early", settings), 0);
  std::vector<MetricRow> evaluations = rows("early");
  std::erase_if(evaluations, [](const MetricRow& row) { return std::isnan(metric(row, "log_loss")); });
  double best = INFINITY, best_step = 0, last = 0;
  for (const MetricRow& row : evaluations) {
    last = metric(row, "step");
    if (last == 0 || !(metric(row, "log_loss") < best)) continue;
    best = metric(row, "log_loss");
    best_step = last;
  }
  ASSERT_LT(last, 40);
  EXPECT_EQ(last, best_step + 2);
  EXPECT_EQ(checkpoints("early").steps(),
            (std::vector<int64_t>{static_cast<int64_t>(best_step), static_cast<int64_t>(last)}));
  EXPECT_EQ(adapter("early"),
            read_text(checkpoints("early").path(static_cast<int64_t>(best_step)) / "adapter_model.safetensors"));
  EXPECT_THAT(read_text(file("early") / "run.json"), HasSubstr("\"stopped\""));
  // What is kept of each validation row is what the judge says that is kept.
  const ValidationRows validation = read_validation(file("early") / "validation.jsonl");
  EXPECT_EQ(validation.step, static_cast<int64_t>(best_step));
  EXPECT_NEAR(score(validation.rows).log_loss, best, 1e-6);
  // A stopped run stays stopped.
  settings.push_back("--resume");
  size_t lines = rows("early").size();
  ASSERT_EQ(train("early", settings), 0);
  EXPECT_EQ(rows("early").size(), lines);
}

}  // namespace
}  // namespace gavel

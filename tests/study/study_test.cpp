// gavel folds and gavel sweep as a user runs them, on a tiny model: the program is a process of its own, which starts one for
// each run.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "cli/cli_fixture.h"
#include "report/validation_file.h"
#include "train/checkpoint.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using Json = nlohmann::json;

class Study : public Cli {
 protected:
  /** Starts the program with its output in files; returns its process. */
  pid_t start(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), (fs::path(GAVEL_BINARY_DIR) / "gavel").string());
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    const std::string out = file("stdout").string(), messages = file("stderr").string();
    const pid_t process = ::fork();
    if (process == 0) {
      for (int signal : {SIGINT, SIGHUP}) ::signal(signal, SIG_DFL);
      ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
      ::dup2(::open(messages.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
      ::execv(pointers[0], pointers.data());
      ::_exit(127);
    }
    return process;
  }
  static int end_of(pid_t process) {
    int status = 0;
    ::waitpid(process, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }
  int program(const std::vector<std::string>& arguments) const {
    const int status = end_of(start(arguments));
    if (status != 0) messages_ = read_text(file("stderr"));
    return status;
  }
  std::string program_error(const std::vector<std::string>& arguments) const {
    EXPECT_EQ(program(arguments), 1);
    return read_text(file("stderr"));
  }
  /** Until the path is there; false after a minute, or when the process ended before. */
  static bool appears(const fs::path& path, pid_t process) {
    for (int i = 0; i < 6000; ++i) {
      if (fs::exists(path)) return true;
      siginfo_t info{};
      if (::waitid(P_PID, static_cast<id_t>(process), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
          info.si_pid == process)
        return fs::exists(path);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }
  /** A killed program's run gets SIGTERM from the system, and holds its folder until it has saved. */
  static void wait_for_the_run(const fs::path& folder) {
    for (int i = 0; i < 3000 && fs::exists(folder / ".lock"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_FALSE(fs::exists(folder / ".lock"));
  }

  std::vector<std::string> folds(const std::string& output, std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {"folds",
                                    file("recipe.yaml").string(),
                                    "--folds",
                                    "3",
                                    "data.valid=0.05",
                                    "train.max_steps=40",
                                    "train.save_every=5",
                                    "lora.lora_dropout=0.1",
                                    "output=" + file(output).string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::vector<std::string> sweep(const std::string& out, std::vector<std::string> more) const {
    std::vector<std::string> all = {"sweep", file("recipe.yaml").string(), "--out", file(out).string()};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  std::string text(const std::string& path) const { return read_text(file(path)); }
  void expect_same_files(const std::string& ours, const std::string& theirs,
                         std::initializer_list<const char*> names) const {
    for (const char* name : names) EXPECT_EQ(text(ours + "/" + name), text(theirs + "/" + name)) << name;
  }
  int64_t newest_step(const std::string& run) const {
    return CheckpointStore(file(run) / "checkpoints").steps().back();
  }
  std::vector<double> losses(const std::string& run, const char* name = "validation.jsonl") const {
    std::vector<double> found;
    std::istringstream lines(text(run + "/" + name));
    for (std::string line; std::getline(lines, line);) found.push_back(Json::parse(line)["loss"]);
    return found;
  }
  /** Rows of numbers of a CSV, without its header. */
  std::vector<std::vector<double>> numbers(const std::string& path) const {
    std::vector<std::vector<double>> rows;
    std::istringstream lines(text(path));
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      rows.emplace_back();
      std::istringstream cells(line);
      for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(std::stod(cell));
    }
    return rows;
  }

  mutable std::string messages_;
};

TEST_F(Study, FoldsThatWereStoppedGoOnToTheSameBytes) {
  ASSERT_EQ(program(folds("whole")), 0) << messages_;
  EXPECT_THAT(text("stdout"), AllOf(HasSubstr("fold-2"), HasSubstr("mean"), HasSubstr("temperature")));

  // Asked to stop within the second fold, killed within the third.
  pid_t process = start(folds("parts"));
  ASSERT_TRUE(appears(file("parts/fold-1/checkpoints/step-5"), process));
  ::kill(process, SIGINT);
  ASSERT_EQ(end_of(process), 128 + SIGINT);
  EXPECT_TRUE(fs::exists(file("parts/fold-0/adapter_model.safetensors")));
  EXPECT_FALSE(fs::exists(file("parts/fold-1/adapter_model.safetensors")));
  EXPECT_FALSE(fs::exists(file("parts/ensemble.json")));
  EXPECT_THAT(program_error({"predict", "--adapter", file("parts").string(), "--data", file("test.csv").string()}),
              HasSubstr("no judge of them all"));
  EXPECT_THAT(text("parts/fold-1/run.json"), HasSubstr("interrupted"));
  const auto first_fold = fs::last_write_time(file("parts/fold-0/metrics.jsonl"));
  process = start(folds("parts"));
  ASSERT_TRUE(appears(file("parts/fold-2/checkpoints/step-5"), process));
  ::kill(process, SIGKILL);
  EXPECT_EQ(end_of(process), -SIGKILL);
  wait_for_the_run(file("parts/fold-2"));
  EXPECT_FALSE(fs::exists(file("parts/fold-2/adapter_model.safetensors")));
  ASSERT_EQ(program(folds("parts")), 0) << messages_;
  EXPECT_EQ(fs::last_write_time(file("parts/fold-0/metrics.jsonl")), first_fold);
  expect_same_files(
      "parts", "whole",
      {"out_of_fold.csv", "folds.json", "calibration.json", "ensemble.json", "fold-0/adapter_model.safetensors",
       "fold-1/adapter_model.safetensors", "fold-2/adapter_model.safetensors"});

  EXPECT_THAT(program_error(folds("parts", {"train.learning_rate=0.02"})),
              HasSubstr("train.learning_rate: 0.01 → 0.02"));
  EXPECT_THAT(program_error(sweep("parts", {"lora.r=2,4"})), HasSubstr("holds the runs of gavel folds"));
  EXPECT_THAT(program_error({"train", file("parts/recipe.yaml").string(), "--resume"}),
              HasSubstr("holds the runs of gavel folds or gavel sweep"));
  EXPECT_THAT(program_error({"report", file("parts").string()}), HasSubstr("holds several runs"));
  std::string study = text("parts/study.json");
  const size_t crc = study.find("\"crc64\": \"");
  ASSERT_NE(crc, std::string::npos);
  write_file(file("parts/study.json"), study.replace(crc + 10, 16, "not a checksum"));
  EXPECT_THAT(program_error(folds("parts")), HasSubstr("study.json: crc64 of"));
}

TEST_F(Study, FoldsPredictTogether) {
  ASSERT_EQ(program(folds("folds")), 0) << messages_;
  // Every row once, with the probabilities of the fold that did not see it.
  const auto rows = numbers("folds/out_of_fold.csv");
  ASSERT_EQ(rows.size(), 48u);
  double loss = 0;
  std::vector<std::map<int64_t, JudgedRow>> said(3);
  for (size_t fold = 0; fold < 3; ++fold)
    for (const JudgedRow& row : read_validation(file(fmt::format("folds/fold-{}/validation.jsonl", fold))).rows)
      said[fold][row.row] = row;
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i][0], static_cast<double>(i + 1));
    const JudgedRow& row = said[static_cast<size_t>(rows[i][1])].at(static_cast<int64_t>(rows[i][0]));
    for (size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(rows[i][2 + c], row.label[c]);
      EXPECT_NEAR(rows[i][5 + c], row.probabilities[c], 1e-10);
      if (rows[i][2 + c] > 0) loss -= rows[i][2 + c] * std::log(rows[i][5 + c]) / 48;
    }
  }
  const Json found = Json::parse(text("folds/folds.json")),
             calibration = Json::parse(text("folds/calibration.json"))["one_order"];
  EXPECT_NEAR(found["out_of_fold"]["log_loss"], loss, 1e-7);
  EXPECT_EQ(calibration["log_loss"][0]["name"], "none");
  EXPECT_NEAR(calibration["log_loss"][0]["in_sample"], loss, 1e-7);
  EXPECT_LE(calibration["log_loss"][1]["in_sample"], calibration["log_loss"][0]["in_sample"]);
  EXPECT_EQ(calibration["rows"], 48);

  // The folder's probabilities are the means of the folds'.
  auto predict = [&](const std::string& folder, const std::string& out) {
    EXPECT_EQ(run({"predict", "--adapter", file(folder).string(), "--data", file("test.csv").string(), "--out",
                   file(out).string(), "--no-temperature"}),
              0);
    return numbers(out);
  };
  const auto together = predict("folds", "together.csv");
  std::vector<std::vector<std::vector<double>>> each;
  for (int fold = 0; fold < 3; ++fold)
    each.push_back(predict(fmt::format("folds/fold-{}", fold), fmt::format("fold-{}.csv", fold)));
  ASSERT_EQ(together.size(), 12u);
  double apart = 0;
  for (size_t i = 0; i < together.size(); ++i)
    for (size_t c = 1; c < 4; ++c) {
      EXPECT_NEAR(together[i][c], (each[0][i][c] + each[1][i][c] + each[2][i][c]) / 3, 2e-10);
      apart = std::max(apart, std::abs(each[0][i][c] - each[1][i][c]));
    }
  EXPECT_GT(apart, 1e-3);  // or the means would say nothing
  testing::internal::CaptureStdout();
  EXPECT_EQ(run({"eval", "--adapter", file("folds").string(), "--data", file("test.csv").string(), "--json"}), 0);
  EXPECT_EQ(Json::parse(testing::internal::GetCapturedStdout())["temperature"], calibration["temperature"]);
  EXPECT_THAT(error_of({"merge", "--adapter", file("folds").string(), "--out", file("merged").string()}),
              HasSubstr("holds 3 judges that predict together"));

  // Judges that do not belong together, or are not there, are named.
  auto ensemble_error = [&](const std::string& members) {
    write_file(file("folds/ensemble.json"), members);
    return error_of({"eval", "--adapter", file("folds").string(), "--data", file("test.csv").string()});
  };
  EXPECT_THAT(ensemble_error("{}"), HasSubstr("expected a JSON object with the list 'members'"));
  EXPECT_THAT(ensemble_error("{\"members\": [\"fold-0\", \"gone\"]}"), HasSubstr("folds/gone is not there"));
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=1", "lora.r=4",
                 "output=" + file("folds/other").string()}),
            0);
  EXPECT_THAT(ensemble_error("{\"members\": [\"fold-0\", \"other\"]}"),
              AllOf(HasSubstr("judges of one ensemble need the same"), HasSubstr("of rank 4")));
  fs::remove_all(file("folds/other"));
  ASSERT_EQ(program(folds("folds")), 0) << messages_;

  // Asked for their mean, the folder is one adapter.
  const auto trained = fs::last_write_time(file("folds/fold-2/adapter_model.safetensors"));
  ASSERT_EQ(program(folds("folds", {"--average"})), 0) << messages_;
  EXPECT_EQ(fs::last_write_time(file("folds/fold-2/adapter_model.safetensors")), trained);
  EXPECT_FALSE(fs::exists(file("folds/ensemble.json")));
  std::vector<std::string> average = {"average", "--out", file("mean").string()};
  for (int fold = 0; fold < 3; ++fold) average.push_back(file(fmt::format("folds/fold-{}", fold)).string());
  ASSERT_EQ(run(average), 0);
  expect_same_files("folds", "mean", {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"});
  ASSERT_EQ(program(folds("folds")), 0) << messages_;
  EXPECT_FALSE(fs::exists(file("folds/adapter_model.safetensors")));
  EXPECT_EQ(predict("folds", "again.csv"), together);
}

TEST_F(Study, ASweepsTableIsThatOfTheRunsFiles) {
  ASSERT_EQ(program(sweep("sweep", {"train.learning_rate=0.001,0.01", "lora.r=2,4", "train.max_steps=6", "--reference",
                                    "first"})),
            0)
      << messages_;
  EXPECT_THAT(text("stdout"), AllOf(HasSubstr("learning_rate=0.01, r=4"), HasSubstr("reference")));
  EXPECT_THAT(text("sweep/report.html"), AllOf(HasSubstr("4 settings"), HasSubstr("learning_rate=0.001, r=2")));
  const std::vector<double> reference = losses("sweep/learning_rate=0.001,r=2");
  ASSERT_EQ(reference.size(), 12u);
  const Json found = Json::parse(text("sweep/results.json"));
  EXPECT_EQ(found["reference"], "learning_rate=0.001, r=2");
  ASSERT_EQ(found["settings"].size(), 4u);
  double before = 0;
  for (const Json& setting : found["settings"]) {
    const std::string rate = setting["values"]["train.learning_rate"], r = setting["values"]["lora.r"];
    const std::vector<double> ours = losses(fmt::format("sweep/learning_rate={},r={}", rate, r));
    double mean = 0, loss = 0, squares = 0;
    for (size_t i = 0; i < ours.size(); ++i) {
      mean += (ours[i] - reference[i]) / 12;
      loss += ours[i] / 12;
    }
    for (size_t i = 0; i < ours.size(); ++i) squares += std::pow(ours[i] - reference[i] - mean, 2);
    EXPECT_EQ(setting["status"], "finished");
    EXPECT_EQ(setting["step"], 6);
    EXPECT_NEAR(setting["log_loss"], loss, 1e-12);
    EXPECT_NEAR(setting["difference"]["mean"], mean, 1e-12);
    EXPECT_NEAR(setting["difference"]["standard_error"], std::sqrt(squares / 11 / 12), 1e-12);
    EXPECT_GE(loss, before);  // the best first
    before = loss;
  }
  // A further value is trained, and the others stay.
  const auto trained = fs::last_write_time(file("sweep/learning_rate=0.01,r=4/metrics.jsonl"));
  ASSERT_EQ(program(sweep("sweep", {"train.learning_rate=0.001,0.01,0.003", "lora.r=2,4", "train.max_steps=6"})), 0)
      << messages_;
  EXPECT_EQ(fs::last_write_time(file("sweep/learning_rate=0.01,r=4/metrics.jsonl")), trained);
  const Json more = Json::parse(text("sweep/results.json"));
  EXPECT_EQ(more["settings"].size(), 6u);
  EXPECT_EQ(more["reference"], more["settings"][0]["name"]);
  EXPECT_THAT(program_error(sweep("sweep", {"lora.r=2,4", "train.max_steps=8"})), HasSubstr("train.max_steps: 6 → 8"));
}

TEST_F(Study, HalvingTrainsTheBestAsIfItWereAlone) {
  const std::vector<std::string> settings = {"train.learning_rate=0.001,0.003,0.01,0.03",
                                             "train.max_steps=8",
                                             "lora.lora_dropout=0.1",
                                             "--halving",
                                             "2",
                                             "--first-rung",
                                             "2"};
  ASSERT_EQ(program(sweep("sweep", settings)), 0) << messages_;
  const Json found = Json::parse(text("sweep/results.json"));
  auto folder = [&](size_t place) {
    return "learning_rate=" + found["settings"][place]["values"]["train.learning_rate"].get<std::string>();
  };
  EXPECT_EQ(found["settings"][0]["status"], "finished");
  EXPECT_EQ(found["settings"][1]["status"], "stopped at step 4");
  EXPECT_EQ(found["settings"][2]["status"], "stopped at step 2");
  EXPECT_EQ(found["settings"][3]["status"], "stopped at step 2");
  EXPECT_EQ(newest_step("sweep/" + folder(0)), 8);
  EXPECT_EQ(newest_step("sweep/" + folder(1)), 4);
  EXPECT_EQ(newest_step("sweep/" + folder(3)), 2);
  // Those that went on were the two with the least loss at step 2, and are compared at the step that both came to.
  auto mean_loss = [&](size_t place, const char* name) {
    double sum = 0;
    for (double loss : losses("sweep/" + folder(place), name)) sum += loss / 12;
    return sum;
  };
  for (size_t kept : {0, 1})
    for (size_t dropped : {2, 3}) EXPECT_LE(mean_loss(kept, "rung-2.jsonl"), mean_loss(dropped, "rung-2.jsonl"));
  EXPECT_NEAR(found["settings"][1]["difference"]["mean"], mean_loss(1, "rung-4.jsonl") - mean_loss(0, "rung-4.jsonl"),
              1e-12);
  EXPECT_EQ(found["settings"][3]["difference"]["step"], 2);
  EXPECT_NEAR(found["settings"][3]["difference"]["mean"], mean_loss(3, "rung-2.jsonl") - mean_loss(0, "rung-2.jsonl"),
              1e-12);
  // The same weights as of a run that nothing stopped: the schedule was that of all its steps.
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train." + folder(0), "train.max_steps=8",
                 "lora.lora_dropout=0.1", "output=" + file("alone").string()}),
            0);
  EXPECT_EQ(text("sweep/" + folder(0) + "/adapter_model.safetensors"), text("alone/adapter_model.safetensors"));

  // Stopped on its way and called again, it finds the same.
  pid_t process = start(sweep("parts", settings));
  ASSERT_TRUE(appears(file("parts/learning_rate=0.01/checkpoints/step-2"), process));
  ::kill(process, SIGTERM);
  ASSERT_EQ(end_of(process), 128 + SIGTERM);
  ASSERT_EQ(program(sweep("parts", settings)), 0) << messages_;
  expect_same_files("parts", "sweep", {"results.json", "results.csv"});
  EXPECT_THAT(program_error(sweep("parts", {"train.learning_rate=0.001,0.003", "train.max_steps=8", "--halving", "2",
                                            "--first-rung", "2", "lora.lora_dropout=0.1"})),
              HasSubstr("values: "));
}

TEST_F(Study, SeedsAreRepetitionsOfASetting) {
  // Without a length of its own the run's is known only once the first has begun.
  ASSERT_EQ(program(sweep("sweep",
                          {"train.learning_rate=0.001,0.01", "train.seed=1,2", "--halving", "2", "--first-rung", "3"})),
            0)
      << messages_;
  const Json found = Json::parse(text("sweep/results.json"));
  ASSERT_EQ(found["settings"].size(), 2u);
  const Json &best = found["settings"][0], &other = found["settings"][1];
  EXPECT_EQ(best["seeds"], 2);
  EXPECT_EQ(best["status"], "finished");
  EXPECT_EQ(best["step"], 6);
  EXPECT_EQ(other["status"], "stopped at step 3");
  std::vector<double> of_seed, differences(12, 0.0);
  double best_loss = 0;
  for (const char* seed : {"1", "2"}) {
    auto run = [&](const Json& setting) {
      return fmt::format("sweep/learning_rate={},seed={}", setting["values"]["train.learning_rate"].get<std::string>(),
                         seed);
    };
    for (double loss : losses(run(best))) best_loss += loss / 24;
    const auto ours = losses(run(other), "rung-3.jsonl"), theirs = losses(run(best), "rung-3.jsonl");
    of_seed.push_back(0);
    for (size_t i = 0; i < ours.size(); ++i) {
      of_seed.back() += (ours[i] - theirs[i]) / 12;
      differences[i] += (ours[i] - theirs[i]) / 2;
    }
  }
  const double mean = (of_seed[0] + of_seed[1]) / 2;
  double squares = 0;
  for (double difference : differences) squares += std::pow(difference - mean, 2);
  EXPECT_NEAR(best["log_loss"], best_loss, 1e-12);
  EXPECT_NEAR(other["difference"]["mean"], mean, 1e-12);
  EXPECT_NEAR(other["difference"]["standard_error"], std::sqrt(squares / 11 / 12), 1e-12);
  EXPECT_NEAR(other["difference"]["seed_standard_error"], std::abs(of_seed[0] - of_seed[1]) / 2, 1e-12);
}

TEST_F(Study, ARunThatFailsDoesNotEndTheOthers) {
  ASSERT_EQ(program(sweep("sweep", {"train.learning_rate=1e30,0.01", "train.max_steps=4"})), 0) << messages_;
  EXPECT_THAT(text("stderr"), HasSubstr("the others go on"));
  const Json found = Json::parse(text("sweep/results.json"));
  EXPECT_EQ(found["settings"][0]["values"]["train.learning_rate"], "0.01");
  EXPECT_EQ(found["settings"][1]["status"], "failed");
  EXPECT_THAT(program_error(sweep("all", {"train.learning_rate=1e30,1e31", "train.max_steps=4"})),
              HasSubstr("no run succeeded"));
  EXPECT_THAT(program_error(folds("folds", {"train.learning_rate=1e30"})),
              HasSubstr("fold-0: its run ended with status 1"));
}

TEST_F(Study, MistakesAreErrorsBeforeTheFirstRun) {
  EXPECT_THAT(program_error(sweep("sweep", {"train.learning_rte=1,2"})), HasSubstr("unknown key"));
  EXPECT_THAT(program_error(sweep("sweep", {"lora.r=2,-1"})), HasSubstr("lora.r"));
  EXPECT_THAT(program_error(sweep("sweep", {fmt::format("data.train={},gone.csv", file("train.csv").string())})),
              HasSubstr("gone.csv is not there"));
  EXPECT_THAT(program_error(sweep("sweep", {"lora.r=2,4", "data.valid=0"})), HasSubstr("with 0 there are none"));
  EXPECT_THAT(program_error(sweep("sweep", {"lora.r=2,4", "--halving", "2"})), HasSubstr("--first-rung is missing"));
  EXPECT_THAT(program_error(sweep("sweep", {"lora.r=2,4", "train.max_steps=4", "--halving", "2", "--first-rung", "4"})),
              HasSubstr("--first-rung"));
  EXPECT_FALSE(fs::exists(file("sweep")));
  EXPECT_THAT(program_error({"folds", file("recipe.yaml").string()}), HasSubstr("data.folds"));  // data.valid is a file
  EXPECT_THAT(program_error(folds("folds", {"--average", "lora.use_dora=true"})), HasSubstr("have no mean"));
  EXPECT_THAT(program_error(folds("folds", {"data.fold=1"})), HasSubstr("leave it out"));
  EXPECT_THAT(program_error(folds("folds", {"data.train=gone.csv"})), HasSubstr("gone.csv is not there"));
  EXPECT_FALSE(fs::exists(file("folds")));
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=1"}), 0);
  EXPECT_THAT(program_error(sweep("run", {"lora.r=2,4"})), HasSubstr("holds a run or a model already"));
}

}  // namespace
}  // namespace gavel

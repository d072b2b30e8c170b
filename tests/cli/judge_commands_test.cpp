// predict, eval and judge as a user runs them, on a tiny model.
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/http_client.h"
#include "base/loopback.h"
#include "cli/cli_fixture.h"
#include "io/safetensors.h"
#include "judge/predict.h"
#include "model/adapter.h"
#include "report/validation_file.h"

namespace gavel {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class JudgeCommands : public Cli {
 protected:
  void SetUp() override {
    Cli::SetUp();
    ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=3"}), 0);
  }
  /** In float32, whatever is fastest on this processor: comparisons are about the weights. */
  static JudgeOptions float32(const fs::path& folder, std::optional<std::string> model = std::nullopt) {
    return {folder, std::move(model), {"model.compute_dtype=float32"}, true};
  }
  JudgeOptions judge_options() const { return {file("run"), std::nullopt, {}, true}; }
  std::string output_of(const std::vector<std::string>& arguments, int status = 0) const {
    testing::internal::CaptureStdout();
    EXPECT_EQ(run(arguments), status);
    return testing::internal::GetCapturedStdout();
  }
  std::string adapter() const { return file("run").string(); }
  std::string test_data() const { return file("test.csv").string(); }
  std::string predict(const std::string& name, std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments = {"predict",   "--adapter", adapter(),          "--data",
                                          test_data(), "--out",     file(name).string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_EQ(run(arguments), 0);
    return read_text(file(name));
  }
  /** Predicts and stops in the second window, as a kill does. */
  static void predict_and_stop(Judge& judge, const PredictOptions& options) {
    struct Stop {};
    EXPECT_THROW(predict_file(judge, options,
                              [](int64_t done, int64_t) {
                                if (done > 4) throw Stop();
                              }),
                 Stop);
  }
};

TEST_F(JudgeCommands, PredictGivesTheSameInWindowsOfAnySizeUpToRounding) {
  std::istringstream whole(predict("whole.csv")), parts(predict("parts.csv", {"--window", "5"}));
  std::string a, b;
  int rows = 0;
  while (std::getline(whole, a)) {
    ASSERT_TRUE(std::getline(parts, b));
    EXPECT_EQ(a.substr(0, a.find(',')), b.substr(0, b.find(',')));
    if (rows++ > 0) {
      EXPECT_NEAR(std::stod(a.substr(a.find(',') + 1)), std::stod(b.substr(b.find(',') + 1)), 1e-5);
    }
  }
  EXPECT_EQ(rows, 13);
  EXPECT_FALSE(std::getline(parts, b));
  EXPECT_FALSE(fs::exists(file("whole.csv.partial")));
  EXPECT_FALSE(fs::exists(file("whole.csv.partial.json")));
}

TEST_F(JudgeCommands, PredictGoesOnWhereItWasStopped) {
  std::string uninterrupted = predict("one.csv", {"--window", "4", "--swap-average", "0.5"});
  PredictOptions options{file("test.csv"), file("two.csv"), 0.5, 4, false};
  Judge judge(judge_options());
  // Half a window's text is left behind, as a kill while writing does.
  predict_and_stop(judge, options);
  EXPECT_FALSE(fs::exists(file("two.csv")));
  {
    std::ofstream(file("two.csv.partial"), std::ios::app) << "torn,0.1";
  }
  PredictResult result = predict_file(judge, options);
  EXPECT_EQ(result.resumed_rows, 4);
  EXPECT_EQ(result.rows, 12);
  EXPECT_EQ(result.swapped_rows, 6);
  EXPECT_EQ(read_text(file("two.csv")), uninterrupted);
}

TEST_F(JudgeCommands, PredictSurvivesAKillAtAnyMoment) {
  std::string uninterrupted = predict("one.csv", {"--window", "2"});
  fs::path program = fs::path(GAVEL_BINARY_DIR) / "gavel";
  if (!fs::exists(program)) GTEST_SKIP() << "the program is not built";
  std::string out = file("killed.csv").string(), data = test_data(), folder = adapter();
  int kills = 0;
  for (int attempt = 0; attempt < 40 && !fs::exists(out); ++attempt) {
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::execl(program.c_str(), "gavel", "--quiet", "predict", "--adapter", folder.c_str(), "--data", data.c_str(),
              "--out", out.c_str(), "--window", "2", nullptr);
      ::_exit(127);
    }
    // Later each time, so that it gets through in the end.
    for (int i = 0; i <= attempt; ++i) ::usleep(40000 + 7000 * attempt);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) {
      ++kills;
    } else {
      EXPECT_EQ(WEXITSTATUS(status), 0);
    }
  }
  ASSERT_TRUE(fs::exists(out));
  EXPECT_GT(kills, 0);
  EXPECT_EQ(read_text(out), uninterrupted);
}

TEST_F(JudgeCommands, PredictRefusesWhatBelongsToSomethingElse) {
  PredictOptions options{file("test.csv"), file("out.csv"), 0, 4, false};
  Judge judge(judge_options());
  predict_and_stop(judge, options);
  std::vector<std::string> other = {
      "predict", "--adapter", adapter(), "--data", test_data(), "--out", file("out.csv").string(), "--window", "5"};
  EXPECT_THAT(error_of(other), AllOf(HasSubstr("4 rows of another judge"), HasSubstr("--restart")));
  other.push_back("--restart");
  EXPECT_EQ(run(other), 0);
  EXPECT_THAT(
      error_of({"predict", "--adapter", adapter(), "--data", test_data(), "--out", file("no/folder/out.csv").string()}),
      HasSubstr("no/folder"));
  EXPECT_THAT(error_of({"predict", "--adapter", adapter(), "--data", test_data(), "--swap-average", "2"}),
              HasSubstr("swap-average"));
}

TEST_F(JudgeCommands, SwapAverageIsTheMeanOfBothOrders) {
  Judge judge(judge_options());
  std::vector<PreferenceRow> rows = read_preferences(file("test.csv"), ReadOptions{}).rows, exchanged;
  for (const PreferenceRow& row : rows) exchanged.push_back(swapped(row));
  auto there = judge.judge(rows), back = judge.judge(exchanged), both = judge.judge(rows, 1),
       some = judge.judge(rows, 0.25);
  int averaged = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    double mean = (there[i].probabilities[0] + back[i].probabilities[1]) / 2;
    EXPECT_NEAR(both[i].probabilities[0], mean, 1e-5);
    EXPECT_NEAR(both[i].probabilities[2], (there[i].probabilities[2] + back[i].probabilities[2]) / 2, 1e-5);
    EXPECT_FALSE(there[i].swapped_logits);
    if (!some[i].swapped_logits) continue;
    ++averaged;
    EXPECT_NEAR(some[i].probabilities[0], mean, 1e-5);
  }
  EXPECT_EQ(averaged, 3);
}

TEST_F(JudgeCommands, CalibrationIsWrittenAndUsed) {
  auto json_of = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"eval",  "--adapter", adapter(), "--data", file("train.csv").string(),
                                          "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return nlohmann::json::parse(output_of(arguments));
  };
  auto before = json_of({"--calibrate"});
  EXPECT_EQ(before["temperature"], 1);
  auto after = json_of({});
  EXPECT_NE(after["temperature"], 1);
  EXPECT_LT(after["log_loss"].get<double>(), before["log_loss"].get<double>());
  EXPECT_EQ(after["accuracy"], before["accuracy"]);
  EXPECT_EQ(json_of({"--no-temperature"})["log_loss"], before["log_loss"]);
  EXPECT_EQ(before["baselines"][1]["name"], "lengths");
  EXPECT_EQ(before["baselines"][1]["fitted_on"], "this file, five-fold cross-validation");
  const auto& shares = before["baselines"][0];
  EXPECT_NEAR(shares["gain"].get<double>(), shares["log_loss"].get<double>() - before["log_loss"].get<double>(), 1e-9);
  EXPECT_NEAR(shares["gain_in_errors"].get<double>(),
              shares["gain"].get<double>() / shares["standard_error"].get<double>(), 1e-9);
  EXPECT_NEAR(before["constant_baseline"]["log_loss"].get<double>(), 1.09, 0.05);

  write_file(file("run") / "calibration.json", "{\"temperature\": 0}");
  EXPECT_THAT(error_of({"eval", "--adapter", adapter(), "--data", test_data()}), HasSubstr("calibration.json"));
}

TEST_F(JudgeCommands, StyleIsFittedUsedEverywhereAndTurnedOff) {
  const std::string data = file("train.csv").string();
  auto eval_json = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"eval", "--adapter", adapter(), "--data", data, "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return nlohmann::json::parse(output_of(arguments));
  };
  const std::string plain = predict("plain.csv");
  auto before = eval_json({"--calibrate", "style", "--baselines-from", test_data()});
  EXPECT_EQ(before["baselines"][1]["fitted_on"], test_data());
  const auto written = nlohmann::json::parse(read_text(file("run") / "calibration.json"));
  EXPECT_EQ(written["version"], 2);
  EXPECT_EQ(written["one_order"]["kind"], "style");
  ASSERT_EQ(written["one_order"]["log_loss"].size(), 4u);
  // What eval then says is what was written: the weights are applied as they were fitted.
  auto after = eval_json({});
  EXPECT_EQ(after["calibration_used"], "style");
  EXPECT_NEAR(after["log_loss"].get<double>(), written["one_order"]["log_loss"][3]["in_sample"].get<double>(), 1e-6);
  EXPECT_NEAR(before["log_loss"].get<double>(), written["one_order"]["log_loss"][0]["in_sample"].get<double>(), 1e-9);
  EXPECT_EQ(eval_json({"--no-temperature"})["log_loss"], before["log_loss"]);
  EXPECT_NE(predict("styled.csv"), plain);
  EXPECT_EQ(predict("off.csv", {"--no-temperature"}), plain);
  EXPECT_THAT(output_of({"eval", "--adapter", adapter(), "--data", data}),
              HasSubstr("without calibration.json: log loss"));
  // Exchanging the answers exchanges what averaging both orders says.
  Judge judge(judge_options());
  std::vector<PreferenceRow> rows = read_preferences(file("test.csv"), ReadOptions{}).rows, exchanged;
  for (const PreferenceRow& row : rows) exchanged.push_back(swapped(row));
  auto there = judge.judge(rows, 1), back = judge.judge(exchanged, 1);
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_NEAR(there[i].probabilities[0], back[i].probabilities[1], 1e-5);
  // One for both orders is kept beside it.
  ASSERT_EQ(run({"eval", "--adapter", adapter(), "--data", data, "--swap-average", "1", "--calibrate", "classes"}), 0);
  const auto both = nlohmann::json::parse(read_text(file("run") / "calibration.json"));
  EXPECT_EQ(both["both_orders"]["kind"], "classes");
  EXPECT_EQ(both["one_order"], written["one_order"]);
  // The report shows what it adds.
  ASSERT_EQ(run({"report", adapter()}), 0);
  EXPECT_THAT(
      read_text(file("run") / "report.html"),
      AllOf(HasSubstr("the judge, style"), HasSubstr("both orders averaged"), HasSubstr("style features alone")));
  EXPECT_THAT(error_of({"eval", "--adapter", adapter(), "--data", data, "--calibrate", "shape"}),
              HasSubstr("temperature, classes or style"));
}

TEST_F(JudgeCommands, ACalibrationForSomethingElseIsNamedAndNotUsed) {
  auto warnings_of = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {
        "predict", "--adapter", adapter(), "--data", test_data(), "--out", file("out.csv").string(), "--overwrite"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    testing::internal::CaptureStderr();
    EXPECT_EQ(run(arguments), 0);
    return testing::internal::GetCapturedStderr();
  };
  const std::string plain = predict("plain.csv");
  // A setting after --calibrate is none of its kinds.
  ASSERT_EQ(run({"eval", "--adapter", adapter(), "--data", test_data(), "--calibrate", "data.max_length=48"}), 0);
  EXPECT_EQ(warnings_of({}), "");
  EXPECT_NE(read_text(file("out.csv")), plain);
  EXPECT_THAT(warnings_of({"--swap-average", "1"}),
              AllOf(HasSubstr("fitted with --swap-average 0 and is used with 1"), HasSubstr("calibration.json")));
  EXPECT_THAT(warnings_of({"data.max_length=40"}), HasSubstr("not used: it was fitted for data.max_length: 48"));
  // Other weights under the same name.
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "train.max_steps=2", "output=" + file("other").string()}), 0);
  fs::copy_file(file("other") / "adapter_model.safetensors", file("run") / "adapter_model.safetensors",
                fs::copy_options::overwrite_existing);
  EXPECT_THAT(warnings_of({}), HasSubstr("not used: it was fitted for other weights of the adapter"));
  const std::string uncalibrated = read_text(file("out.csv"));
  warnings_of({"--no-temperature"});
  EXPECT_EQ(read_text(file("out.csv")), uncalibrated);
}

TEST_F(JudgeCommands, TrainingThatEndsWorseThanTheLabelSharesSaysSo) {
  auto warnings_of = [&](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"train", file("recipe.yaml").string(), "output=" + file("again").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    fs::remove_all(file("again"));
    testing::internal::CaptureStderr();
    EXPECT_EQ(run(arguments), 0);
    return testing::internal::GetCapturedStderr();
  };
  // Labels 4, 5 and 3 of 12: the shares have -(4 ln 4/12 + 5 ln 5/12 + 3 ln 3/12) / 12 = 1.0776.
  const std::string text = warnings_of({"train.max_steps=3"});
  EXPECT_THAT(text, AllOf(HasSubstr("worse than always answering their label shares, 1.0776"),
                          HasSubstr("train.load_best_at_end"), HasSubstr("task: reward")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  // Judged on the rows that it learns by heart.
  EXPECT_THAT(warnings_of({"train.epochs=12", "data.valid=" + file("train.csv").string()}),
              Not(HasSubstr("label shares")));
}

TEST_F(JudgeCommands, EvalTellsItsFigures) {
  std::string text = output_of({"eval", "--adapter", adapter(), "--data", test_data(), "--swap-average", "1", "--rows",
                                file("rows.jsonl").string()});
  for (const char* part :
       {"rows 12", "log loss", "lengths alone", "flip rate", "precision", "verdict tie", "confidence", "tokens"})
    EXPECT_THAT(text, HasSubstr(part));
  ValidationRows rows = read_validation(file("rows.jsonl"));
  ASSERT_EQ(rows.rows.size(), 12u);
  EXPECT_EQ(rows.rows[3].row, 4);
  EXPECT_GT(rows.rows[3].tokens, 0);
  write_file(file("unlabelled.csv"),
             "id,prompt,response_a,response_b\n1,\"[\"\"p\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\"\n");
  EXPECT_THAT(error_of({"eval", "--adapter", adapter(), "--data", file("unlabelled.csv").string()}),
              HasSubstr("winner"));
}

TEST_F(JudgeCommands, JudgeTakesJson) {
  auto judge = [&](const std::string& text, int status = 0) {
    std::istringstream input(text);
    auto* before = std::cin.rdbuf(input.rdbuf());
    std::string out = output_of({"judge", "--adapter", adapter(), "--json", "--swap-average", "1"}, status);
    std::cin.rdbuf(before);
    std::cin.clear();
    return out;
  };
  if (isatty(STDIN_FILENO) != 0) GTEST_SKIP() << "standard input is a terminal";
  auto one = nlohmann::json::parse(
      judge(R"({"id": "x<y", "prompt": ["p", "q"], "response_a": "good", "response_b": ["bad", null]})"));
  EXPECT_EQ(one["id"], "x<y");
  EXPECT_NEAR(one["probabilities"]["A"].get<double>() + one["probabilities"]["B"].get<double>() +
                  one["probabilities"]["tie"].get<double>(),
              1, 1e-9);
  EXPECT_TRUE(one.contains("agrees"));
  std::string lines = judge(
      "{\"prompt\":\"a\",\"response_a\":\"b\",\"response_b\":\"c\"}\n\n{\"prompt\":\"\\ud800\",\"response_"
      "a\":\"b\",\"response_b\":\"c\"}\n");
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
  for (const char* bad : {"", "{", "[]", "{}", "{\"prompt\": 1, \"response_a\": \"a\", \"response_b\": \"b\"}",
                          "\"text\"", "{\"promt\": \"x\", \"response_a\": \"a\", \"response_b\": \"b\"}",
                          "{\"prompt\":\"a\xff\",\"response_a\":\"b\",\"response_b\":\"c\"}"}) {
    testing::internal::CaptureStderr();
    judge(bad, 1);
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                AllOf(HasSubstr("standard input"), testing::Not(HasSubstr("report it"))))
        << bad;
  }
  EXPECT_THAT(error_of({"judge", "--adapter", adapter(), "--prompt", "p"}), HasSubstr("requires --"));
}

/** Largest difference of two judges' log probabilities on the test rows. */
double distance(Judge& one, Judge& two, const fs::path& data) {
  std::vector<PreferenceRow> rows = read_preferences(data, ReadOptions{}).rows;
  auto a = one.judge(rows), b = two.judge(rows);
  double worst = 0;
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t k = 0; k < 3; ++k)
      worst = std::max(worst, std::abs(std::log(a[i].probabilities[k] / b[i].probabilities[k])));
  return worst;
}

TEST_F(JudgeCommands, AHeadOfTwoLabelsIsTrainedAndUsed) {
  const std::string two = file("two").string();
  ASSERT_EQ(run({"train", file("recipe.yaml").string(), "model.num_labels=2", "model.head=fresh", "output=" + two}), 0);
  EXPECT_EQ(
      SafetensorsFile::open(file("two") / "adapter_model.safetensors")->tensor("base_model.model.score.weight").shape(),
      (Shape{2, 24}));
  Judge judge(float32(file("two")));
  auto rows = read_preferences(file("test.csv"), ReadOptions{}).rows;
  for (double swaps : {0.0, 0.5, 1.0})
    for (const Verdict& verdict : judge.judge(rows, swaps)) {
      EXPECT_NEAR(verdict.probabilities[0] + verdict.probabilities[1], 1, 1e-6);
      EXPECT_EQ(verdict.probabilities[2], 0);
    }
  // Ties count half for each side, in training's evaluation as in eval's.
  auto json =
      nlohmann::json::parse(output_of({"eval", "--adapter", two, "--data", test_data(), "--calibrate", "--json"}));
  EXPECT_GT(json["log_loss"].get<double>(), 0.1);
  EXPECT_LT(json["log_loss"].get<double>(), 1.5);
  std::ifstream metrics(file("two") / "metrics.jsonl");
  std::string line, last;
  while (std::getline(metrics, line))
    if (line.find("\"eval\"") != std::string::npos) last = line;
  EXPECT_LT(nlohmann::json::parse(last)["log_loss"].get<double>(), 1.5);
  EXPECT_THAT(
      error_of({"train", file("recipe.yaml").string(), "model.num_labels=4", "output=" + file("four").string()}),
      HasSubstr("model.num_labels: expected an integer from 2 to 3"));
}

TEST_F(JudgeCommands, AMergedModelJudgesAsTheAdapterDid) {
  ASSERT_EQ(run({"merge", "--adapter", adapter(), "--out", file("merged").string()}), 0);
  EXPECT_TRUE(fs::exists(file("merged") / "tokenizer.json"));
  // The merged model as a base, with an adapter that adds nothing and has the same head.
  LoadedAdapter loaded = load_adapter(judge_options());
  std::vector<HostTensor> nothing;
  for (const HostTensor& value : loaded.weights.values) nothing.emplace_back(DType::kF32, value.shape());
  nothing.back() = ModelFiles::open(file("merged")).read("score.weight", DType::kF32);
  fs::create_directories(file("nothing"));
  save_adapter(file("nothing"), loaded.files.spec(), loaded.weights.config, nothing);
  fs::copy(file("run") / "recipe.yaml", file("nothing") / "recipe.yaml");
  Judge before(float32(file("run"))), after(float32(file("nothing"), file("merged").string())),
      base(float32(file("nothing")));
  EXPECT_LT(distance(before, after, file("test.csv")), 1e-5);
  EXPECT_GT(distance(before, base, file("test.csv")), 1e-4);  // the adapter does something
  EXPECT_THAT(error_of({"merge", "--adapter", adapter(), "--out", file("merged").string()}),
              HasSubstr("holds model.safetensors already"));
}

TEST_F(JudgeCommands, TheAverageOfAJudgeWithItselfIsThatJudge) {
  for (const char* method : {"exact", "factors"}) {
    fs::path out = file(method);
    ASSERT_EQ(run({"average", adapter(), adapter(), "--out", out.string(), "--method", method}), 0);
    Judge before(float32(file("run"))), after(float32(out));
    EXPECT_LT(distance(before, after, file("test.csv")), 1e-5) << method;
  }
  EXPECT_THAT(error_of({"average", adapter(), "--out", file("x").string()}), HasSubstr("adapters"));
}

TEST_F(JudgeCommands, JudgesOfDifferentlyReadTextsHaveNoAverage) {
  fs::copy(file("run"), file("other"));
  std::string recipe = read_text(file("other") / "recipe.yaml");
  const std::string length = "max_length: " + std::to_string(Judge(judge_options()).recipe().data.max_length);
  ASSERT_THAT(recipe, HasSubstr(length));
  write_file(file("other") / "recipe.yaml", recipe.replace(recipe.find(length), length.size(), "max_length: 33"));
  EXPECT_THAT(error_of({"average", adapter(), file("other").string(), "--out", file("x").string()}),
              AllOf(HasSubstr("data.max_length of " + file("other").string() + " is 33"), HasSubstr("it is")));
  EXPECT_FALSE(fs::exists(file("x")));
}

TEST_F(JudgeCommands, NumbersThatAreNotFiniteAreNoVerdict) {
  LoadedAdapter loaded = load_adapter(judge_options());
  // Too large to compute with: finite weights, and products that are not.
  std::vector<HostTensor> huge;
  for (const HostTensor& value : loaded.weights.values) {
    HostTensor copy(DType::kF32, value.shape());
    std::ranges::fill(copy.as_mutable<float>(), 1e30f);
    huge.push_back(std::move(copy));
  }
  fs::copy(file("run"), file("huge"));
  save_adapter(file("huge"), loaded.files.spec(), loaded.weights.config, huge);
  for (std::vector<std::string> command :
       {std::vector<std::string>{"predict", "--data", file("test.csv").string(), "--out", file("out.csv").string()},
        {"eval", "--data", file("test.csv").string()},
        {"eval", "--data", file("test.csv").string(), "--calibrate"}}) {
    command.insert(command.begin() + 1, {"--adapter", file("huge").string()});
    EXPECT_THAT(error_of(command), AllOf(HasSubstr("row "), HasSubstr("(id "), HasSubstr("not finite")));
  }
  EXPECT_FALSE(fs::exists(file("out.csv")));
  EXPECT_FALSE(fs::exists(file("huge") / "calibration.json"));
  EXPECT_THAT(error_of({"judge", "--adapter", file("huge").string(), "--prompt", "p", "--a", "a", "--b", "b"}),
              HasSubstr("pair 1: the model's numbers are not finite"));
  // Weights that are not finite are neither written nor read.
  huge.front().as_mutable<float>()[3] = NAN;
  EXPECT_THROW(save_adapter(file("huge"), loaded.files.spec(), loaded.weights.config, huge), Error);
  const std::string half = read_text(file("run") / "adapter_model.safetensors");
  std::string broken = half;
  const float infinite = INFINITY;
  std::memcpy(broken.data() + broken.size() - sizeof infinite, &infinite, sizeof infinite);
  write_file(file("huge") / "adapter_model.safetensors", broken);
  EXPECT_THAT(error_of({"predict", "--adapter", file("huge").string(), "--data", file("test.csv").string(), "--out",
                        file("out.csv").string()}),
              AllOf(HasSubstr("adapter_model.safetensors"), HasSubstr("not finite")));
  // Nor a base's; training ends before its first step.
  fs::copy(loaded.files.path(), file("base"));
  std::string weights = read_text(file("base") / "model.safetensors");
  const HostTensor norm = SafetensorsFile::open(loaded.files.path() / "model.safetensors")->tensor("model.norm.weight");
  const size_t at = weights.find(std::string_view(static_cast<const char*>(norm.data()), norm.bytes()));
  ASSERT_NE(at, std::string::npos);
  std::memcpy(weights.data() + at, &infinite, sizeof infinite);
  write_file(file("base") / "model.safetensors", weights);
  EXPECT_THAT(
      error_of({"train", file("recipe.yaml").string(), "model.path=" + file("base").string(),
                "output=" + file("broken").string()}),
      AllOf(HasSubstr(file("base").string()), HasSubstr("model.norm.weight: element 0 is not a finite number")));
}

TEST_F(JudgeCommands, ARunWhoseStepsGoAstrayLeavesNoAdapter) {
  EXPECT_THAT(error_of({"train", file("recipe.yaml").string(), "train.learning_rate=3e38", "train.warmup_steps=0",
                        "train.max_steps=1", "train.eval_every=0", "output=" + file("astray").string()}),
              HasSubstr("not finite"));
  EXPECT_FALSE(fs::exists(file("astray") / "adapter_model.safetensors"));
}

TEST_F(JudgeCommands, ReportIsWrittenForARunAndForSeveral) {
  // Training leaves one; the status shows that it was written last.
  EXPECT_THAT(read_text(file("run") / "report.html"),
              AllOf(HasSubstr("finished"), HasSubstr("Confusion matrix"), Not(HasSubstr("http-equiv=\"refresh"))));
  fs::remove(file("run") / "report.html");
  ASSERT_EQ(run({"report", adapter()}), 0);
  EXPECT_THAT(read_text(file("run") / "report.html"), HasSubstr("Training loss"));
  ASSERT_EQ(run({"report", adapter(), adapter(), "--out", file("both.html").string()}), 0);
  EXPECT_THAT(read_text(file("both.html")), HasSubstr("Comparison"));
  EXPECT_THAT(error_of({"report", file("nowhere").string()}), HasSubstr("expected the output folder of a run"));
}

// What a service takes as written out: clients of merged models send it.
TEST_F(JudgeCommands, ATextThatIsWrittenOutIsReadAsItsPairIs) {
  JudgeOptions options = judge_options();
  options.overrides = {"model.compute_dtype=float32", "data.max_length=256"};
  Judge judge(options);
  PreferenceRow pair, text;
  pair.id = text.id = "1";
  pair.prompt = {"what is it"};
  pair.response_a = {"good"};
  pair.response_b = {"bad"};
  text.written_out = true;
  text.response_a = text.response_b = {Template::parse("origin").render(pair, false)};
  const std::vector<Verdict> verdicts = judge.judge(std::vector{pair, text, swapped(pair)});
  EXPECT_EQ(verdicts[0].length, verdicts[1].length);
  EXPECT_LE(verdicts[0].full_length, 256);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(verdicts[0].probabilities[i], verdicts[1].probabilities[i], 1e-6);
  EXPECT_GT(std::abs(verdicts[0].probabilities[0] - verdicts[2].probabilities[0]), 1e-4) << "other texts differ";
}

TEST_F(JudgeCommands, ServeAnswersAndStopsGently) {
  fs::path program = fs::path(GAVEL_BINARY_DIR) / "gavel";
  if (!fs::exists(program)) GTEST_SKIP() << "the program is not built";
  if (!has_loopback()) GTEST_SKIP() << kNoLoopback;
  std::string log = file("serve.log").string(), folder = adapter();
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (std::freopen(log.c_str(), "w", stderr) == nullptr) ::_exit(126);
    ::execl(program.c_str(), "gavel", "serve", "--adapter", folder.c_str(), "--port", "0", "--batch", "2", nullptr);
    ::_exit(127);
  }
  int port = 0;
  for (int i = 0; i < 1200 && port == 0; ++i) {
    ::usleep(50000);
    std::string text = fs::exists(log) ? read_text(log) : "";
    if (auto at = text.find("listening on http://127.0.0.1:");
        at != std::string::npos && text.find('/', at + 30) != std::string::npos)
      port = std::stoi(text.substr(at + 30));
  }
  EXPECT_GT(port, 0) << read_text(log);
  const auto found = http_post(port, "/v1/judge", R"({"prompt":"p","response_a":"good","response_b":"bad"})");
  EXPECT_TRUE(found && found->status == 200);
  if (found) {
    EXPECT_TRUE(nlohmann::json::parse(found->body).contains("agrees"));
  }
  ::kill(child, SIGTERM);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_THAT(read_text(log), HasSubstr("stopped"));
}

}  // namespace
}  // namespace gavel

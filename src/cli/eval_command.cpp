#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/judge_options.h"
#include "judge/eval_baselines.h"
#include "report/progress.h"
#include "report/table.h"
#include "report/validation_file.h"

namespace gavel {

namespace {

using Json = nlohmann::ordered_json;

Json groups_json(const std::vector<GroupScore>& groups) {
  Json list = Json::array();
  for (const GroupScore& group : groups)
    list.push_back(
        {{"name", group.name}, {"rows", group.rows}, {"log_loss", group.log_loss}, {"accuracy", group.accuracy}});
  return list;
}

Json evaluation_json(const FileEvaluation& found, const Calibration* calibration, const std::string& from) {
  const Scores& scores = found.scores;
  Json json = {{"rows", scores.rows},
               {"log_loss", scores.log_loss},
               {"accuracy", scores.accuracy},
               {"brier", scores.brier},
               {"calibration_error", scores.calibration_error},
               {"temperature", calibration == nullptr ? 1 : calibration->temperature},
               {"calibration_used", calibration == nullptr ? "none" : calibration_name(calibration->kind)}};
  if (found.swapped_rows > 0) {
    json["swapped_rows"] = found.swapped_rows;
    json["flip_rate"] = static_cast<double>(found.flipped_rows) / static_cast<double>(found.swapped_rows);
  }
  json["constant_baseline"] = {{"log_loss", scores.constant_log_loss}, {"accuracy", scores.constant_accuracy}};
  json["baselines"] = baselines_json(found, from);
  for (size_t i = 0; i < 3; ++i) {
    const ClassScore& c = scores.classes[i];
    json["classes"][kOutcomes[i]] = {
        {"rows", c.rows}, {"predicted", c.predicted}, {"precision", c.precision}, {"recall", c.recall},
        {"f1", c.f1},     {"log_loss", c.log_loss}};
  }
  json["confusion"] = scores.confusion;
  json["calibration"] = Json::array();
  for (const ReliabilityBin& bin : scores.bins)
    json["calibration"].push_back({{"low", bin.low},
                                   {"high", bin.high},
                                   {"rows", bin.rows},
                                   {"confidence", bin.confidence},
                                   {"accuracy", bin.accuracy}});
  json["by_length"] = groups_json(scores.by_length);
  json["by_turns"] = groups_json(scores.by_turns);
  return json;
}

std::string summary(const FileEvaluation& found, bool calibrated, const std::string& from) {
  const Scores& scores = found.scores;
  std::string text =
      fmt::format("rows {}\nlog loss {:.6f}\naccuracy {:.6f}\nBrier score {:.6f}\ncalibration error {:.6f}\n",
                  scores.rows, scores.log_loss, scores.accuracy, scores.brier, scores.calibration_error);
  if (calibrated) text += calibration_gain(found);
  if (std::string line = flip_line(found.swapped_rows, found.flipped_rows); !line.empty()) text += line + "\n";
  return text + "\n" + baselines_text(found, from) + format_scores(scores);
}

/** Fits a calibration and puts it beside the adapter, where the one for the other order stays. */
void calibrate(const Judge& judge, const FileEvaluation& found, CalibrationKind kind, const JudgeArguments& arguments,
               const std::string& data, const std::string& baselines_from) {
  std::error_code ignored;
  if (std::filesystem::equivalent(data, judge.recipe().data.train, ignored))
    spdlog::warn(
        "{} is the file that the judge was trained on: a calibration fitted to rows that training saw makes it too "
        "sure",
        data);
  FittedCalibration fitted = fit_calibration(kind, found.calibration_rows, found.baseline_rows);
  Calibration& calibration = fitted.calibration;
  calibration.data = data;
  // A reward is judged in one order, whatever is asked for.
  calibration.swap_average = found.swapped_rows > 0 ? arguments.swap_average : 0;
  calibration.baselines = baseline_figures(found, baselines_from);
  save_calibration(arguments.adapter, judge.calibration_key(), calibration);
  spdlog::info("{}\n{}\nwrote {}/calibration.json, which predict, eval, judge and serve now use",
               calibration.describe(), calibration_text(calibration), arguments.adapter);
  for (const std::string& warning : fitted.warnings) spdlog::warn("{}", warning);
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto* command = app.add_subcommand("eval", "Figures of a judge on labelled pairs, against simple baselines");
  auto arguments = add_judge_options(*command);
  auto data = std::make_shared<std::string>(), rows = std::make_shared<std::string>(),
       baselines_from = std::make_shared<std::string>(), fits = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  command->add_option("--data", *data, "CSV or JSONL file with labels")->required();
  command->add_flag("--json", *as_json, "Print JSON");
  command->add_option("--rows", *rows, "Also write what the judge said of each row (JSONL)");
  command->add_option(
      "--baselines-from", *baselines_from,
      "Fit the baselines on the labelled pairs of this file, not by cross-validation on those of --data");
  auto* calibrates =
      command
          ->add_option(
              "--calibrate", *fits,
              "Fit a temperature (the default), classes or style on these rows and write it beside the adapter "
              "(use rows that training did not see)")
          ->expected(0, 1);
  command->callback([=] {
    // Without a kind, the word after --calibrate is a setting.
    if (fits->find('=') != std::string::npos) arguments->overrides.push_back(std::exchange(*fits, ""));
    const CalibrationKind kind = calibration_kind(fits->empty() ? "temperature" : *fits);
    Judge judge(arguments->options());
    std::optional<Progress> progress;
    FileEvaluation found =
        evaluate_file(judge, *data, arguments->swap_average,
                      baselines_from->empty() ? std::nullopt : std::optional<std::filesystem::path>(*baselines_from),
                      [&](int64_t done, int64_t total) {
                        if (!progress) progress.emplace(total, "judge", "row");
                        progress->update(done);
                      });
    if (progress) progress->finish();
    spdlog::info("{}", found.report.format());
    tell_calibration(judge, *arguments);
    const Calibration* used = judge.calibration(arguments->swap_average);
    std::string text = *as_json ? evaluation_json(found, used, *baselines_from).dump(2) + "\n"
                                : summary(found, used != nullptr, *baselines_from);
    fmt::print("{}", text);
    if (!rows->empty()) write_validation(*rows, 0, found.rows);
    if (calibrates->count() > 0) calibrate(judge, found, kind, *arguments, *data, *baselines_from);
  });
}

}  // namespace gavel

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/judge_options.h"
#include "figures/best_of_scores.h"
#include "figures/side_by_side.h"
#include "figures/subset_scores.h"
#include "judge/best_of.h"
#include "judge/eval_baselines.h"
#include "judge/eval_beside.h"
#include "report/progress.h"
#include "report/table.h"
#include "report/validation_file.h"
#include "rows/row_stream.h"
#include "setup/data_files.h"
#include "setup/outputs.h"
#include "setup/run_options.h"

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
void calibrate(const Recipe& recipe, const CalibrationKey& key, const FileEvaluation& found, CalibrationKind kind,
               const JudgeArguments& arguments, const std::string& data, const std::string& baselines_from) {
  if (is_train_file(recipe, data))
    spdlog::warn(
        "{} is the file that the judge was trained on: a calibration fitted to rows that training saw makes it too "
        "sure",
        data);
  FittedCalibration fitted = fit_calibration(kind, found.calibration_rows, found.baseline_rows, found.fitted_on);
  Calibration& calibration = fitted.calibration;
  calibration.data = data;
  // A reward is judged in one order, whatever is asked for.
  calibration.swap_average = found.swapped_rows > 0 ? arguments.swap_average : 0;
  calibration.baselines = baseline_figures(found, baselines_from);
  save_calibration(arguments.adapter, key, calibration);
  spdlog::info("{}\n{}\nwrote {}/calibration.json, which predict, eval, judge and serve now use",
               calibration.describe(), calibration_text(calibration), arguments.adapter);
  for (const std::string& warning : fitted.warnings) spdlog::warn("{}", warning);
}

/** `gavel eval --best-of`: answers of which some are right, by a reward. */
void evaluate_best_of(const JudgeArguments& arguments, const std::string& data, const std::string& subset,
                      bool as_json) {
  const std::vector<BestOfRow> rows = read_best_of(data, subset);
  Judge judge(arguments.options());
  Progress progress(static_cast<int64_t>(rows.size()), "rank", "prompt");
  const BestOfScores scores = score_best_of(reward_best_of(judge, rows, [&](int64_t done) { progress.update(done); }));
  progress.finish();
  fmt::print("{}", as_json ? best_of_json(scores).dump(2) + "\n" : format_best_of(scores));
}

}  // namespace

void add_eval_command(CLI::App& app) {
  auto* command = app.add_subcommand("eval", "Figures of a judge on labelled pairs, against simple baselines");
  auto arguments = add_judge_options(*command);
  auto data = std::make_shared<std::string>(), rows = std::make_shared<std::string>(),
       baselines_from = std::make_shared<std::string>(), fits = std::make_shared<std::string>();
  auto subset = std::make_shared<std::string>(), against = std::make_shared<std::string>(),
       against_model = std::make_shared<std::string>();
  auto best_of = std::make_shared<bool>(false), as_json = std::make_shared<bool>(false);
  command->add_option("--data", *data, "CSV or JSONL file with labels")->required();
  command->add_flag("--json", *as_json, "Print JSON");
  command->add_option("--rows", *rows, "Also write what the judge said of each row (JSONL)");
  auto overwrite = std::make_shared<bool>(false);
  command->add_flag("--overwrite", *overwrite, "Write over a file of --rows that is there");
  command->add_option(
      "--baselines-from", *baselines_from,
      "Fit the baselines on the labelled pairs of this file, not by cross-validation on those of --data; "
      "--calibrate style also starts from what they say of style");
  auto* calibrates =
      command
          ->add_option(
              "--calibrate", *fits,
              "Fit a temperature (the default), classes or style on these rows and write it beside the adapter "
              "(use rows that training did not see)")
          ->expected(0, 1);
  command->add_option(
      "--subset", *subset,
      "Column that names a subset for each row, with figures of each; default: 'subset' where it is there");
  CLI::Option* other = command->add_option("--against", *against,
                                           "Another judge or reward, compared row by row; settings are taken for both");
  command->add_option("--against-model", *against_model, "Its base model, when it is not where the adapter says")
      ->needs(other);
  command
      ->add_flag(
          "--best-of", *best_of,
          "The file has a prompt, chosen and rejected answers in each line, as RewardBench 2 (JSONL): how often a "
          "chosen one has the largest reward")
      ->excludes("--rows")
      ->excludes("--calibrate")
      ->excludes("--baselines-from")
      ->excludes(other);
  command->callback([=] {
    if (*best_of) return evaluate_best_of(*arguments, *data, subset->empty() ? "subset" : *subset, *as_json);
    if (!rows->empty())
      require_free_file("--rows", *rows, *overwrite,
                        std::vector<std::filesystem::path>{*data, *baselines_from, arguments->adapter, *against});
    // Without a kind, the word after --calibrate is a setting.
    if (fits->find('=') != std::string::npos) arguments->overrides.push_back(std::exchange(*fits, ""));
    const CalibrationKind kind = calibration_kind(fits->empty() ? "temperature" : *fits);
    JudgeOptions other_options{*against, std::nullopt, arguments->overrides, !arguments->no_temperature};
    if (!against_model->empty()) other_options.model = *against_model;
    // What is wrong with the second is told before the first works for long.
    if (!against->empty()) load_adapter(other_options);
    // The first is gone before the second opens: their models may not fit in memory together.
    JudgeOptions judge_options = arguments->options();
    judge_options.before_device = [&](const Recipe& of) { RowStream(*data, read_options(of, Purpose::kTrain)); };
    auto opened = std::make_optional<Judge>(judge_options);
    const Recipe recipe = opened->recipe();
    const CalibrationKey key = opened->calibration_key();
    const auto names =
        subset_names(*data, subset->empty() ? std::nullopt : std::optional<std::string>(*subset), recipe);
    std::optional<Progress> progress;
    auto show = [&](int64_t done, int64_t total) {
      if (!progress) progress.emplace(total, "judge", "row");
      progress->update(done);
    };
    FileEvaluation found = evaluate_file(
        *opened, *data, arguments->swap_average,
        baselines_from->empty() ? std::nullopt : std::optional<std::filesystem::path>(*baselines_from), show);
    if (progress) progress->finish();
    spdlog::info("{}", found.report.format());
    tell_calibration(*opened, *arguments);
    const Calibration* in_use = opened->calibration(arguments->swap_average);
    const std::optional<Calibration> used = in_use != nullptr ? std::optional(*in_use) : std::nullopt;
    opened.reset();
    std::optional<SideBySide> side_by_side;
    if (!against->empty()) {
      progress.reset();
      side_by_side = evaluate_against(found, recipe, other_options, *data, arguments->swap_average, show);
      if (progress) progress->finish();
    }
    // All rows as one subset: how often the preferred answer stands above the other.
    const SubsetScore pairs = score_subsets(found.rows, std::vector<std::string>(found.rows.size())).over_rows;
    if (*as_json) {
      Json json = evaluation_json(found, used ? &*used : nullptr, *baselines_from);
      json["pairs"] = pairs.pairs;
      json["pair_accuracy"] = pairs.pair_accuracy;
      if (names) json["by_subset"] = subsets_json(evaluate_subsets(found, *names));
      if (side_by_side) json["against"] = side_by_side_json(*side_by_side, *against);
      fmt::print("{}\n", json.dump(2));
    } else {
      fmt::print("{}", summary(found, used.has_value(), *baselines_from));
      if (pairs.pairs > 0)
        fmt::print("\nthe preferred of two answers above the other: {:.4f} of {} rows whose label is no tie\n",
                   pairs.pair_accuracy, format_count(pairs.pairs));
      if (names) fmt::print("{}", format_subsets(evaluate_subsets(found, *names)));
      if (side_by_side) fmt::print("\n{}", format_side_by_side(*side_by_side, {arguments->adapter, *against}));
    }
    if (!rows->empty()) write_validation(*rows, 0, found.rows);
    if (calibrates->count() > 0) calibrate(recipe, key, found, kind, *arguments, *data, *baselines_from);
  });
}

}  // namespace gavel

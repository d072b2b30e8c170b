#include "study/folds.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "io/model_path.h"
#include "judge/average_folders.h"
#include "judge/calibration_key.h"
#include "judge/ensemble.h"
#include "judge/fit_calibration.h"
#include "report/html_page.h"
#include "report/scores.h"
#include "report/svg.h"
#include "report/table.h"
#include "report/validation_file.h"
#include "train/run_report.h"

namespace gavel {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::ordered_json;

constexpr double kNotKnown = std::numeric_limits<double>::quiet_NaN();

/** What the folds say of the rows that each did not see. */
struct OutOfFold {
  struct Row {
    int64_t fold;
    JudgedRow judged;
  };
  std::vector<Scores> folds;
  std::vector<Row> rows;  // by their place in the source file
  Scores all;
  Calibration calibration;
  double calibrated_log_loss = 0;
};

OutOfFold read_folds(const std::vector<StudyRun>& runs, const std::string& data) {
  OutOfFold found;
  for (size_t fold = 0; fold < runs.size(); ++fold) {
    const ValidationRows validation = read_validation(runs[fold].folder / "validation.jsonl");
    found.folds.push_back(score(validation.rows));
    for (const JudgedRow& row : validation.rows) found.rows.push_back({static_cast<int64_t>(fold), row});
  }
  std::sort(found.rows.begin(), found.rows.end(),
            [](const OutOfFold::Row& a, const OutOfFold::Row& b) { return a.judged.row < b.judged.row; });
  for (size_t i = 1; i < found.rows.size(); ++i)
    if (found.rows[i].judged.row == found.rows[i - 1].judged.row)
      fail("row {} of {} is held out in {} and in {}: the folds' folders are not of one study",
           found.rows[i].judged.row, data, runs[static_cast<size_t>(found.rows[i - 1].fold)].folder.string(),
           runs[static_cast<size_t>(found.rows[i].fold)].folder.string());
  std::vector<JudgedRow> judged;
  std::vector<CalibrationRow> logits;
  for (const OutOfFold::Row& row : found.rows) {
    judged.push_back(row.judged);
    CalibrationRow& own = logits.emplace_back();
    own.label = row.judged.label;
    // Up to a constant, which the softmax takes away, these are the judge's logits.
    for (size_t c = 0; c < 3; ++c) own.logits[c] = std::log(row.judged.probabilities[c]);
  }
  found.all = score(judged);
  Calibration& calibration = found.calibration;
  calibration.temperature = fit_temperature(logits);
  calibration.data = fmt::format("out-of-fold rows of {}", data);
  calibration.rows = static_cast<int64_t>(logits.size());
  found.calibrated_log_loss = log_loss_at(logits, calibration.temperature);
  calibration.figures = {{"none", log_loss_at(logits, 1), kNotKnown},
                         {"temperature", found.calibrated_log_loss, kNotKnown}};
  return found;
}

std::string to_csv(const OutOfFold& found) {
  std::string text = "row,fold,label_a,label_b,label_tie,winner_model_a,winner_model_b,winner_tie\n";
  for (const auto& [fold, row] : found.rows) {
    text += fmt::format("{},{}", row.row, fold);
    for (double value : row.label) text += fmt::format(",{}", value);
    for (double value : row.probabilities) text += fmt::format(",{:.10f}", value);
    text += '\n';
  }
  return text;
}

std::vector<double> all_of(const OutOfFold& found, double Scores::* figure) {
  std::vector<double> values;
  for (const Scores& fold : found.folds) values.push_back(fold.*figure);
  return values;
}

struct Figure {
  const char* name;
  double Scores::* value;
};
constexpr Figure kFigures[] = {{"log_loss", &Scores::log_loss},
                               {"accuracy", &Scores::accuracy},
                               {"brier", &Scores::brier},
                               {"calibration_error", &Scores::calibration_error}};

Json to_json(const OutOfFold& found, const std::vector<StudyRun>& runs) {
  Json json = {{"folds", Json::array()}};
  for (size_t i = 0; i < runs.size(); ++i) {
    Json fold = {{"folder", runs[i].folder.filename().string()}, {"rows", found.folds[i].rows}};
    for (const Figure& figure : kFigures) fold[figure.name] = found.folds[i].*figure.value;
    json["folds"].push_back(fold);
  }
  for (const Figure& figure : kFigures) {
    const MeanOfFolds mean = mean_of(all_of(found, figure.value));
    json["mean"][figure.name] = {{"mean", mean.mean}, {"standard_error", mean.standard_error}};
  }
  Json& all = json["out_of_fold"] = {{"rows", found.all.rows}};
  for (const Figure& figure : kFigures) all[figure.name] = found.all.*figure.value;
  all["constant_log_loss"] = found.all.constant_log_loss;
  all["temperature"] = found.calibration.temperature;
  all["calibrated_log_loss"] = found.calibrated_log_loss;
  return json;
}

/** Rows of the table that terminal and page show. */
std::vector<std::vector<std::string>> table_of(const OutOfFold& found, const std::vector<StudyRun>& runs) {
  std::vector<std::vector<std::string>> rows;
  auto add = [&](const std::string& name, const Scores& scores) {
    rows.push_back({name, format_count(scores.rows), fmt::format("{:.4f}", scores.log_loss),
                    fmt::format("{:.4f}", scores.accuracy), fmt::format("{:.4f}", scores.brier),
                    fmt::format("{:.3f}", scores.calibration_error)});
  };
  for (size_t i = 0; i < runs.size(); ++i) add(runs[i].folder.filename().string(), found.folds[i]);
  std::vector<std::string> mean = {"mean", ""};
  for (const Figure& figure : kFigures) {
    const MeanOfFolds of = mean_of(all_of(found, figure.value));
    mean.push_back(fmt::format("{:.4f} ± {:.4f}", of.mean, of.standard_error));
  }
  rows.push_back(mean);
  add("all out-of-fold rows", found.all);
  return rows;
}

const std::vector<std::string> kFoldsHeader = {"fold", "rows", "log loss", "accuracy", "Brier", "calibration error"};

std::string calibration_line(const OutOfFold& found) {
  return fmt::format(
      "temperature {:.4f}, fitted on the {} out-of-fold rows, brings their log loss from {:.4f} to {:.4f} (always "
      "answering the label shares: {:.4f})",
      found.calibration.temperature, format_count(found.calibration.rows), found.all.log_loss,
      found.calibrated_log_loss, found.all.constant_log_loss);
}

std::string page_of(const OutOfFold& found, const std::vector<StudyRun>& runs) {
  auto rows = table_of(found, runs);
  for (size_t i = 0; i < rows.size(); ++i) {
    std::string& name = rows[i].front();
    name = escape_markup(name);
    if (i < runs.size()) name = fmt::format("<a href=\"{}/report.html\">{}</a>", name, name);
  }
  ReportOptions options;
  options.title = fmt::format("{} folds", runs.size());
  options.details = false;
  options.first_html =
      html::section("Held-out rows of each fold",
                    html::card(html::table(kFoldsHeader, rows) +
                               "<p class=\"quiet\">± is the standard error of the mean over the folds. " +
                               escape_markup(calibration_line(found)) + ".</p>"));
  std::vector<fs::path> folders;
  for (const StudyRun& run : runs) folders.push_back(run.folder);
  return run_report(folders, options);
}

/** Makes of the folder what judges: the mean adapter, or all of them together. */
void write_judge(const fs::path& folder, const Recipe& recipe, const std::vector<StudyRun>& runs, bool average) {
  if (average) {
    fs::remove(folder / "ensemble.json");
    std::vector<fs::path> folders;
    for (const StudyRun& run : runs) folders.push_back(run.folder);
    average_folders(folders, std::nullopt, folder, AverageMethod::kExact);
    return;
  }
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "reward.json"})
    fs::remove(folder / name);
  write_file(folder / "recipe.yaml", to_yaml(recipe));
  std::vector<std::string> names;
  for (const StudyRun& run : runs) names.push_back(run.folder.filename().string());
  write_ensemble(folder, names);
}

}  // namespace

MeanOfFolds mean_of(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  MeanOfFolds found;
  for (double value : values) found.mean += value / count;
  double squares = 0;
  for (double value : values) squares += (value - found.mean) * (value - found.mean);
  found.standard_error = std::sqrt(squares / (count - 1) / count);
  return found;
}

StudyResult run_folds(const Recipe& recipe, const FoldsOptions& options) {
  require_one_process();
  ChildPrograms children(options.start.program);
  require_files(recipe);
  if (options.average && recipe.lora.use_dora)
    fail("--average: with lora.use_dora adapters have no mean; leave one of both out");
  const StudyFolder folder(recipe.output, "folds", recipe, {});
  std::vector<StudyRun> runs;
  for (int64_t fold = 0; fold < *recipe.data.folds; ++fold) {
    StudyRun& run = runs.emplace_back(StudyRun{folder.path() / fmt::format("fold-{}", fold), recipe});
    run.recipe.data.fold = fold;
  }
  for (size_t i = 0; i < runs.size(); ++i) {
    const StudyRun& run = runs[i];
    if (run.is_finished()) {
      spdlog::info("fold {} of {} is finished: {}", i + 1, runs.size(), run.folder.string());
      continue;
    }
    int status = 0;
    if (children.stop_signal() == 0) {
      spdlog::info("fold {} of {}: {}{}", i + 1, runs.size(), run.folder.string(),
                   run.steps_done() > 0 ? fmt::format(", from step {}", run.steps_done()) : "");
      status = train_run(children, run, options.start);
    }
    if (children.stop_signal() != 0) {
      spdlog::warn("stopped; the same command goes on from here");
      return {children.stop_signal(), ""};
    }
    if (status != 0 || !run.is_finished())
      fail(
          "{}: its run ended with status {}{}; what it said is above, and the same command goes on from its last "
          "checkpoint",
          run.folder.string(), status, run.message().empty() ? "" : ": " + run.message());
  }
  const OutOfFold found = read_folds(runs, recipe.data.train.text());
  write_file(folder.path() / "out_of_fold.csv", to_csv(found));
  write_file(folder.path() / "folds.json", to_json(found, runs).dump(2) + "\n");
  write_judge(folder.path(), recipe, runs, options.average);
  std::vector<fs::path> judges;
  if (options.average)
    judges.push_back(folder.path());
  else
    for (const StudyRun& run : runs) judges.push_back(run.folder);
  save_calibration(folder.path(), calibration_key(judges, resolve_model_path(recipe.model.path), recipe),
                   found.calibration);
  write_file(folder.path() / "report.html", page_of(found, runs));
  std::vector<Align> alignment(kFoldsHeader.size(), Align::kRight);
  alignment[0] = Align::kLeft;
  return {0, format_table(kFoldsHeader, table_of(found, runs), alignment) + calibration_line(found) + "\n"};
}

}  // namespace gavel

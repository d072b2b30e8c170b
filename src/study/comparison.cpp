#include "study/comparison.h"

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "files/csv.h"
#include "report/html_page.h"
#include "report/svg.h"
#include "report/table.h"

namespace gavel {

namespace {

/** A row's difference under each seed that has it. */
using DifferencesOfRow = std::map<int64_t, std::vector<double>>;

/** False where the runs do not have the same rows. */
bool add_seed(const ValidationRows& ours, const ValidationRows& theirs, DifferencesOfRow& differences, double& mean) {
  if (ours.rows.size() != theirs.rows.size() || ours.rows.empty()) return false;
  mean = 0;
  for (size_t i = 0; i < ours.rows.size(); ++i) {
    const JudgedRow &a = ours.rows[i], &b = theirs.rows[i];
    if (a.row != b.row || a.label != b.label) return false;
    const double difference = a.loss() - b.loss();
    differences[a.row].push_back(difference);
    mean += difference / static_cast<double>(ours.rows.size());
  }
  return true;
}

const std::string kExplanation =
    "The difference is that of the log loss on the same validation rows, row by row, from the reference; ± is its "
    "standard "
    "error over the rows";

std::vector<std::string> header_of(bool seeds) {
  std::vector<std::string> header = {"setting", "status", "step", "log loss"};
  if (seeds) header.emplace_back("sd over seeds");
  header.emplace_back("accuracy");
  header.emplace_back("difference");
  if (seeds) header.emplace_back("± over seeds");
  return header;
}

bool has_seeds(const SweepResults& results) {
  for (const SettingResult& setting : results.settings)
    if (setting.seeds > 1) return true;
  return false;
}

std::string figure(double value, int digits = 4) {
  return std::isfinite(value) ? fmt::format("{:.{}f}", value, digits) : "–";
}

std::vector<std::string> cells_of(const SettingResult& setting, bool seeds) {
  const bool known = setting.step > 0;
  std::vector<std::string> cells = {setting.name, setting.status, known ? format_count(setting.step) : "–",
                                    known ? figure(setting.log_loss) : "–"};
  if (seeds) cells.push_back(known ? figure(setting.log_loss_deviation) : "–");
  cells.push_back(known ? figure(setting.accuracy) : "–");
  std::string difference = setting.is_reference ? "reference" : "–", over_seeds = "–";
  if (setting.difference && !setting.is_reference) {
    difference = fmt::format("{:+.4f} ± {:.4f}", setting.difference->mean, setting.difference->standard_error);
    if (setting.compared_at != setting.step) difference += fmt::format(" (at step {})", setting.compared_at);
    over_seeds = figure(setting.difference->seed_standard_error);
  }
  cells.push_back(difference);
  if (seeds) cells.push_back(over_seeds);
  return cells;
}

std::string explanation(const SweepResults& results) {
  std::string text = kExplanation;
  if (has_seeds(results)) text += ", ± over seeds that over the seeds";
  return text + ".";
}

nlohmann::ordered_json or_null(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

}  // namespace

std::optional<SettingDifference> difference_of_settings(std::span<const ValidationRows> ours,
                                                        std::span<const ValidationRows> theirs) {
  if (ours.size() != theirs.size() || ours.empty()) return std::nullopt;
  DifferencesOfRow differences;
  std::vector<double> means;
  for (size_t seed = 0; seed < ours.size(); ++seed)
    if (!add_seed(ours[seed], theirs[seed], differences, means.emplace_back())) return std::nullopt;
  SettingDifference found;
  found.rows = static_cast<int64_t>(differences.size());
  double pairs = 0;
  for (const auto& [row, own] : differences)
    for (double difference : own) {
      found.mean += difference;
      pairs += 1;
    }
  found.mean /= pairs;
  // The variance of a mean over clusters: squares of the clusters' sums of residuals.
  double squares = 0;
  for (const auto& [row, own] : differences) {
    double sum = 0;
    for (double difference : own) sum += difference - found.mean;
    squares += sum * sum;
  }
  const auto clusters = static_cast<double>(differences.size());
  found.standard_error = std::sqrt(squares * clusters / (clusters - 1)) / pairs;
  double seed_squares = 0, seed_mean = 0;
  const auto seeds = static_cast<double>(means.size());
  for (double mean : means) seed_mean += mean / seeds;
  for (double mean : means) seed_squares += (mean - seed_mean) * (mean - seed_mean);
  found.seed_standard_error = seeds > 1 ? std::sqrt(seed_squares / (seeds - 1) / seeds) : std::nan("");
  return found;
}

std::string to_text(const SweepResults& results) {
  const bool seeds = has_seeds(results);
  const auto header = header_of(seeds);
  std::vector<std::vector<std::string>> rows;
  for (const SettingResult& setting : results.settings) rows.push_back(cells_of(setting, seeds));
  std::vector<Align> alignment(header.size(), Align::kRight);
  alignment[0] = alignment[1] = Align::kLeft;
  return format_table(header, rows, alignment) + explanation(results) + "\n";
}

std::string to_csv(const SweepResults& results) {
  std::string text;
  for (const std::string& key : results.keys) text += csv_cell(key) + ",";
  text +=
      "status,seeds,step,log_loss,log_loss_deviation,accuracy,difference,standard_error,seed_standard_error,rows,"
      "compared_at,reference\n";
  auto number = [](double value) { return std::isfinite(value) ? fmt::format("{}", value) : std::string(); };
  for (const SettingResult& setting : results.settings) {
    for (const std::string& value : setting.values) text += csv_cell(value) + ",";
    text += fmt::format("{},{},", csv_cell(setting.status), setting.seeds);
    text += setting.step > 0 ? fmt::format("{},{},{},{},", setting.step, number(setting.log_loss),
                                           number(setting.log_loss_deviation), number(setting.accuracy))
                             : ",,,,";
    text += setting.difference
                ? fmt::format(
                      "{},{},{},{},{},", number(setting.difference->mean), number(setting.difference->standard_error),
                      number(setting.difference->seed_standard_error), setting.difference->rows, setting.compared_at)
                : ",,,,,";
    text += fmt::format("{}\n", setting.is_reference ? 1 : 0);
  }
  return text;
}

std::string to_json(const SweepResults& results) {
  using Json = nlohmann::ordered_json;
  Json json = {{"reference", results.reference}, {"settings", Json::array()}};
  for (const SettingResult& setting : results.settings) {
    Json line = {
        {"name", setting.name}, {"values", Json::object()}, {"status", setting.status}, {"seeds", setting.seeds}};
    for (size_t i = 0; i < results.keys.size(); ++i) line["values"][results.keys[i]] = setting.values[i];
    if (setting.step > 0) {
      line["step"] = setting.step;
      line["log_loss"] = or_null(setting.log_loss);
      line["log_loss_deviation"] = or_null(setting.log_loss_deviation);
      line["accuracy"] = or_null(setting.accuracy);
    }
    if (setting.difference)
      line["difference"] = {{"mean", or_null(setting.difference->mean)},
                            {"standard_error", or_null(setting.difference->standard_error)},
                            {"seed_standard_error", or_null(setting.difference->seed_standard_error)},
                            {"rows", setting.difference->rows},
                            {"step", setting.compared_at}};
    json["settings"].push_back(line);
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string to_html(const SweepResults& results) {
  const bool seeds = has_seeds(results);
  std::vector<std::vector<std::string>> rows;
  for (const SettingResult& setting : results.settings) {
    rows.push_back(cells_of(setting, seeds));
    for (std::string& content : rows.back()) content = escape_markup(content);
  }
  return html::section("Settings", html::card(html::table(header_of(seeds), rows) + "<p class=\"quiet\">" +
                                              escape_markup(explanation(results)) + "</p>"));
}

}  // namespace gavel

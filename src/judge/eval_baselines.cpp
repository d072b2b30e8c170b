#include "judge/eval_baselines.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "report/table.h"

namespace gavel {

namespace {

std::vector<double> losses_of(const FileEvaluation& found) {
  std::vector<double> losses;
  for (const JudgedRow& row : found.rows) losses.push_back(row.loss());
  return losses;
}

std::string fitted_on(const std::string& from) {
  return from.empty() ? "this file, five-fold cross-validation" : from;
}

std::string four_digits(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-";
}

}  // namespace

std::string baselines_text(const FileEvaluation& found, const std::string& from) {
  const std::vector<double> ours = losses_of(found);
  std::vector<std::vector<std::string>> rows;
  for (const Baseline& baseline : found.baselines) {
    const PairedDifference gain = paired_difference(baseline.losses, ours);
    const char* verdict = !(std::abs(gain.errors()) >= 2) ? "no clear difference"
                          : gain.mean > 0                 ? "the judge is better"
                                                          : "the judge is worse";
    rows.push_back({baseline.name, four_digits(baseline.log_loss), four_digits(baseline.accuracy),
                    std::isfinite(gain.mean) ? fmt::format("{:+.4f}", gain.mean) : "-",
                    four_digits(gain.standard_error),
                    std::isfinite(gain.mean) ? fmt::format("{:+.1f}", gain.errors()) : "-", verdict});
  }
  std::string text = format_table(
      {"baseline", "log loss", "accuracy", "judge's gain", "standard error", "gain in errors", ""}, rows,
      {Align::kLeft, Align::kRight, Align::kRight, Align::kRight, Align::kRight, Align::kRight, Align::kLeft});
  if (from.empty())
    text += found.baselines.size() > 1
                ? "(shares: of this file itself; the others: five-fold cross-validation by prompt on this file)\n"
                : "(too few rows or prompts to cross-validate other baselines)\n";
  else
    text += fmt::format("(fitted on {})\n", from);
  return text;
}

nlohmann::ordered_json baselines_json(const FileEvaluation& found, const std::string& from) {
  const std::vector<double> ours = losses_of(found);
  auto list = nlohmann::ordered_json::array();
  for (const Baseline& baseline : found.baselines) {
    const PairedDifference gain = paired_difference(baseline.losses, ours);
    list.push_back({{"name", baseline.key},
                    {"log_loss", baseline.log_loss},
                    {"accuracy", baseline.accuracy},
                    {"gain", gain.mean},
                    {"standard_error", gain.standard_error},
                    {"gain_in_errors", gain.errors()},
                    {"fitted_on", from.empty() && baseline.key == "shares" ? "this file" : fitted_on(from)}});
  }
  return list;
}

std::vector<CalibrationFigure> baseline_figures(const FileEvaluation& found, const std::string& from) {
  std::vector<CalibrationFigure> figures;
  for (const Baseline& baseline : found.baselines) {
    const bool in_sample = from.empty() && baseline.key == "shares";
    figures.push_back(
        {baseline.name, in_sample ? baseline.log_loss : std::nan(""), in_sample ? std::nan("") : baseline.log_loss});
  }
  return figures;
}

std::string calibration_gain(const FileEvaluation& found) {
  std::vector<double> plain;
  for (size_t i = 0; i < found.rows.size(); ++i) {
    const CalibrationRow& row = found.calibration_rows[i];
    JudgedRow without = found.rows[i];
    without.probabilities = Calibration{}.apply(row.logits, row.swapped_logits, {});
    plain.push_back(without.loss());
  }
  const PairedDifference gain = paired_difference(plain, losses_of(found));
  if (!std::isfinite(gain.mean)) return "";
  double mean = 0;
  for (double loss : plain) mean += loss / static_cast<double>(plain.size());
  return fmt::format("without calibration.json: log loss {:.6f}; it gains {:+.6f} (standard error {:.6f})\n", mean,
                     gain.mean, gain.standard_error);
}

std::string calibration_text(const Calibration& calibration) {
  std::vector<std::vector<std::string>> rows;
  for (const CalibrationFigure& figure : calibration.figures)
    rows.push_back({figure.name, four_digits(figure.in_sample), four_digits(figure.cross_validated)});
  return format_table({"calibration", "log loss in sample", "cross-validated by prompt"}, rows,
                      {Align::kLeft, Align::kRight, Align::kRight});
}

}  // namespace gavel

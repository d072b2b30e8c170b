#pragma once
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "baseline/surface_features.h"
#include "task/task.h"

namespace gavel {

/** What is done to a judge's answers so that they agree with how often it is right. */
enum class CalibrationKind : uint8_t {
  /** softmax(logits / temperature), of each order by itself (Guo et al., "On Calibration of Modern Neural Networks",
   * 2017). It changes no verdict of a single pass. */
  kTemperature,
  /** The same of the log probabilities (of both orders' mean where there are two), with a number added for each
   * outcome. */
  kClasses,
  /** A multinomial logistic model of the log probabilities and of what shows on the pair's surface: what a judge makes
   * of length, lists or refusals is put right. Exchanging the answers exchanges the probabilities. */
  kStyle,
};

std::string_view calibration_name(CalibrationKind kind);
/** Throws Error that lists the three. */
CalibrationKind calibration_kind(std::string_view name);

/** Weights of kStyle. With log probabilities a, b, t of A, B and tie the logits of A and B are s and -s, where
 * s = judge * (a - b) / 2 + sum(lead * features), and that of a tie
 * judge_tie * (t - (a + b) / 2) + margin * |a - b| / 2 + constant + sum(tie * features). */
struct StyleWeights {
  double judge = 1, judge_tie = 1, margin = 0, constant = 0;
  std::array<double, kLeadFeatures.size()> lead{};
  std::array<double, kTieFeatures.size()> tie{};
};

/** How a figure of a calibration came out: on the rows that it was fitted to, and on rows that it was not. */
struct CalibrationFigure {
  std::string name;
  double in_sample = 0, cross_validated = 0;  // log loss; NaN where there are too few rows
};

struct Calibration {
  CalibrationKind kind = CalibrationKind::kTemperature;
  double temperature = 1;  // kTemperature, kClasses
  Outcome bias{};          // kClasses
  StyleWeights style;      // kStyle
  /** What it was fitted on: the data file, its labelled rows, and the share of them that was judged both ways. */
  std::string data;
  int64_t rows = 0;
  double swap_average = 0;
  /** Without any, and each kind up to this one. */
  std::vector<CalibrationFigure> figures;
  /** Log losses of the baselines on the same rows. */
  std::vector<CalibrationFigure> baselines;

  /** What becomes of a row's logits and, where it was also judged with A and B exchanged, of those of that pass in the
   * order A, B, tie of the row itself. `surface` is read by kStyle alone. */
  Outcome apply(const Outcome& logits, const std::optional<Outcome>& swapped_logits,
                const SurfaceFeatures& surface) const;
  /** "temperature 0.52", "style". */
  std::string describe() const;
};

/** Log probabilities of the logits; where there are two passes, of the mean of their probabilities. */
Outcome log_probabilities(const Outcome& logits, const std::optional<Outcome>& swapped_logits);

/** What a calibration belongs to: digests of the adapter and of the base, and the settings that decide what a judge
 * reads. */
struct CalibrationKey {
  std::string adapter, base;
  std::map<std::string, std::string> settings;
  bool operator==(const CalibrationKey&) const = default;
};

/** calibration.json: one for judging in one order, one for both. */
struct CalibrationFile {
  /** Files of version 1 have none. */
  std::optional<CalibrationKey> fitted_for;
  std::optional<Calibration> one_order, both_orders;

  bool empty() const { return !one_order && !both_orders; }
  /** The one for this share of rows judged both ways, else the other; nothing where there is none. */
  const Calibration* for_swap(double swap_average) const;
};

/** Of an adapter's folder; nothing when there is no such file. Throws Error naming the file when something in it is
 * missing or impossible. */
std::optional<CalibrationFile> read_calibration(const std::filesystem::path& folder);
void write_calibration(const std::filesystem::path& folder, const CalibrationFile& file);

/** Puts one calibration into the folder's file; the one for the other order stays if it belongs to the same. */
void save_calibration(const std::filesystem::path& folder, const CalibrationKey& key, const Calibration& calibration);

/** In what a file was fitted for something else, as the end of "it was fitted for …"; "" when for the same. */
std::string calibration_mismatch(const CalibrationKey& fitted, const CalibrationKey& now);

}  // namespace gavel

#pragma once
#include <array>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "task/task.h"

namespace gavel {

/** A temperature that makes a judge's probabilities agree with how often it is right (Guo et al., "On
 * Calibration of Modern Neural Networks", 2017): probabilities are softmax(logits / temperature). It changes
 * no verdict of a single pass. Kept beside the adapter as calibration.json. */
struct Calibration {
  double temperature = 1;
  /** What it was fitted on: the data file, its labelled rows, and the share of them that was judged both ways. */
  std::string data;
  int64_t rows = 0;
  double swap_average = 0;
  double log_loss_before = 0, log_loss_after = 0;
};

/** One labelled row: its logits and its label. Where it was also judged with A and B exchanged, `swapped_logits` are
 * those of that pass in the order A, B, tie of the row itself. */
struct CalibrationRow {
  Outcome logits{};
  std::optional<Outcome> swapped_logits;
  Outcome label{};
};

/** Mean over the rows of -sum(label * log p), p being the mean of both ways' probabilities where there are two. */
double log_loss_at(std::span<const CalibrationRow> rows, double temperature);

/** The temperature in [0.05, 20] with the least log loss. Throws Error when there are no rows. */
double fit_temperature(std::span<const CalibrationRow> rows);

/** calibration.json of an adapter's folder; nothing when there is no such file. Throws Error naming the file when its
 * temperature is missing or impossible. */
std::optional<Calibration> read_calibration(const std::filesystem::path& folder);
void write_calibration(const std::filesystem::path& folder, const Calibration& calibration);

}  // namespace gavel

#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "baseline/baselines.h"
#include "judge/calibration.h"

namespace gavel {

/** Temperatures that are looked at. */
inline constexpr double kLowestTemperature = 0.05, kHighestTemperature = 20;

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

struct FittedCalibration {
  Calibration calibration;  // its data and swap_average are left to the caller
  /** What a user should know of it: few rows, a temperature at a bound, nothing gained. */
  std::vector<std::string> warnings;
};

/** Fits one kind, and measures it and the simpler ones in sample and cross-validated by prompt. `surface`: of the same
 * rows. Classes and style are drawn to leaving the judge as it is, as strongly as does best on rows held out. Throws
 * Error that names the row when a logit or a label is not a finite number.
 *
 * `others`: labelled rows that share no prompt with these, such as those that the judge was trained on. What they say of style
 * without the judge then has two weights in the style model, of the lead and of the tie (stacking; Wolpert, 1992), so that few
 * rows are enough to say how much of it the judge leaves to be said. */
FittedCalibration fit_calibration(CalibrationKind kind, std::span<const CalibrationRow> rows,
                                  std::span<const BaselineRow> surface, std::span<const BaselineRow> others = {});

}  // namespace gavel

#pragma once
#include <span>
#include <string>
#include <vector>

#include "baseline/surface_features.h"

namespace gavel {

/** What the baselines know of a labelled row. */
struct BaselineRow {
  SurfaceFeatures surface;
  std::vector<Term> words;
  uint64_t prompt = 0;  // a hash
  Label label{};
};

/** `with_words`: some kilobytes a row. */
BaselineRow baseline_row(const PreferenceRow& row, bool with_words = true);

/** A simple model of who wins, and how well it does on each row. */
struct Baseline {
  std::string key;   // "shares", "lengths", "surface", "words"
  std::string name;  // for people
  double log_loss = 0, accuracy = 0;
  std::vector<double> losses;  // of each row
};

/** Four baselines on labelled rows, each knowing more: always answering the label shares; multinomial logistic
 * regressions on the lengths; on all surface features; and on these and the words (left out where rows have none).
 * Their weight decay is chosen within the rows that are fitted.
 *
 * `fit_on` empty: the shares are those of the rows themselves, the best constant answer, and the regressions are
 * cross-validated by prompt (left out where can_cross_validate() is false). Else all are fitted on those rows alone. */
std::vector<Baseline> score_baselines(std::span<const BaselineRow> rows, std::span<const BaselineRow> fit_on = {});

/** The mean over rows of `theirs` - `ours`, and its standard error from the rows' differences: both are measured on the
 * same rows, so what makes a row hard for both cancels. */
struct PairedDifference {
  double mean = 0, standard_error = 0;
  /** mean / standard_error; 0 where nothing differs. */
  double errors() const;
};
PairedDifference paired_difference(std::span<const double> theirs, std::span<const double> ours);

}  // namespace gavel
